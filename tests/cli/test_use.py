"""Commands that use a trained run on records somebody brings: what is known stays, what was asked for comes, wrong input leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from guardrail.data.modality import modality
from guardrail.data.schema_file import dump_schema
from tests.conftest import Clinic, Said
from tests.contracts.worlds import WORLDS

SMALL = {"vae": {"hidden": [16], "latent": 4}, "lstm": {"width": 16, "embedding": 8}, "transformer": {"width": 16, "layers": 1, "heads": 2}}
FILES = {"image": "data.npz", "text": "data.jsonl", "music": "data", "series": "data.npz"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """A folder in which every test trains what it needs, once."""
    return Clinic(tmp_path_factory.mktemp("use"))


def trained(place: Clinic, family: str, kind: str, *, options: dict[str, object] | None = None, epochs: int = 2) -> str:
    """The run of a family on the world of a modality; trained once."""
    home = place.folder / (f"{family}-{kind}-{len(options or {})}" + (f"-{epochs}" if epochs != 2 else ""))
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
            training={"epochs": epochs},
        )
        said = place("train", spec, "--runs", home.name, "--json")
        assert said.code == 0, said.err
        run = said.object["path"]
        assert place("sample", run, "-n", "12").code == 0
        (home / "run").write_text(run)
    return (home / "run").read_text()


def read(path: Path, kind: str) -> pd.DataFrame:
    return modality(kind).read(path)


def refused(said: Said, *words: str) -> None:
    assert said.code == 2 and said.out == "", said
    assert all(word in said.err for word in words) and len(said.err.strip().splitlines()) == 1, said.err


@pytest.mark.parametrize("family", ["made", "lstm"])
def test_missing_cells_of_a_table_are_filled_and_the_others_stay_to_the_last_digit(place: Clinic, family: str):
    run = trained(place, family, "tabular")
    whole = pd.read_csv(place.folder / "visits.csv").head(40)
    gaps = whole.copy()
    gaps.loc[::3, "age"], gaps.loc[1::3, "ward"] = np.nan, None
    gaps.to_csv(place.folder / "gaps.csv", index=False)
    refused(place("impute", run, "gaps.csv", "-o", "filled.csv", "--mask", "lower"), "--mask")
    assert not (place.folder / "filled.csv").exists()
    said = place("impute", run, "gaps.csv", "-o", "filled.csv")
    assert said.code == 0 and "not observed" in said.out, said.err
    filled = pd.read_csv(place.folder / "filled.csv")
    assert filled["age"].between(0, 110).all() and filled["ward"].isin(["surgery", "medicine", "geriatrics"]).all()
    known = gaps["age"].notna()
    assert (filled["age"][known] == gaps["age"][known]).all() and (filled["stay"] == whole["stay"]).all()
    assert (filled["cost"][whole["cost"].notna()] == whole["cost"].dropna()).all() and not filled.isna().any(axis=None)
    (place.folder / "filled.csv").unlink()


@pytest.mark.parametrize(
    ("mask", "part"),
    [("upper", np.s_[:, :4]), ("lower", np.s_[:, 4:]), ("left", np.s_[:, :, :4]), ("right", np.s_[:, :, 4:])],
)
@pytest.mark.parametrize("family", ["vae", "lstm"])  # one lives on pixels, one on four levels of grey
def test_half_an_image_is_filled_and_the_other_half_stays_to_the_last_pixel(place: Clinic, family: str, mask: str, part: tuple[slice, ...]):
    run, source = trained(place, family, "image"), place.folder / f"{family}-image-0" / "data.npz"
    assert place("impute", run, source, "-o", "filled.npz", "--mask", mask).code == 0
    before, after = np.load(source)["images"], np.load(place.folder / "filled.npz")["images"]
    changed = before != after
    assert changed[part].mean() > 0.3
    changed[part] = False
    assert not changed.any()


def test_a_mask_that_names_nothing_is_refused(place: Clinic):
    image, text, music = trained(place, "vae", "image"), trained(place, "lstm", "text"), trained(place, "lstm", "music")
    for mask in ("middle", "", "0:4", "lower,upper"):
        source = place.folder / "vae-image-0" / "data.npz"
        refused(place("impute", image, source, "-o", "no.npz", "--mask", mask), "upper, lower, left, right")
    for mask in (":", "-1:3", "a:b", "5:2", "3:3", "99:100", "\u00b2:3", "text", ",", ""):
        refused(place("impute", text, place.folder / "lstm-text-0" / "data.jsonl", "-o", "no.jsonl", "--mask", mask), "--mask", "position")
    source = place.folder / "lstm-music-0" / "data"
    refused(place("impute", music, source, "-o", "no.npz", "--mask", "tenor"), "no field 'tenor'", "upper, lower")
    refused(place("impute", music, source, "-o", "no.npz"), "--mask")
    assert not list(place.folder.glob("no.*"))


def test_positions_or_voices_of_music_are_filled(place: Clinic):
    run, source = trained(place, "lstm", "music"), place.folder / "pieces.npz"
    modality("music").write(WORLDS["music"].records(100, seed=3), source, WORLDS["music"].schema)
    before = read(source, "music")["notes"]
    for mask, known in (("2:6", np.s_[[0, 3]]), ("lower", np.s_[:, 0])):
        out = place.folder / f"filled-{mask[0]}.npz"
        assert place("impute", run, source, "-o", out, "--mask", mask).code == 0
        after = read(out, "music")["notes"]
        whole = [(old, new) for old, new in zip(before, after, strict=True) if len(old) == len(new)]
        assert len(whole) > 60 and all((old[known] == new[known]).all() for old, new in whole)
        assert any((old != new).any() for old, new in whole)


def test_known_letters_stay_even_those_the_model_has_no_token_for(place: Clinic):
    run = trained(place, "lstm", "text")
    (place.folder / "letters.jsonl").write_text('{"text": "xaby", "label": "a"}\n{"text": "bazbaabcab", "label": "b"}\n')
    said = place("impute", run, "letters.jsonl", "-o", "letters-filled.jsonl", "--mask", "1:2")
    assert said.code == 0 and "longer than the model has room for" in said.err
    first, second = read(place.folder / "letters-filled.jsonl", "text")["text"]
    assert first[0] == "x" and first[2:] == "by" and second[0] == "b" and second[2:] == "zbaab"


@pytest.mark.parametrize("family", ["vae", "hmm", "lstm"])  # the last draws tokens, among them the one for `missing`
def test_gaps_of_series_are_filled_and_values_stay(place: Clinic, family: str):
    run, source = trained(place, family, "series"), place.folder / f"{family}-series-0" / "data.npz"
    assert place("impute", run, source, "-o", "filled.npz").code == 0
    before, after = np.load(source)["values"], np.load(place.folder / "filled.npz")["values"]
    known = ~np.isnan(before)
    assert not known.all() and not np.isnan(after).any() and (before[known] == after[known]).all()


def test_the_strangest_record_comes_first(place: Clinic):
    run = trained(place, "markov", "text")
    (place.folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ["aba", "aab", "ccccc", "bab"]))
    said = place("score", run, "texts.jsonl", "--json")
    assert int(np.argmax(said.object["scores"])) == 2  # never two c in a row
    assert place("score", run, "texts.jsonl", "-o", "scores.csv").code == 0
    assert pd.read_csv(place.folder / "scores.csv").sort_values("rank")["record"].iloc[0] == 3
    assert "record" in place("score", run, "texts.jsonl").out and "more" not in place("score", run, "texts.jsonl").out
    assert "100 more" in place("score", run, place.folder / "markov-text-0" / "data.jsonl").out


def test_a_planted_outlier_of_each_kind_is_found(place: Clinic):
    """Noise among images, a voice in seconds among thirds, a straight line among waves."""
    rng = np.random.default_rng(0)
    planted = {
        "image": ("vae", "images", rng.integers(0, 256, (8, 8, 1)).astype(np.uint8)),
        "music": ("markov", "notes", np.tile([[59, 67]], (4, 1)).astype(np.int16)),
        "series": ("vae", "values", np.full((8, 2), 2.0)),
    }
    for kind, (family, name, record) in planted.items():
        run, frame = trained(place, family, kind, epochs=30 if family == "vae" else 2), WORLDS[kind].records(30, seed=5)
        column = frame.columns[0]
        assert name.startswith(column)
        frame.at[17, column] = record
        modality(kind).write(frame, place.folder / f"planted-{kind}.npz", WORLDS[kind].schema)
        scores = place("score", run, f"planted-{kind}.npz", "--json").object["scores"]
        assert len(scores) == 30 and int(np.argmax(scores)) == 17, kind


def test_a_melody_is_given_the_voice_that_goes_with_it(place: Clinic):
    run = trained(place, "transformer", "music", options={"source": ["upper"]})
    source = place.folder / "transformer-music-1" / "data"
    assert place("translate", run, source, "-o", "translated.npz").code == 0
    refused(place("translate", trained(place, "lstm", "music"), source, "-o", "no.npz"), "families that can: ", "transformer")
    assert not (place.folder / "no.npz").exists()


def test_pictures_of_codes_and_of_attention_are_pictures(place: Clinic):
    assert place("latent", trained(place, "vae", "image"), "-o", "codes.png").code == 0
    assert place("explain", trained(place, "transformer", "text"), "--sample", "1", "-o", "looked.png").code == 0
    path = place("explain", trained(place, "hmm", "text"), "--json").object
    assert {"path", "posterior"} <= set(path)
    for name in ("codes.png", "looked.png"):
        with Image.open(place.folder / name) as picture:
            picture.load()
            assert picture.format == "PNG" and min(picture.size) > 20 and picture.convert("L").getextrema() != (255, 255)
    refused(place("latent", trained(place, "markov", "text"), "-o", "no.png"), "families that can: ", "vae")
    refused(place("latent", trained(place, "vae", "image"), "-o", "no.txt"), ".png")
    refused(place("explain", trained(place, "hmm", "text"), "-o", "home"), ".png")
    refused(place("explain", trained(place, "transformer", "text"), "--sample", "99"), "samples 0 to 11")
    assert not (place.folder / "no.png").exists()


@pytest.mark.parametrize(
    ("family", "kind", "command", "able", "unable"),
    [
        ("gan", "image", "impute", {"vae", "diffusion", "lstm"}, {"hmm", "made", "gan"}),
        ("gan", "image", "score", {"vae", "marginals", "markov"}, {"made", "dcgan"}),
        ("marginals", "tabular", "impute", {"made", "vae"}, {"hmm", "marginals"}),
        ("vae", "series", "translate", {"transformer"}, {"vae"}),
        ("lstm", "text", "explain", {"hmm", "transformer"}, {"lstm"}),
        ("made", "tabular", "latent", {"vae", "tabular_gan"}, {"made", "dcgan"}),
    ],
)
def test_a_family_that_cannot_names_those_that_can_on_such_data(
    place: Clinic, family: str, kind: str, command: str, able: set[str], unable: set[str]
):
    run = trained(place, family, kind)
    source = place.folder / ("visits.csv" if kind == "tabular" else f"{family}-{kind}-0/{FILES[kind]}")
    words = [command, run, *([] if command in ("latent", "explain") else [source])]
    said = place(*words, "-o", "no.png" if command in ("latent", "explain") else "no.csv")
    refused(said, f"{kind} families that can: ")
    named = set(said.err.strip().rpartition("families that can: ")[2].split(", "))
    assert able <= named and not unable & named
    assert not list(place.folder.glob("no.*"))


@pytest.mark.parametrize(("family", "kind"), [("cgan", "image"), ("wgan", "image"), ("cgan", "series")])
def test_classes_are_asked_of_what_was_trained_on_them(place: Clinic, family: str, kind: str):
    run, out = trained(place, family, kind), f"asked-{family}.npz"
    assert place("sample", run, "-n", "7", "--where", "label=b", "-o", out).code == 0
    assert (np.load(place.folder / out)["label"] == "b").all()
    assert place("sample", run, "-n", "8", "--balance", "label", "-o", out).code == 0
    assert sorted(np.load(place.folder / out)["label"]) == ["a"] * 4 + ["b"] * 4
    refused(
        place("sample", run, "--where", f"{'image' if kind == 'image' else 'values'}=x.npz", "-o", "no.npz"), "families that can: ", "lstm"
    )
    assert not list(place.folder.glob("no.*"))


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
    refused(place("sample", run, "--balance", "", "-o", "no.jsonl"), "names no column")
    refused(place("sample", run, "--where", "text=xa", "-o", "no.jsonl"), "'x'")
    refused(place("sample", run, "--where", "text=" + "ab" * 9, "-o", "no.jsonl"), "longer than a whole record")
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


def test_ranges_of_numbers_are_asked_of_tables(place: Clinic):
    run = trained(place, "made", "tabular")
    assert place("sample", run, "-n", "20", "--where", "age=30..60", "--where", "ward=surgery", "-o", "asked.csv").code == 0
    rows = pd.read_csv(place.folder / "asked.csv")
    assert len(rows) == 20 and rows["age"].between(30, 60).all() and (rows["ward"] == "surgery").all()
    for asked in ("age=60..30", "age=nan..30", "age=..", "age=x"):
        refused(place("sample", run, "--where", asked, "-o", "no.csv"), "age=")
    assert not list(place.folder.glob("no.*"))


def test_records_of_another_kind_or_shape_are_refused(place: Clinic):
    """None of them leaves a file behind."""
    music, series, table = trained(place, "lstm", "music"), trained(place, "vae", "series"), trained(place, "made", "tabular")
    folder, images = place.folder, place.folder / "vae-image-0" / "data.npz"
    np.savez(folder / "wide.npz", values=np.zeros((3, 8, 5)))
    np.savez(folder / "short.npz", values=np.zeros((3, 3, 2)))
    np.savez(folder / "none.npz", values=np.zeros((0, 8, 2)))
    np.savez(folder / "objects.npz", values=np.array([{}], dtype=object))
    (folder / "header.csv").write_text((folder / "visits.csv").read_text().splitlines()[0] + "\n")
    (folder / "ward.csv").write_text((folder / "visits.csv").read_text().replace("surgery", "kitchen", 1))
    for run, name in [
        *((series, name) for name in ("wide.npz", "short.npz", "none.npz", "objects.npz", str(images))),
        *((music, name) for name in ("wide.npz", "visits.csv")),
        *((table, name) for name in ("header.csv", "ward.csv", "wide.npz")),
    ]:
        refused(place("impute", run, name, "-o", "no.csv", *(["--mask", "lower"] if run == music else [])), Path(name).name)
        refused(place("score", run, name, "-o", "no.csv"), Path(name).name)
    assert not list(folder.glob("no.*"))


def test_the_file_that_is_read_is_never_written_over(place: Clinic):
    source = place.folder / "visits.csv"
    before = source.read_bytes()
    for command in ("impute", "score"):
        refused(place(command, trained(place, "made", "tabular"), source, "-o", "visits.csv"), "is the file that is read")
    assert source.read_bytes() == before


def test_a_path_that_is_none_is_refused(place: Clinic):
    run = trained(place, "vae", "image")
    refused(place("score", run, "a\0b.npz"), "NUL")
    refused(place("score", run, "nowhere.npz", "-o", "a\0b.csv"), "NUL")
    refused(place("sample", run, "-o", "a\0b.npz"), "NUL")
    refused(place("score", run, "nowhere.npz"), "nowhere.npz")
    assert not list(Path(place.folder).glob("no.*"))
