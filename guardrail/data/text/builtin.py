"""Built-in texts: what each record is, told by the facts beside the file."""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from .files import parse_texts


def read_builtin(facts: Mapping[str, Any], folder: Path) -> pd.DataFrame:
    """`layout: paragraphs`, blank lines between them, lines joined by spaces; or `objects`, one a line (`rename`, `drop`)."""
    content = lzma.decompress((folder / facts["file"]).read_bytes())
    if facts["layout"] == "objects":
        frame = parse_texts(content, facts["file"], objects=True)
        kept: pd.DataFrame = frame.drop(columns=facts.get("drop", [])).rename(columns=facts.get("rename", {}))
        return kept
    paragraphs = (" ".join(part.split()) for part in content.decode().split("\n\n"))
    return pd.DataFrame({"text": pd.Series([part for part in paragraphs if part], dtype=object)})
