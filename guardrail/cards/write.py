"""card.json, card.md and card.html from one card: no number appears in one and not in the JSON."""

from __future__ import annotations

import json
from pathlib import Path

from ..reports.render import html, md, tidy
from ..reports.room import Room
from ..vocabulary.card import Card
from ..vocabulary.documents import write_atomic
from ..vocabulary.privacy_meaning import percent


def write_card(card: Card, out: Path) -> None:
    """Three files in the folder `out`; all are made before the first is written."""
    files = {
        "card.json": json.dumps(card.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "card.md": card_markdown(card),
        "card.html": card_html(card),
    }
    for name, content in files.items():
        write_atomic(out / name, content)


def card_html(card: Card) -> str:
    return html().get_template("card.html.j2").render(card=card, percent=percent, room=Room())


def card_markdown(card: Card) -> str:
    return tidy(md().get_template("card.md.j2").render(card=card, percent=percent))
