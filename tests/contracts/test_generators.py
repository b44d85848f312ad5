"""Every registered generator, whoever wrote it: shapes, one loss per record, no mixing of records, privacy, save and load."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from guardrail.data.cast import cast
from guardrail.data.material import Material
from guardrail.data.tabular.codec import TabularCodec
from guardrail.registry.home import Home
from guardrail.training.contract import Batch, Generator, Player
from guardrail.training.fit import Settings, train
from guardrail.training.model import Model, build, codec_document, encode, load, space_of
from guardrail.training.plain import ExactCounts
from guardrail.training.private_turn import PrivateTurn
from guardrail.training.secure import SecureStream
from guardrail.training.strategy import Dataset
from guardrail.vocabulary import documents
from guardrail.vocabulary.plugins import resolve, table
from guardrail.vocabulary.schema import Schema
from guardrail.vocabulary.spec import GeneratorSpec, PrivacySpec, TrainingSpec

NAMES = [name for name, entry in table("generators").items() if "tabular" in entry.modalities]
SCHEMA = Schema.model_validate(
    {
        "declared_by": "this test",
        "target": "label",
        "columns": {
            "number": {"kind": "numeric", "low": -5, "high": 5, "bins": 8, "points": [0]},
            "whole": {"kind": "integer", "low": 0, "high": 9, "missing": True},
            "day": {"kind": "datetime", "low": "2020-01-01", "high": "2020-12-31", "bins": 6},
            "colour": {"kind": "categorical", "categories": ["red", "green", "blue"], "missing": True},
            "size": {"kind": "ordinal", "categories": ["s", "m", "l"]},
            "label": {"kind": "boolean"},
        },
    }
)


def rows(n: int, seed: int = 0) -> pd.DataFrame:
    """Rows with dependence: the label follows the number, the colour follows the label."""
    rng = np.random.default_rng(seed)
    number = np.where(rng.random(n) < 0.3, 0.0, rng.normal(0, 1.5, n).clip(-5, 5))
    label = rng.random(n) < 1 / (1 + np.exp(-2 * number))
    colour = np.where(label, rng.choice(["red", "green"], n), rng.choice(["green", "blue"], n)).astype(object)
    colour[rng.random(n) < 0.1] = None
    frame = pd.DataFrame(
        {
            "number": number,
            "whole": pd.array(np.where(rng.random(n) < 0.1, None, rng.integers(0, 10, n)).tolist(), dtype="Int64"),
            "day": (pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 366, n), unit="D")).astype("datetime64[us]"),
            "colour": pd.Categorical(colour, categories=["red", "green", "blue"]),
            "size": pd.Categorical(rng.choice(["s", "m", "l"], n), categories=["s", "m", "l"], ordered=True),
            "label": pd.array(label, dtype="boolean"),
        }
    )
    return cast(frame, SCHEMA)


CODEC = TabularCodec(SCHEMA)


def player_space(name: str) -> Generator:
    return build(GeneratorSpec(name=name), CODEC)


def initialised(name: str, frame: pd.DataFrame) -> tuple[Generator, Batch]:
    torch.manual_seed(0)
    generator = build(GeneratorSpec(name=name), CODEC)
    records, tokens = encode(CODEC, frame, generator), CODEC.encode(frame, "tokens")
    generator.initialise(ExactCounts(Dataset(records, tokens, CODEC.tokens)))
    # Weights that start at zero would hide a mistake in their gradients.
    with torch.no_grad():
        for parameter in generator.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return generator, records


def losses(player: Player, records: Batch) -> Tensor:
    torch.manual_seed(1)  # a latent draw belongs to a place in the batch: the same places, the same draws
    return player.losses(records)


def players_of(name: str, frame: pd.DataFrame) -> list[tuple[Player, Batch]]:
    generator, records = initialised(name, frame)
    return [(player, records) for player in generator.players().values() if player.sees_records]


@pytest.mark.parametrize("name", NAMES)
def test_the_table_line_tells_the_truth(name: str):
    entry, kind = table("generators")[name], resolve("generators", name)
    assert issubclass(kind, Generator)
    assert entry.paper.startswith("https://") and entry.summary
    assert ("log_likelihood" in entry.abilities) == (kind.log_likelihood is not Generator.log_likelihood)
    assert kind.Options() is not None


@pytest.mark.parametrize("name", NAMES)
def test_one_loss_per_record(name: str):
    for player, records in players_of(name, rows(9)):
        assert losses(player, records).shape == (9,)


@pytest.mark.parametrize("name", NAMES)
def test_changing_record_0_moves_no_other_loss(name: str):
    for player, records in players_of(name, rows(12)):
        changed = Batch(records.x.clone(), records.given)
        changed.x[0] = encode(CODEC, rows(1, seed=9), player_space(name)).x[0]
        before, after = losses(player, records), losses(player, changed)
        assert torch.equal(before[1:], after[1:]) and not torch.equal(before[0], after[0])


@pytest.mark.parametrize("name", NAMES)
def test_clipped_sum_equals_the_loop_of_one(name: str, monkeypatch: pytest.MonkeyPatch):
    """Every parameter counts, every record is clipped as a whole: the truth is one backward pass per record."""
    clip, frame = 0.5, rows(10)
    for player, records in players_of(name, frame):
        player.double()
        records = Batch(records.x.double() if records.x.is_floating_point() else records.x, records.given)
        torch.set_default_dtype(torch.float64)
        try:
            parameters = [p for p in player.parameters() if p.requires_grad]
            expected = [torch.zeros_like(p) for p in parameters]
            for i in range(len(records)):
                gradients = torch.autograd.grad(losses(player, records)[i], parameters, allow_unused=True)
                norm = math.sqrt(sum(float(g.square().sum()) for g in gradients if g is not None))
                for total, gradient in zip(expected, gradients, strict=True):
                    if gradient is not None:
                        total += gradient * min(1.0, clip / (norm + 1e-6))
            optimizer = torch.optim.SGD(parameters, lr=1.0)
            turn = PrivateTurn(player, optimizer, iter(()), clip=clip, noise_multiplier=1.0, normaliser=1.0, source=SecureStream())
            monkeypatch.setattr(turn, "_losses", lambda chunk, player=player: losses(player, chunk))
            for fast, slow in zip(turn.clipped_sum(records), expected, strict=True):
                assert torch.allclose(fast, slow, atol=1e-10, rtol=1e-8)
        finally:
            torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", NAMES)
def test_samples_decode_to_valid_rows_and_depend_only_on_the_seed(name: str):
    generator, _ = initialised(name, rows(200))

    def drawn(seed: int) -> pd.DataFrame:
        encoded = generator.sample(50, torch.Generator().manual_seed(seed)).numpy()
        return CODEC.decode(encoded, space_of(generator, CODEC), np.random.default_rng(seed))

    pd.testing.assert_frame_equal(drawn(3), drawn(3))
    assert not drawn(3).equals(drawn(4))
    assert list(drawn(3).columns) == list(SCHEMA.columns) and len(drawn(3)) == 50


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("GUARDRAIL_HOME", str(tmp_path / "home"))
    return Home.find()


def trained(
    name: str,
    home: Home,
    *,
    epsilon: float | None,
    n: int = 600,
    epochs: int = 2,
    schema: Schema = SCHEMA,
    frame: pd.DataFrame | None = None,
) -> Model:
    material = Material(schema, rows(n) if frame is None else frame, None, "hmac-sha256:test")
    privacy = PrivacySpec(epsilon=epsilon, noise="seeded") if epsilon else None
    settings = Settings(GeneratorSpec(name=name), TrainingSpec(epochs=epochs, device="cpu"), privacy, holdout=0.0)
    return train(material, settings, home=home, report=lambda _: None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("epsilon", [None, 3.0])
def test_a_saved_model_samples_the_same_after_loading(name: str, epsilon: float | None, home: Home, tmp_path: Path):
    model = trained(name, home, epsilon=epsilon)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(model.weights())
    documents.write_json(folder / "codec.json", codec_document(model))
    documents.write_json(folder / "receipt.json", model.receipt.model_dump(mode="json"))
    pd.testing.assert_frame_equal(model.sample(40, seed=5), load(folder).sample(40, seed=5))
    pd.testing.assert_frame_equal(model.sample_floor(40, seed=5), load(folder).sample_floor(40, seed=5))


CONSTANT = {"kind": "integer", "low": 4, "high": 4}
WORDS = {"kind": "categorical", "categories": ["a", "b"], "missing": True}
ODD: dict[str, tuple[dict[str, object], pd.DataFrame]] = {
    "one constant column": ({"x": CONSTANT}, pd.DataFrame({"x": [4] * 30})),
    "one column of words": ({"x": WORDS}, pd.DataFrame({"x": ["a", "b", None] * 10})),
    "one number": ({"x": {"kind": "numeric", "low": 0, "high": 1}}, pd.DataFrame({"x": np.linspace(0, 1, 30)})),
    "no number": ({"x": WORDS, "y": {"kind": "boolean"}}, pd.DataFrame({"x": ["a", "b", None] * 10, "y": ["true", "false"] * 15})),
    "all missing": ({"x": WORDS, "y": {**CONSTANT, "missing": True}}, pd.DataFrame({"x": [None] * 30, "y": [None] * 30}, dtype=object)),
    "one row": ({"x": WORDS, "y": {"kind": "numeric", "low": 0, "high": 1}}, pd.DataFrame({"x": ["a"], "y": [0.5]})),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("epsilon", [None, 2.0])
@pytest.mark.parametrize("name", NAMES)
def test_odd_tables_train_and_sample(name: str, epsilon: float | None, odd: str, home: Home):
    columns, raw = ODD[odd]
    schema = Schema.model_validate({"columns": columns, "records": 30})
    model = trained(name, home, epsilon=epsilon, epochs=1, schema=schema, frame=cast(raw, schema))
    assert cast(model.sample(20), schema).shape == (20, len(columns))


@pytest.mark.parametrize("name", NAMES)
def test_training_in_plain_is_repeatable(name: str, home: Home):
    pd.testing.assert_frame_equal(trained(name, home, epsilon=None).sample(30), trained(name, home, epsilon=None).sample(30))


@pytest.mark.parametrize("name", NAMES)
def test_privacy_costs_what_was_asked(name: str, home: Home):
    claim = trained(name, home, epsilon=2.0).receipt.privacy
    assert claim is not None and 1.95 <= claim.epsilon <= 2.0


@pytest.mark.parametrize("name", [name for name in NAMES if "log_likelihood" in table("generators")[name].abilities])
def test_log_likelihood_is_normalised_over_all_rows(name: str):
    """Over a small schema all rows can be listed: their probabilities sum to 1."""
    schema = Schema.model_validate(
        {
            "columns": {
                "a": {"kind": "categorical", "categories": ["x", "y", "z"]},
                "b": {"kind": "boolean"},
                "c": {"kind": "integer", "low": 0, "high": 3},
            }
        }
    )
    codec = TabularCodec(schema)
    torch.manual_seed(0)
    generator = build(GeneratorSpec(name=name), codec)
    every = torch.cartesian_prod(*[torch.arange(size) for size in codec.tokens.sizes])
    generator.initialise(ExactCounts(Dataset(Batch.of(every), every.numpy(), codec.tokens)))
    with torch.no_grad():
        for parameter in generator.players().get(name, torch.nn.Module()).parameters():
            parameter.add_(torch.randn_like(parameter))
    assert float(generator.log_likelihood(Batch.of(every)).exp().sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "marginals"])
def test_a_model_learns_the_dependence_that_the_floor_cannot_have(name: str, home: Home):
    model = trained(name, home, epsilon=None, n=3000, epochs=60)

    def dependence(frame: pd.DataFrame) -> float:
        red = (frame["colour"] == "red").to_numpy(dtype=bool)
        label = frame["label"].to_numpy(dtype=bool)
        return float(red[label].mean() - red[~label].mean())

    real, made, floor = dependence(rows(3000)), dependence(model.sample(3000)), dependence(model.sample_floor(3000))
    assert made > 0.5 * real and abs(floor) < 0.1 * real + 0.05
