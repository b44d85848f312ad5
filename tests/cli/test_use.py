"""Commands that use a trained run on records somebody brings: what is known stays, what was asked for comes, wrong input leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from guardrail.data.modality import modality
from guardrail.data.schema_file import dump_schema
from tests.conftest import Clinic, Said
from tests.contracts.worlds import WORLDS

SMALL = {"vae": {"hidden": [16], "latent": 4}, "lstm": {"width": 16, "embedding": 8}, "transformer": {"width": 16, "layers": 1, "heads": 2}}
FILES = {"image": "data.npz", "text": "data.jsonl", "music": "data", "series": "data.npz"}
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """A folder in which every test trains what it needs, once."""
    return Clinic(tmp_path_factory.mktemp("use"))


def trained(place: Clinic, family: str, kind: str, *, options: dict[str, object] | None = None) -> str:
    """The run of a family on the world of a modality; trained once."""
    home = place.folder / f"{family}-{kind}-{len(options or {})}"
    if not home.exists():
        home.mkdir()
        if kind == "tabular":
            data = {"source": "visits.csv", "schema": "schema.yaml"}
        else:
            world = WORLDS[kind]
            modality(kind).write(world.records(120), home / FILES[kind], world.schema)
            (home / "schema.yaml").write_text(dump_schema(world.schema))
            data = {"source": f"{home.name}/{FILES[kind]}", "schema": f"{home.name}/schema.yaml", "target": None, "sensitive": None}
        spec = place.spec(
            name=home.name,
            data=data,
            generator={"name": family, "options": {**SMALL.get(family, {}), **(options or {})}},
            training={"epochs": 2},
        )
        said = place("train", spec, "--runs", home.name, "--json")
        assert said.code == 0, said.err
        run = said.object["path"]
        assert place("sample", run, "-n", "12").code == 0
        (home / "run").write_text(run)
    return (home / "run").read_text()


def refused(said: Said, *words: str) -> None:
    assert said.code == 2 and said.out == "", said
    assert all(word in said.err for word in words) and len(said.err.strip().splitlines()) == 1, said.err


def test_missing_cells_of_a_table_are_filled_and_the_others_stay_to_the_last_digit(place: Clinic):
    run = trained(place, "lstm", "tabular")
    whole = pd.read_csv(place.folder / "visits.csv").head(40)
    gaps = whole.copy()
    gaps.loc[::3, "age"], gaps.loc[1::3, "ward"] = np.nan, None
    gaps.to_csv(place.folder / "gaps.csv", index=False)
    said = place("impute", run, "gaps.csv", "-o", "filled.csv")
    assert said.code == 0 and "not observed" in said.out, said.err
    filled = pd.read_csv(place.folder / "filled.csv")
    assert filled["age"].between(0, 110).all() and filled["ward"].isin(["surgery", "medicine", "geriatrics"]).all()
    known = gaps["age"].notna()
    assert (filled["age"][known] == gaps["age"][known]).all() and (filled["stay"] == whole["stay"]).all()
    assert (filled["cost"][whole["cost"].notna()] == whole["cost"].dropna()).all()


def test_half_an_image_is_filled_and_the_other_half_stays(place: Clinic):
    run = trained(place, "vae", "image")
    source = place.folder / "vae-image-0" / "data.npz"
    assert place("impute", run, source, "-o", "filled.npz", "--mask", "lower").code == 0
    before, after = np.load(source)["images"], np.load(place.folder / "filled.npz")["images"]
    assert (before[:, :4].astype(int) - after[:, :4]).__abs__().max() <= 1 and (before[:, 4:] != after[:, 4:]).any()
    refused(place("impute", run, source, "-o", "no.npz", "--mask", "middle"), "upper, lower, left, right")
    refused(place("impute", run, source, "-o", "no.npz"), "--mask")
    assert not (place.folder / "no.npz").exists()


def test_positions_or_voices_of_sequences_are_filled(place: Clinic):
    run = trained(place, "lstm", "music")
    source = place.folder / "lstm-music-0" / "data"
    for mask in ("2:6", "lower"):
        assert place("impute", run, source, "-o", f"filled-{mask[0]}.npz", "--mask", mask).code == 0
    refused(place("impute", run, source, "-o", "no.npz", "--mask", "tenor"), "no field 'tenor'", "upper, lower")
    assert not (place.folder / "no.npz").exists()


def test_gaps_of_series_are_filled(place: Clinic):
    run = trained(place, "vae", "series")
    source = place.folder / "vae-series-0" / "data.npz"
    assert np.isnan(np.load(source)["values"]).any()
    assert place("impute", run, source, "-o", "filled.npz").code == 0
    assert not np.isnan(np.load(place.folder / "filled.npz")["values"]).any()


def test_the_strangest_record_comes_first(place: Clinic):
    run = trained(place, "markov", "text")
    (place.folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ["aba", "aab", "ccccc", "bab"]))
    said = place("score", run, "texts.jsonl", "--json")
    assert int(np.argmax(said.object["scores"])) == 2  # never two c in a row
    assert place("score", run, "texts.jsonl", "-o", "scores.csv").code == 0
    assert pd.read_csv(place.folder / "scores.csv").sort_values("rank")["record"].iloc[0] == 3
    assert "record" in place("score", run, "texts.jsonl").out


def test_a_melody_is_given_the_voice_that_goes_with_it(place: Clinic):
    run = trained(place, "transformer", "music", options={"source": ["upper"]})
    source = place.folder / "transformer-music-1" / "data"
    assert place("translate", run, source, "-o", "translated.npz").code == 0
    refused(place("translate", trained(place, "lstm", "music"), source, "-o", "no.npz"), "families that can: ", "transformer")
    assert not (place.folder / "no.npz").exists()


def test_pictures_of_codes_and_of_attention_are_pictures(place: Clinic):
    assert place("latent", trained(place, "vae", "image"), "-o", "codes.png").code == 0
    assert place("explain", trained(place, "transformer", "text"), "--sample", "1", "-o", "looked.png").code == 0
    assert all((place.folder / name).read_bytes().startswith(PNG) for name in ("codes.png", "looked.png"))
    path = place("explain", trained(place, "hmm", "text"), "--json").object
    assert {"path", "posterior"} <= set(path)
    refused(place("latent", trained(place, "markov", "text"), "-o", "no.png"), "families that can: ", "vae")
    refused(place("explain", trained(place, "transformer", "text"), "--sample", "99"), "samples 0 to 11")
    assert not (place.folder / "no.png").exists()


def test_samples_are_asked_for_by_class_beginning_and_balance(place: Clinic):
    run = trained(place, "lstm", "text")
    assert place("sample", run, "-n", "9", "--where", "label=b", "--where", "text=ab", "-o", "asked.jsonl", "--no-marks").code == 0
    rows = [json.loads(line) for line in (place.folder / "asked.jsonl").read_text().splitlines()]
    assert len(rows) == 9 and all(row["text"].startswith("ab") and row["label"] == "b" for row in rows)
    assert place("sample", run, "-n", "10", "--balance", "label", "-o", "even.jsonl").code == 0
    labels = [json.loads(line)["label"] for line in (place.folder / "even.jsonl").read_text().splitlines()]
    assert labels.count("a") == labels.count("b") == 5
    refused(place("sample", run, "--where", "label=b"), "name a file with -o")
    refused(place("sample", run, "--where", "label=c", "-o", "no.jsonl"), "label=c")
    refused(place("sample", run, "--where", "label=b", "--balance", "label", "-o", "no.jsonl"), "one of them")
    assert not (place.folder / "no.jsonl").exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [(b"", "empty.npz"), (b"\x80\x04\x95 pickled", "pickle.npz"), (b"a,b\n1,2\n", "table.csv"), (b"<svg/>", "drawing.png")],
)
def test_what_is_not_data_of_the_run_s_modality_is_refused(place: Clinic, content: bytes, name: str):
    run = trained(place, "vae", "image")
    (place.folder / name).write_bytes(content)
    for words in (["impute", run, name, "-o", "no.npz", "--mask", "left"], ["score", run, name, "-o", "no.csv"]):
        refused(place(*words))
    assert not (place.folder / "no.npz").exists() and not (place.folder / "no.csv").exists()


def test_a_path_that_is_none_is_refused(place: Clinic):
    run = trained(place, "vae", "image")
    refused(place("score", run, "nowhere.npz"), "nowhere.npz")
    assert not list(Path(place.folder).glob("no.*"))
