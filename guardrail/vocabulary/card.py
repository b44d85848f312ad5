"""The words of people on a model card. Everything else on it is rendered from run, report and verdict."""

from __future__ import annotations

from pydantic import Field

from .frozen import Frozen


class Words(Frozen):
    """card.yaml: what no program can know. An empty field is printed as 'not stated', never left out."""

    title: str = ""
    owner: str = Field(default="", description="who is accountable, and how to reach them")
    intended_use: str = ""
    prohibited_use: str = ""
    training_data: str = Field(default="", description="where the records come from, by which right")
    limits: str = ""
    ethical_considerations: str = ""
    licence: str = ""
