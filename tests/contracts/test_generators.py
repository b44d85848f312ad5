"""Every registered generator, whoever wrote it, on every modality it lists: shapes, one loss per record, no mixing of records,
abilities that are there and no others, seeds, save and load; and under privacy, where the family can be trained so, the claim."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from guardrail.audits.privacy.claim import watched
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
from guardrail.training.units import Units
from guardrail.vocabulary import documents
from guardrail.vocabulary.errors import Unsupported
from guardrail.vocabulary.plugins import resolve, table
from guardrail.vocabulary.schema import Schema
from guardrail.vocabulary.spec import GeneratorSpec, PrivacySpec, TrainingSpec
from tests.contracts.worlds import WORLDS

TABLE = table("generators")
NAMES = list(TABLE)
CASES = [(name, modality) for name, entry in TABLE.items() for modality in entry.modalities]
PRIVATE = [(name, modality) for name, modality in CASES if "private" in TABLE[name].abilities]
ON_TABLES = [name for name, modality in CASES if modality == "tabular"]
CODEC = WORLDS["tabular"].codec


def can(ability: str) -> list[tuple[str, str]]:
    return [(name, modality) for name, modality in CASES if ability in TABLE[name].abilities]


def initialised(name: str, modality: str, n: int = 60, seed: int = 0) -> tuple[Generator, Batch]:
    """A generator whose weights were moved away from their start (zeros would hide a mistake in their gradients), and records."""
    torch.manual_seed(0)
    world = WORLDS[modality]
    codec, frame = world.codec, world.records(n, seed)
    generator = build(GeneratorSpec(name=name), codec)
    records = encode(codec, frame, generator)
    generator.initialise(ExactCounts(Dataset(records, codec.encode(frame, "tokens"), codec.tokens)))
    with torch.no_grad():
        for parameter in (parameter for player in generator.players().values() for parameter in player.parameters()):
            parameter.add_(0.02 * torch.randn_like(parameter))
    return generator, records


def losses(player: Player, records: Batch) -> Tensor:
    torch.manual_seed(1)  # a latent draw belongs to a place in the batch: the same places, the same draws
    return type(player).losses(player, records)


def free_loss(player: Player, n: int) -> Tensor | None:
    torch.manual_seed(2)
    return type(player).free_loss(player, n)


@contextmanager
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def doubled(records: Batch) -> Batch:
    return Batch(records.x.double() if records.x.is_floating_point() else records.x, records.given)


def players_of(name: str, modality: str, n: int) -> list[tuple[Player, Batch]]:
    generator, records = initialised(name, modality, n)
    return [(player, records) for player in generator.players().values() if player.sees_records]


def given_of(generator: Generator, records: Batch, n: int) -> Tensor | None:
    return records.given[:1].expand(n, -1) if generator.conditional else None


METHODS = {
    "log_likelihood": ("log_likelihood",),
    "score": ("anomaly_score", "log_likelihood"),
    "prompt": ("complete",),
    "impute": ("complete",),
    "translate": ("translate",),
    "latent": ("latent",),
    "interpolate": ("from_latent", "draw_latent"),
    "explain": ("explain",),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_table_line_tells_the_truth(name: str):
    entry, kind = TABLE[name], resolve("generators", name)
    assert issubclass(kind, Generator)
    assert entry.paper.startswith("https://") and entry.summary
    assert kind.Options() is not None
    assert set(entry.modalities) <= set(WORLDS)
    for ability, methods in METHODS.items():
        has = any(getattr(kind, method) is not getattr(Generator, method) for method in methods)
        claims = ability in entry.abilities or (methods == ("complete",) and {"prompt", "impute"} & set(entry.abilities))
        assert has == bool(claims) or (has and ability == "score"), f"{name}: {ability}"
    assert ("private" in entry.abilities) == (kind.private is not None)


@pytest.mark.parametrize(("name", "modality"), CASES)
def test_one_loss_per_record(name: str, modality: str):
    for player, records in players_of(name, modality, 9):
        assert losses(player, records).shape == (9,)
        assert losses(player, records).isfinite().all()


@pytest.mark.parametrize(("name", "modality"), CASES)
def test_changing_record_0_moves_no_other_loss(name: str, modality: str):
    """In double precision: kernels may sum in another order, and no more than that."""
    generator, records = initialised(name, modality, 12)
    other = initialised(name, modality, 12, seed=9)[1]
    changed = Batch(torch.cat([other.x[:1], records.x[1:]]), torch.cat([other.given[:1], records.given[1:]]))
    generator.double()
    with doubles():
        for player in (player for player in generator.players().values() if player.sees_records):
            before, after = (losses(player, doubled(batch)) for batch in (records, changed))
            assert torch.allclose(before[1:], after[1:], rtol=1e-10, atol=1e-10) and not torch.equal(before[0], after[0])


@pytest.mark.parametrize(("name", "modality"), CASES)
def test_players_train_disjoint_parameters_and_together_all_of_them(name: str, modality: str):
    generator, _ = initialised(name, modality, 9)
    owners = [id(p) for player in generator.players().values() for p in player.parameters() if p.requires_grad]
    assert len(owners) == len(set(owners))
    if owners:
        assert set(owners) == {id(p) for p in generator.parameters() if p.requires_grad}


@pytest.mark.parametrize(("name", "modality"), can("where"))
def test_a_conditional_model_takes_the_class_it_is_asked_for(name: str, modality: str):
    generator, _ = initialised(name, modality)
    assert generator.conditional == bool(WORLDS[modality].codec.conditions)
    if generator.conditional and "sample" in TABLE[name].abilities:
        drawn = [generator.sample(8, torch.Generator().manual_seed(0), torch.full((8, 1), label)) for label in (0, 1)]
        assert not torch.equal(*drawn)


@pytest.mark.parametrize(("name", "modality"), [case for case in CASES if "where" not in TABLE[case[0]].abilities])
def test_an_unconditional_family_stays_so(name: str, modality: str):
    if "translate" not in TABLE[name].abilities:
        assert not initialised(name, modality)[0].conditional


@pytest.mark.parametrize(("name", "modality"), can("prompt") + can("impute"))
def test_what_is_known_stays_when_the_rest_is_drawn(name: str, modality: str):
    generator, records = initialised(name, modality, 20)
    known = torch.zeros_like(records.x, dtype=torch.bool)
    if "impute" not in TABLE[name].abilities or records.x.dim() > 2:
        known[:, : max(1, records.x.shape[1] // 2)] = True
    elif modality == "tabular" and space_of(generator, CODEC) == "vector":
        for i, block in enumerate(CODEC.vector.blocks):
            known[:, block.start : block.stop] = i % 2 == 0
    else:
        known[:, ::2] = True
    filled = generator.complete(records, known, torch.Generator().manual_seed(0))
    assert filled.shape == records.x.shape and filled.isfinite().all()
    assert torch.allclose(filled[known].double(), records.x[known].double(), atol=1e-5)


@pytest.mark.parametrize(("name", "modality"), can("score"))
def test_every_record_has_a_finite_score_of_its_own(name: str, modality: str):
    generator, records = initialised(name, modality, 12)
    with torch.no_grad():
        torch.manual_seed(0)
        together = generator.anomaly_score(records)
    assert together.shape == (12,) and together.isfinite().all()


@pytest.mark.parametrize(("name", "modality"), can("interpolate"))
def test_codes_become_records(name: str, modality: str):
    generator, records = initialised(name, modality, 12)
    codes = generator.draw_latent(5, torch.Generator().manual_seed(0))
    assert codes.shape[0] == 5
    assert generator.from_latent(codes, given_of(generator, records, 5)).shape == (5, *records.x.shape[1:])


@pytest.mark.parametrize(("name", "modality"), can("explain"))
def test_an_explanation_has_a_row_per_record(name: str, modality: str):
    generator, records = initialised(name, modality, 4)
    assert all(len(value) == 4 for value in generator.explain(records).values())


@pytest.mark.parametrize("name", NAMES)
def test_what_a_family_cannot_do_it_refuses_by_name(name: str):
    generator, records = initialised(name, TABLE[name].modalities[0], 4)
    if "translate" not in TABLE[name].abilities:
        with pytest.raises(Unsupported, match="families that can: "):
            generator.translate(records, torch.Generator())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize(("name", "modality"), CASES)
def test_it_trains_on_a_gpu(name: str, modality: str, home: Home):
    assert trained(name, home, modality=modality, epsilon=None, n=60, epochs=1, device="cuda").receipt.device.startswith("cuda")


CLIP = 0.5


def clipped_one_by_one(each: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """The slow truth: one backward pass per unit, clipped as a whole. `each`: (units,) losses."""
    total = [torch.zeros_like(p) for p in parameters]
    for loss in each:
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True, retain_graph=True)
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
        for part, gradient in zip(total, gradients, strict=True):
            part += gradient * min(1.0, CLIP / (norm + 1e-6))
    return total


@pytest.mark.parametrize("persons", [False, True], ids=["records", "persons"])
@pytest.mark.parametrize(("name", "modality"), PRIVATE)
def test_clipped_sum_equals_the_loop_of_one(name: str, modality: str, persons: bool, monkeypatch: pytest.MonkeyPatch):
    """Every parameter counts; every record, or all records of a person together, are clipped as a whole."""
    generator, records = initialised(name, modality, 10)
    generator.double()
    records = doubled(records)
    with doubles():
        drawn = Units.grouped(records, np.array([0, 1, 0, 2, 3, 3, 4, 0, 5, 6])) if persons else records
        there = drawn.batch if isinstance(drawn, Units) else drawn
        for player in (player for player in generator.players().values() if player.sees_records):
            parameters = [p for p in player.parameters() if p.requires_grad]
            each = losses(player, there)
            expected = clipped_one_by_one(drawn.joined(each) if isinstance(drawn, Units) else each, parameters)
            optimizer = torch.optim.SGD(parameters, lr=1.0)
            turn = PrivateTurn(player, optimizer, iter(()), clip=CLIP, noise_multiplier=1.0, normaliser=1.0, source=SecureStream())
            monkeypatch.setattr(player, "losses", lambda batch, player=player: losses(player, batch))
            for fast, slow in zip(turn.clipped_sum(drawn), expected, strict=True):
                assert torch.allclose(fast, slow, atol=1e-10, rtol=1e-8)
            assert turn.way == "one pass"  # as fast as the field's best, for every family


@pytest.mark.parametrize(("name", "modality"), PRIVATE)
def test_without_clip_and_noise_the_private_step_is_the_plain_one(name: str, modality: str, monkeypatch: pytest.MonkeyPatch):
    """Every player's, the free part of its loss included: privacy changes how far a step goes and never where to."""
    generator, records = initialised(name, modality, 10)
    generator.double()
    records = doubled(records)
    with doubles():
        for player in (player for player in generator.players().values() if player.sees_records):
            parameters = [p for p in player.parameters() if p.requires_grad]
            monkeypatch.setattr(player, "after_step", lambda: None)
            loss, free = losses(player, records).mean(), free_loss(player, len(records))
            plain = torch.autograd.grad(loss if free is None else loss + free, parameters, allow_unused=True, materialize_grads=True)
            before = [p.detach().clone() for p in parameters]
            optimizer = torch.optim.SGD(parameters, lr=1.0)
            turn = PrivateTurn(
                player, optimizer, iter([records]), clip=1e15, noise_multiplier=1e-30, normaliser=len(records), source=SecureStream()
            )
            monkeypatch.setattr(player, "losses", lambda batch, player=player: losses(player, batch))
            monkeypatch.setattr(player, "free_loss", lambda n, player=player: free_loss(player, n))
            turn.step()
            for start, end, gradient in zip(before, parameters, plain, strict=True):
                assert torch.allclose(start - end, gradient, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("name", "modality"), can("sample"))
