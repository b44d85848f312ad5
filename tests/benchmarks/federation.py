"""What a federation costs and what it learns, beside training in one place and beside every client alone.

    python tests/benchmarks/federation.py adult [--epsilon 3] [--rounds 60] [--strategy fedavg]
    python tests/benchmarks/federation.py speeches | digits | robust [--strategy krum] | scale | secure | masked

adult: complete cases of Adult dealt by Dirichlet(0.5) over the label to 10 clients, `made`, the audits of a run, against central training.
speeches: `lstm` on addresses of presidents, one client each; perplexity on held-out addresses, against every client's own model.
digits: `vae` on ten clients that have one digit each; what a classifier of real digits reads in the samples.
robust: the quality that is left when one client of ten sends its update with the sign turned and tenfold, by strategy.
scale: 100 clients on Ray, seconds and memory a round. secure: seconds of each stage of secure aggregation, 100 clients, 1,000,000 numbers.
masked: seconds of a whole round of 100 clients, training and messages with it, in the open and under masks, `made` of a million weights.
Clients run in this process unless said otherwise; one thread.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from flwr.app import Message

from guardrail.data.builtin import load
from guardrail.data.material import Material, prepare
from guardrail.registry.home import Home
from guardrail.run.audit import measure
from guardrail.training.federation import federated, simulation
from guardrail.training.federation.masks import Masker, PublicKeys, masker_of, step_for, written
from guardrail.training.federation.secure_sum import SecureSum
from guardrail.training.federation.simulation import Loopback
from guardrail.training.federation.wire import Reply, content, read
from guardrail.training.fit import Settings, train
from guardrail.training.model import Model
from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.spec import DataSpec, FederationSpec, GeneratorSpec, PrivacySpec, TrainingSpec

honest = simulation.simulate


def gathered(data: str, federation: FederationSpec | None, privacy: PrivacySpec | None = None, seed: int = 0) -> Material:
    frame, schema = load(data)
    return prepare(
        frame, schema, DataSpec(source=f"builtin:{data}"), privacy=privacy, seed=seed, home=Home.find(), kind=None, federation=federation
    )


def trained(
    material: Material,
    family: GeneratorSpec,
    federation: FederationSpec | None,
    *,
    privacy: PrivacySpec | None = None,
    training: TrainingSpec | None = None,
    on_ray: bool = False,
    grid: Callable[[Any], Any] = lambda grid: grid,
    seed: int = 0,
    report: Callable[[Any], None] = lambda _: None,
) -> Model:
    federated.simulate = lambda parts, serve, **_: honest(parts, lambda one: serve(grid(one)), in_process=not on_ray)
    settings = Settings(family, training or TrainingSpec(), privacy, holdout=0.2, seed=seed, name="benchmark", federation=federation)
    return train(material, settings, home=Home.find(), report=report, tell=lambda _: None)


def quality(material: Material, model: Model, seed: int = 0) -> str:
    made = model.sample(len(material.train), seed=seed)
    evidence = Evidence(schema=material.schema, train=material.train, holdout=material.holdout, synthetic=made)
    found = {one.metric: one.value for one in measure(evidence, only=("utility", "pairs", "detection"), seed=seed)}
    return " ".join(f"{name}={found[name]:.4f}" for name in ("quality.utility_auc", "quality.pairs", "quality.detection_auc"))


def adult(given: argparse.Namespace) -> None:
    privacy = PrivacySpec(epsilon=given.epsilon) if given.epsilon else None
    spec = {"clients": 10, "rounds": given.rounds, "strategy": given.strategy or "fedavg"}
    federation = FederationSpec.model_validate({**spec, "partition": {"kind": "dirichlet", "by": "income", "alpha": 0.5}})
    for label, one in (("federated", federation), ("central", None)):
        material, begun = gathered("adult-complete", one, privacy), time.perf_counter()
        model = trained(material, GeneratorSpec(name="made"), one, privacy=privacy)
        print(f"{label} epsilon={given.epsilon or 'none'} seconds={time.perf_counter() - begun:.0f} {quality(material, model)}", flush=True)


def speeches(given: argparse.Namespace) -> None:
    """Perplexity per token of held-out pieces; a client's own model is asked about all of them, as the common one is."""
    clients = len(load("sotu")[1].columns["president"].categories)
    federation = FederationSpec.model_validate(
        {"clients": clients, "rounds": given.rounds, "partition": {"kind": "by_column", "by": "president"}}
    )
    material = gathered("sotu", federation)
    assert material.holdout is not None and material.clients is not None
    shown = material.holdout.sample(min(400, len(material.holdout)), random_state=0)
    family, training = GeneratorSpec(name="lstm"), TrainingSpec(epochs=given.epochs)
    longer = TrainingSpec(epochs=5 * given.epochs)  # of a client alone, which takes fewer steps an epoch

    def perplexity(model: Model) -> float:
        tokens = model.codec.encode(shown, "tokens")
        end = model.codec.tokens.end
        lengths = np.where((tokens == end).any(1), (tokens == end).argmax(1) + 1, tokens.shape[1])
        return float(np.exp(-model.log_likelihood(shown).sum() / lengths.sum()))

    begun = time.perf_counter()
    print(f"federated, {clients} clients: perplexity {perplexity(trained(material, family, federation, training=training)):.2f}", end=" ")
    print(f"in {time.perf_counter() - begun:.0f} s", flush=True)
    alone, sizes = [], np.bincount(material.clients)
    for number in np.argsort(-sizes)[: given.alone]:
        own = material.train[material.clients == number].reset_index(drop=True)
        part = Material(material.schema, own, material.holdout, material.fingerprint)
        alone.append(perplexity(trained(part, family, None, training=longer)))
        print(f"alone, client {number} with {sizes[number]} pieces: perplexity {alone[-1]:.2f}", flush=True)
    print(f"alone, the best of the {given.alone} largest: {min(alone):.2f}")


