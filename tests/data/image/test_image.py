"""Images cast to a schema, encoded, decoded and shown."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from guardrail.data import builtin
from guardrail.data.arrays import as_column
from guardrail.data.image import MODALITY
from guardrail.vocabulary.errors import DataError
from guardrail.vocabulary.schema import Schema

RNG = np.random.default_rng(0)


def schema(**said: object) -> Schema:
    return Schema.model_validate({"modality": "image", "image": {"height": 4, "width": 6, **said}})


def frame(*cells: object) -> pd.DataFrame:
    return pd.DataFrame({"image": as_column(list(cells))})  # type: ignore[arg-type]


def test_a_cast_resizes_smoothly_and_converts_channels() -> None:
    board = np.indices((40, 60)).sum(axis=0) % 2 * np.uint8(255)
    cells, kept = MODALITY.cast(frame(board.astype(np.uint8)[:, :, None]), schema(), on_error="fail", where="x")
    assert cells["image"][0].shape == (4, 6, 1) and kept.all()
    assert np.abs(cells["image"][0].astype(int) - 127).max() <= 3  # a fine chess board is grey, not aliased
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 255
    grey, _ = MODALITY.cast(frame(red), schema(), on_error="fail", where="x")
    assert set(grey["image"][0].ravel()) == {76}  # 0.299 * 255
    colour, _ = MODALITY.cast(frame(grey["image"][0]), schema(channels=3), on_error="fail", where="x")
    assert colour["image"][0].shape == (4, 6, 3) and (colour["image"][0] == 76).all()
    one, _ = MODALITY.cast(frame(np.full((1, 1, 1), 7, np.uint8)), schema(), on_error="fail", where="x")
    assert (one["image"][0] == 7).all()


@pytest.mark.parametrize(
    "cell", [None, "text", np.zeros((4, 6)), np.zeros((4, 6, 2), np.uint8), np.zeros((0, 6, 1), np.uint8), np.zeros(3, np.uint8)]
)
def test_what_is_no_image_is_named_by_its_record_or_left_out(cell: object) -> None:
    good = np.zeros((4, 6, 1), np.uint8)
    with pytest.raises(DataError, match=r"here, record 2: .*expected"):
        MODALITY.cast(frame(good, cell, good), schema(), on_error="fail", where="here")
    cells, kept = MODALITY.cast(frame(good, cell, good), schema(), on_error="skip", where="here")
    assert kept.tolist() == [True, False, True] and len(cells) == 2


def test_faults_beside_the_image_count_too() -> None:
    said = schema().model_dump() | {"columns": {"label": {"kind": "categorical", "categories": ["1"]}}, "target": "label"}
    raw = frame(*[np.full((4, 6, 1), i, np.uint8) for i in range(3)]).assign(label=[1, 2, 1])
    cells, kept = MODALITY.cast(raw, Schema.model_validate(said), on_error="skip", where="x")
    assert kept.tolist() == [True, False, True] and [cell.max() for cell in cells["image"]] == [0, 2]
    with pytest.raises(DataError, match="does not know 'label'"):
        MODALITY.cast(raw, schema(), on_error="fail", where="x")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("levels", [2, 3, 16, 17, 200, 255, 256])
def test_every_token_goes_round_and_a_pixel_moves_by_less_than_a_level(channels: int, levels: int) -> None:
    codec = MODALITY.codec(schema(channels=channels, levels=levels))
    cells = frame(*RNG.integers(0, 256, (5, 4, 6, channels), dtype=np.uint8), *np.full((1, 4, 6, channels), 255, np.uint8))
    tokens = codec.encode(cells, "tokens")
    assert tokens.shape == (6, 24 * channels) and tokens.dtype == np.int64 and tokens[-1].min() == levels - 1
    assert codec.tokens.names[:channels] == (("grey",) if channels == 1 else ("red", "green", "blue")) and codec.tokens.shared
    back = codec.decode(tokens, "tokens", RNG)
    assert np.array_equal(codec.encode(back, "tokens"), tokens)
    worst = max(np.abs(a.astype(int) - b.astype(int)).max() for a, b in zip(back["image"], cells["image"], strict=True))
    assert worst <= 0.5 * 255 / (levels - 1) + 0.5
    every = np.tile(np.arange(levels), 24 * channels)[: 24 * channels * levels].reshape(levels, -1)
    assert np.array_equal(codec.encode(codec.decode(every, "tokens", RNG), "tokens"), every)


def test_pixels_go_round_exactly_in_the_order_of_the_axes() -> None:
    codec = MODALITY.codec(schema(channels=3))
    cells = frame(*RNG.integers(0, 256, (7, 4, 6, 3), dtype=np.uint8))
    records = codec.encode(cells, "image")
    assert records.shape == (7, 3, 4, 6) and records.dtype == np.float32 and np.abs(records).max() <= 1
    assert records[2, 1, 3, 5] == pytest.approx(cells["image"][2][3, 5, 1] / 127.5 - 1, abs=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(codec.decode(records, "image", RNG)["image"], cells["image"], strict=True))
    assert codec.decode(records * 9, "image", RNG)["image"][0].dtype == np.uint8


def test_what_no_generator_should_give_is_refused() -> None:
    codec = MODALITY.codec(schema())
    with pytest.raises(DataError, match="NaN"):
        codec.decode(np.full((1, 1, 4, 6), np.nan), "image", RNG)
    with pytest.raises(DataError, match="of shape"):
        codec.decode(np.zeros((1, 4, 6)), "image", RNG)
    with pytest.raises(DataError, match="levels go from"):
        codec.decode(np.full((1, 24), 16), "tokens", RNG)
    with pytest.raises(DataError, match="cast"):
        codec.encode(frame(np.zeros((4, 5, 1), np.uint8)), "image")


def test_no_record_is_still_a_batch() -> None:
    codec = MODALITY.codec(schema())
    assert codec.encode(frame(), "image").shape == (0, 1, 4, 6) and codec.encode(frame(), "tokens").shape == (0, 24)
    assert len(codec.decode(np.zeros((0, 24), np.int64), "tokens", RNG)) == 0


@pytest.mark.parametrize(("name", "shape", "target"), [
    ("digits", (1797, 1, 8, 8), "digit"), ("mnist10k", (10_000, 1, 28, 28), "digit"), ("mnist_test10k", (10_000, 1, 28, 28), "digit"),
    ("emoji", (4494, 3, 32, 32), "style"),
])  # fmt: skip
def test_built_in_images_obey_their_public_schema(name: str, shape: tuple[int, ...], target: str) -> None:
    raw, public = builtin.load(name)
    cells, kept = MODALITY.cast(raw, public, on_error="fail", where=name)
    codec = MODALITY.codec(public)
    assert kept.all() and codec.encode(cells, "image").shape == shape and public.target == target
    assert len(np.unique(codec.encode_conditions(cells))) == codec.condition_sizes[0]
    picture = Image.open(io.BytesIO(MODALITY.picture(cells, public)))
    assert picture.format == "PNG" and picture.width > 300


def test_a_draft_says_that_it_is_read_from_the_records() -> None:
    large = frame(np.zeros((300, 200, 3), np.uint8), np.zeros((300, 200, 1), np.uint8), np.zeros((9, 9, 1), np.uint8))
    drafted = MODALITY.draft(large, target=None, sensitive=(), unit="row")
    assert drafted.image is not None and (drafted.image.height, drafted.image.width, drafted.image.channels) == (64, 43, 3)
    assert drafted.sources() == {"image": "data"}
    with pytest.raises(DataError, match="target: no column 'x'"):
        MODALITY.draft(large, target="x", sensitive=(), unit="row")
