"""Model cards: one object from run, report, verdict and people's words; Markdown, HTML and JSON from it."""

from .build import build_card
from .write import write_card

__all__ = ["build_card", "write_card"]
