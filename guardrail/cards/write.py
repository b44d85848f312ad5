"""card.json, card.md and card.html from one card: no number appears in one and not in the JSON."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from ..reports.render import html, md, tidy
from ..reports.room import Room
from ..vocabulary.card import Card
from ..vocabulary.documents import write_atomic
from ..vocabulary.privacy_meaning import percent

MOST_PICTURE = 600_000
"""Bytes of a picture that still goes into the page, which travels by mail."""


def write_card(card: Card, out: Path, *, preview: bytes | None = None) -> None:
    """Three files in the folder `out`; all are made before the first is written.

    Args:
        preview: a PNG of some samples, shown on the page of an internal card: a model without privacy may repeat its records.
    """
    files = {
        "card.json": json.dumps(card.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "card.md": card_markdown(card),
        "card.html": card_html(card, preview if card.audience == "internal" else None),
    }
    for name, content in files.items():
        write_atomic(out / name, content)


def card_html(card: Card, preview: bytes | None = None) -> str:
    shown = base64.b64encode(preview).decode() if preview is not None and len(preview) <= MOST_PICTURE else None
    return html().get_template("card.html.j2").render(card=card, percent=percent, room=Room(), preview=shown)


def card_markdown(card: Card) -> str:
    return tidy(md().get_template("card.md.j2").render(card=card, percent=percent))