def digits(given: argparse.Namespace) -> None:
    from sklearn.neural_network import MLPClassifier

    spec = {"clients": 10, "rounds": given.rounds, "partition": {"kind": "by_column", "by": "digit"}}
    federation = FederationSpec.model_validate(spec)
    material = gathered("mnist10k", federation)
    model = trained(material, GeneratorSpec(name=given.family), federation, training=TrainingSpec(epochs=given.epochs))
    made = model.sample(2000, seed=0)
    real, drawn = (np.stack(list(frame["image"])).reshape(len(frame), -1) / 255 for frame in (material.train, made))
    reader = MLPClassifier((128,), max_iter=20, random_state=0).fit(real, material.train["digit"])
    read_as = reader.predict_proba(drawn)
    shares = np.round(np.bincount(read_as.argmax(1), minlength=10) / len(made), 3).tolist()
    print(f"{given.family}: share of samples read as each digit {shares}, mean confidence {read_as.max(1).mean():.3f}")


class Attacked:
    """A grid on which some clients send what they changed with the sign turned, and tenfold."""

    def __init__(self, grid: Loopback, nodes: set[int]) -> None:
        self._grid, self._nodes = grid, nodes

    def get_node_ids(self) -> Iterable[int]:
        return self._grid.get_node_ids()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return [self._turned(message, self._grid.deliver(message)) for message in messages]

    def _turned(self, message: Message, reply: Message) -> Message:
        if message.metadata.message_type != "train" or message.metadata.dst_node_id not in self._nodes:
            return reply
        before, (after, facts) = read(message.content)[0], read(reply.content)
        turned = {name: (before[name] - 10 * (value - before[name])).astype(value.dtype) for name, value in after.items()}
        return Message(content(turned, facts), reply_to=message)


def robust(given: argparse.Namespace) -> None:
    for strategy in [given.strategy] if given.strategy else ("fedavg", "fedmedian", "trimmed_mean", "krum"):
        federation = FederationSpec.model_validate({"clients": 10, "rounds": given.rounds, "strategy": strategy, "weights": "uniform"})
        material = gathered("adult-complete", federation)
        for label, nodes in (("honest", set()), ("one of ten malicious", {4})):
            try:
                model = trained(material, GeneratorSpec(name="made"), federation, grid=lambda grid, nodes=nodes: Attacked(grid, nodes))
                print(f"{strategy}, {label}: {quality(material, model)}", flush=True)
            except Exception as fault:  # a broken average is an answer too
                print(f"{strategy}, {label}: {type(fault).__name__}: {str(fault)[:120]}", flush=True)