def test_samples_obey_the_schema_and_depend_only_on_the_seed(name: str, modality: str):
    generator, records = initialised(name, modality, 200)
    world = WORLDS[modality]

    def drawn(seed: int) -> pd.DataFrame:
        torch.manual_seed(seed + 50)  # torch's own generator must not matter
        encoded = generator.sample(30, torch.Generator().manual_seed(seed), given_of(generator, records, 30)).numpy()
        return world.codec.decode(encoded, space_of(generator, world.codec), np.random.default_rng(seed))

    assert same(drawn(3), drawn(3)) and not same(drawn(3), drawn(4))
    content = world.schema.content
    assert list(drawn(3).columns) == ([content.column] if content else list(world.schema.columns)) and len(drawn(3)) == 30


def same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Equal cell by cell; a cell may be an array."""
    if list(one.columns) != list(other.columns) or len(one) != len(other):
        return False
    return all(_same_cells(one[name], other[name]) for name in one.columns)


def _same_cells(one: pd.Series, other: pd.Series) -> bool:
    if len(one) and isinstance(one.iloc[0], np.ndarray):
        return all(a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(one, other, strict=True))
    return one.equals(other)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("GUARDRAIL_HOME", str(tmp_path / "home"))
    return Home.find()


def trained(
    name: str,
    home: Home,
    *,
    epsilon: float | None,
    modality: str = "tabular",
    n: int = 600,
    epochs: int = 2,
    schema: Schema | None = None,
    frame: pd.DataFrame | None = None,
    device: str = "cpu",
) -> Model:
    world = WORLDS[modality]
    material = Material(schema or world.schema, world.records(n) if frame is None else frame, None, "hmac-sha256:test")
    privacy = PrivacySpec(epsilon=epsilon, noise="seeded") if epsilon else None
    training = TrainingSpec.model_validate({"epochs": epochs, "device": device})
    return train(material, Settings(GeneratorSpec(name=name), training, privacy, holdout=0.0), home=home, report=lambda _: None)


TRAINED = [(name, modality, None) for name, modality in CASES] + [(name, modality, 3.0) for name, modality in PRIVATE]


@pytest.mark.parametrize(("name", "modality", "epsilon"), TRAINED)
def test_a_saved_model_gives_the_same_after_loading(name: str, modality: str, epsilon: float | None, home: Home, tmp_path: Path):
    model = trained(name, home, modality=modality, epsilon=epsilon, n=80, epochs=1)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(model.weights())
    documents.write_json(folder / "codec.json", codec_document(model))
    documents.write_json(folder / "receipt.json", model.receipt.model_dump(mode="json"))
    again = load(folder)
    if model.can("sample"):
        assert same(model.sample(20, seed=5), again.sample(20, seed=5))
    else:
        frame = WORLDS[modality].records(20, 3)
        assert same(model.translate(frame), again.translate(frame))
    assert same(model.sample_floor(20, seed=5), again.sample_floor(20, seed=5))


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
@pytest.mark.parametrize("name", ON_TABLES)
def test_odd_tables_train_and_sample(name: str, epsilon: float | None, odd: str, home: Home):
    if epsilon and "private" not in TABLE[name].abilities:
        epsilon = None
    columns, raw = ODD[odd]
    schema = Schema.model_validate({"columns": columns, "records": 30})
    model = trained(name, home, epsilon=epsilon, epochs=1, schema=schema, frame=cast(raw, schema))
    assert cast(model.sample(20), schema).shape == (20, len(columns))


@pytest.mark.parametrize(("name", "modality"), can("sample"))
def test_training_in_plain_is_repeatable(name: str, modality: str, home: Home):
    one, other = (trained(name, home, modality=modality, epsilon=None, n=60, epochs=1) for _ in range(2))
    assert same(one.sample(10), other.sample(10))


@pytest.mark.parametrize(("name", "modality"), PRIVATE)
def test_privacy_costs_what_was_asked_and_all_of_it_is_attacked(name: str, modality: str, home: Home):
    """Canaries in every mechanism, and an honest training left alone: at p below 1e-9, so that chance never fails this test."""
    model = trained(name, home, modality=modality, epsilon=2.0)
    claim = model.receipt.privacy
    assert claim is not None and 1.95 <= claim.epsilon <= 2.0
    assert {record.what for record in model.canaries} == {mechanism.what for mechanism in claim.mechanisms}
    for one in watched(claim.mechanisms, model.canaries):
        assert min(one.p_noise(), *(attack.p_value() for attack in one.attacks())) > 1e-9


def test_every_family_can_be_trained_privately():
    assert PRIVATE == CASES


@pytest.mark.parametrize("name", [name for name in ON_TABLES if "log_likelihood" in TABLE[name].abilities])
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
        for parameter in (parameter for player in generator.players().values() for parameter in player.parameters()):
            parameter.add_(0.5 * torch.randn_like(parameter))
    assert float(generator.log_likelihood(Batch.of(every)).exp().sum()) == pytest.approx(1.0, abs=1e-5)


LEARNS = {"made": 60, "vae": 60}
"""Tabular families that learn the dependence below within so many epochs; the others' quality is shown by their own tests."""


@pytest.mark.parametrize("name", LEARNS)
def test_a_model_learns_the_dependence_that_the_floor_cannot_have(name: str, home: Home):
    model = trained(name, home, epsilon=None, n=3000, epochs=LEARNS[name])

    def dependence(frame: pd.DataFrame) -> float:
        red = (frame["colour"] == "red").to_numpy(dtype=bool)
        label = frame["label"].to_numpy(dtype=bool)
        return float(red[label].mean() - red[~label].mean())

    real, made, floor = (dependence(f) for f in (WORLDS["tabular"].records(3000), model.sample(3000), model.sample_floor(3000)))
    assert made > 0.5 * real and abs(floor) < 0.1 * real + 0.05
