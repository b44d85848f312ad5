"""From the clients' updates to one, by Flower's strategies, behind checks that nothing broken passes.

Flower's strategies trust what comes: an update that holds NaN makes the average NaN, one of another shape broadcasts, and a client's
word about its records is its weight. So every reply is looked at first, and who sent what cannot be is left out by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdam, FedAvg, FedMedian, FedProx, FedTrimmedAvg, Krum, Strategy
from flwr.serverapp.strategy.fedopt import FedOpt

from ...vocabulary.spec import FederationSpec
from .learning import MOMENTS, Arrays
from .wire import Reply, record_of

EXAMPLES, ARRAYS, METRICS = "num-examples", "arrays", "metrics"
MOST_WEIGHT = 10.0
"""A client's weight, at most, in medians of what all say: more than that would be one client's model."""


COMMON: dict[str, Any] = {"fraction_evaluate": 0.0, "min_train_nodes": 1, "min_available_nodes": 1, "weighted_by_key": EXAMPLES}


def strategy_of(spec: FederationSpec) -> Strategy:
    if spec.strategy == "fedprox":
        return FedProx(**COMMON, proximal_mu=spec.proximal)
    if spec.strategy == "fedadam":
        return FedAdam(**COMMON, eta=0.01, beta_1=0.9, beta_2=0.99, tau=1e-3)
    if spec.strategy == "fedmedian":
        return FedMedian(**COMMON)
    if spec.strategy == "krum":
        return Krum(**COMMON, num_malicious_nodes=spec.byzantine)
    if spec.strategy == "trimmed_mean":
        return FedTrimmedAvg(**COMMON, beta=min(0.499, spec.byzantine / (spec.clients * spec.sample)))
    return FedAvg(**COMMON)


def fault_in(reply: Reply, like: Arrays, round_: int) -> str:
    """Why this update cannot be used; empty where it can."""
    if reply.refused:
        return reply.refused
    if reply.facts.get("round") != round_:
        return f"answered round {reply.facts.get('round')!r} in round {round_}"
    if set(reply.arrays) != set(like):
        return "sent other weights than were asked for"
    for name, value in reply.arrays.items():
        if value.shape != like[name].shape:
            return f"sent {name} of shape {value.shape} in place of {like[name].shape}"
        if value.dtype != like[name].dtype:
            return f"sent {name} as {value.dtype} in place of {like[name].dtype}"
        if not np.isfinite(value).all():
            return f"sent {name} with values that are no numbers"
    weight = reply.facts.get("weight")
    if not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
        return f"says that its update weighs {weight!r}"
    return ""


def miscounted(reply: Reply) -> str:
    """Why this count cannot be used; empty where it can."""
    if reply.refused:
        return reply.refused
    strange = [name for name, value in reply.arrays.items() if not np.isfinite(value).all()]
    return f"counted {strange[0]} with values that are no numbers" if strange else ""


def averaged(strategy: Strategy, round_: int, updates: Mapping[int, Reply], before: Arrays) -> Arrays:
    """The next weights. `updates`: by client, without faults. What FedAdam makes of a sum is a step: moments are averaged as they are."""
    if isinstance(strategy, FedOpt):
        moments = {name for name in before if name.startswith(MOMENTS)}
        if moments:
            mean = averaged(FedAvg(**COMMON), round_, _only(updates, moments), {name: before[name] for name in moments})
            rest = set(before) - moments
            return {**averaged(strategy, round_, _only(updates, rest), {name: before[name] for name in rest}), **mean}
    weights = weighed([float(reply.facts["weight"]) for reply in updates.values()])
    asked = RecordDict({ARRAYS: record_of(before)})
    replies = []
    for (node, reply), weight in zip(updates.items(), weights, strict=True):
        content = RecordDict({ARRAYS: record_of(reply.arrays), METRICS: MetricRecord({EXAMPLES: weight})})
        replies.append(Message(content, reply_to=Message(asked, dst_node_id=node, message_type="train")))
    if isinstance(strategy, FedOpt):
        strategy.current_arrays = before  # what its own way of asking clients would have set
    result, _ = strategy.aggregate_train(round_, replies)
    if result is None:
        return dict(before)
    return {name: array.numpy().astype(before[name].dtype) for name, array in result.items()}


def _only(updates: Mapping[int, Reply], names: set[str]) -> dict[int, Reply]:
    return {node: Reply({name: reply.arrays[name] for name in names}, reply.facts) for node, reply in updates.items()}


def weighed(said: Sequence[float]) -> list[float]:
    """Clients' words about their weights, none above so many medians; a client without records weighs nothing."""
    there = [weight for weight in said if weight > 0]
    most = MOST_WEIGHT * float(np.median(there)) if there else 1.0
    return [min(weight, most) for weight in said] if there else [1.0 for _ in said]
