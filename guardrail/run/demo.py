"""The demo: built-in census data, trained privately, spec to card, in a home of its own."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from ..registry.home import Home
from ..vocabulary.card import Words
from ..vocabulary.documents import parse_yaml
from ..vocabulary.errors import InputError, SpecError
from ..vocabulary.frozen import parse
from ..vocabulary.spec import PrivacySpec, Spec
from .pipeline import Listener, Order, Run, check, run

HOME, RUNS = ".guardrail", "runs"


def demo_order(epsilon: float) -> Order:
    """The demo's spec and words, from the files beside this module."""
    folder = files("guardrail.run") / "templates"
    spec = parse(Spec, parse_yaml((folder / "demo.yaml").read_text(), where="demo.yaml"), where="demo.yaml")
    words = parse(Words, parse_yaml((folder / "demo-card.yaml").read_text(), where="demo-card.yaml"), where="demo-card.yaml")
    privacy = parse(PrivacySpec, {"epsilon": epsilon}, where="--epsilon", error=SpecError)
    return check(spec.model_copy(update={"privacy": privacy}), Path(), words=words, also=("release",))


def run_demo(out: Path, *, epsilon: float, listener: Listener) -> Run:
    """The whole chain in `out`, whose home and earlier demo runs are emptied first."""
    order = demo_order(epsilon)
    home = _fresh(out)
    return run(order, home=home, runs=out / RUNS, listener=listener)


def _fresh(out: Path) -> Home:
    """Only a folder that an earlier demo made is emptied."""
    if out.is_file():
        raise InputError(f"{out} is a file; name a folder for the demo")
    if (out / RUNS).exists() or (out / RUNS).is_symlink():
        if not Home(out / HOME).throwaway or not (out / RUNS).is_dir() or (out / RUNS).is_symlink():
            raise InputError(f"{out / RUNS} holds runs that no demo made; name another folder with --out")
        # Before the home: what says that these runs are a demo's must outlive them.
        shutil.rmtree(out / RUNS)
    return Home.empty(out / HOME)