def scale(given: argparse.Namespace) -> None:
    federation = FederationSpec.model_validate({"clients": 100, "rounds": given.rounds})
    material = gathered("adult-complete", federation)
    moments = [time.perf_counter()]
    trained(material, GeneratorSpec(name="made"), federation, on_ray=True, report=lambda _: moments.append(time.perf_counter()))
    rounds = np.diff(moments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"100 clients: to the end of round 1 {rounds[0]:.1f} s, then {np.median(rounds[1:]):.2f} s a round; server's peak {peak:.0f} MB")


def secure(given: argparse.Namespace) -> None:
    n, size, taken = 100, 1_000_000, defaultdict(float)
    vectors = np.random.default_rng(0).normal(size=size)
    maskers: dict[int, str] = {}

    def ask(kind: str, requests: Mapping[int, Any]) -> dict[int, Reply]:
        begun = time.perf_counter()
        found = {number: answer(kind, number, facts) for number, (_, facts) in requests.items()}
        taken[kind] += time.perf_counter() - begun
        return found

    def answer(kind: str, number: int, facts: Mapping[str, Any]) -> Reply:
        if kind == "query.keys":
            maskers[number] = written(Masker(facts["session"], number))
            return Reply(facts={key: value.hex() for key, value in vars(masker_of(maskers[number]).public()).items()})
        masker = masker_of(maskers[number])
        if kind == "query.shares":
            peers = {int(peer): PublicKeys(*map(bytes.fromhex, keys)) for peer, keys in facts["peers"].items()}
            said = Reply(facts={"sealed": {str(peer): box.hex() for peer, box in masker.share(peers, facts["threshold"]).items()}})
        elif kind == "train.masked":
            said = Reply(masker.masked({"a": vectors}, {int(p): bytes.fromhex(box) for p, box in facts["inbox"].items()}, facts["step"]))
        else:
            said = Reply(facts={"shares": {str(p): share.hex() for p, share in masker.unmask(facts["alive"], facts["gone"]).items()}})
        maskers[number] = written(masker)
        return said

    begun = time.perf_counter()
    total = SecureSum(range(n), ask, step_for(64.0)).of("train", {}, {})
    whole = time.perf_counter() - begun
    begun = time.perf_counter()
    plain = np.zeros(size)
    for _ in range(n):
        plain += vectors
    print(f"error at most {np.abs(total['a'] - plain).max():.1e}; a plain sum of the vectors {time.perf_counter() - begun:.2f} s")
    for kind, seconds in taken.items():
        print(f"{kind}: {1000 * seconds / n:.1f} ms a client")
    print(f"server: {whole - sum(taken.values()):.2f} s")


def masked(given: argparse.Namespace) -> None:
    """Medians over all rounds but the first, which pays for what is loaded once."""
    family, found = GeneratorSpec(name="made", options={"hidden": [900, 900]}), {}
    for secure_ in (False, True):
        federation = FederationSpec.model_validate(
            {"clients": 100, "rounds": given.rounds, "secure_aggregation": secure_, "weights": "uniform"}
        )
        material, moments = gathered("adult-complete", federation), [time.perf_counter()]
        model = trained(
            material,
            family,
            federation,
            training=TrainingSpec(epochs=given.epochs),
            report=lambda _, at=moments: at.append(time.perf_counter()),
        )
        found[secure_] = float(np.median(np.diff(moments)[1:]))
        print(
            f"{'under masks' if secure_ else 'in the open'}: {found[secure_]:.1f} s a round, {model.receipt.parameters:,} weights",
            flush=True,
        )
    print(f"ratio {found[True] / found[False]:.2f}; with the optimizer's moments three numbers travel for each weight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["adult", "speeches", "digits", "robust", "scale", "secure", "masked"], nargs="?", default="adult")
    parser.add_argument("--epsilon", type=float, default=0)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=None, help="of speeches: 4 is what was measured; of masked: one for each round")
    parser.add_argument("--strategy", default=None)
    parser.add_argument("--family", default="vae")
    parser.add_argument("--alone", type=int, default=5, help="of speeches: so many clients also alone, the largest first")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GUARDRAIL_HOME"] = folder
        todo = {
            "adult": adult,
            "speeches": speeches,
            "digits": digits,
            "robust": robust,
            "scale": scale,
            "secure": secure,
            "masked": masked,
        }
        todo[given.what](given)


if __name__ == "__main__":
    main()
