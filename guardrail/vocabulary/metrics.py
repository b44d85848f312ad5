"""The metric names of the contract: stable once released. Each says which way is good and which values it can take.

A policy is checked against this table, so that a rule about a metric that does not exist, or a threshold of 5 for a
share, is refused when it is read and not discovered on the day it should have blocked a release.
"""

from __future__ import annotations

from typing import Literal

from .errors import UnknownName
from .frozen import Frozen

Direction = Literal["lower", "higher", "closer"]
"""Which way is good: lower, higher, or closer to the finding's reference."""


class Metric(Frozen):
    name: str
    question: str
    """What a reader would ask; the number is its answer."""
    direction: Direction
    least: float | None = 0.0
    most: float | None = 1.0
    """The range; null where there is no bound."""
    exact: bool = False
    """Known without sampling error (an accounted epsilon)."""


def _table(*rows: Metric) -> dict[str, Metric]:
    return {row.name: row for row in rows}


def _m(
    name: str, question: str, direction: Direction, least: float | None = 0.0, most: float | None = 1.0, *, exact: bool = False
) -> Metric:
    return Metric(name=name, question=question, direction=direction, least=least, most=most, exact=exact)


METRICS: dict[str, Metric] = _table(
    _m("quality.marginals", "Does each column look like the training data's?", "higher"),
    _m("quality.pairs", "Does each pair of columns look like the training data's?", "higher"),
    _m("quality.validity", "What share of the rows obeys the schema?", "higher"),
    _m("quality.detection_auc", "How well can a classifier tell synthetic rows from real ones?", "closer"),
    _m("quality.utility_auc", "How well does a model trained on synthetic rows predict real ones?", "higher"),
    _m("quality.utility_gap", "How much worse is a model trained on synthetic rows than one trained on real rows?", "lower", None, None),
    _m("quality.condition_adherence", "Do samples asked for a class look like that class?", "higher"),
    _m("quality.log_likelihood", "How probable are held-out records to the model, in nats?", "higher", None, None),
    _m("quality.cross_entropy", "How many nats per token do held-out records cost the model?", "lower", 0.0, None),
    _m("quality.perplexity", "Among how many equally likely tokens does the model seem to choose?", "lower", 0.0, None),
    _m("fairness.demographic_parity_difference", "How far apart are the groups' rates of favourable predictions?", "lower"),
    _m("fairness.equalized_odds_difference", "How far apart are the groups' error rates?", "lower"),
    _m("fairness.group_fidelity_gap", "How much worse does the model serve one client than another?", "lower"),
    _m("bias.representation", "Which group lost most of its share of the data?", "higher", 0.0, None),
    _m("privacy.epsilon", "What epsilon did training spend?", "lower", 0.0, None, exact=True),
    _m("privacy.delta", "At which delta does that epsilon hold?", "lower", exact=True),
    _m("privacy.exact_copies", "What share of the synthetic rows is a training row, cell by cell?", "lower"),
    _m("privacy.nearest_record_share", "Are synthetic rows closer to training rows than to unseen rows?", "closer"),
    _m("privacy.membership_auc", "How well can an attacker tell who was in the training data?", "closer"),
    _m("privacy.empirical_epsilon", "Which epsilon does the attack on the training's canaries show at least?", "lower", 0.0, None),
    _m("privacy.gradient_inversion", "What share of the records can be drawn back from a client's update?", "lower"),
    _m("privacy.claim", "Does the attack on the training's canaries contradict the claimed epsilon? (1: it does)", "lower"),
    _m("training.stability", "In what share of the second half of training was there no sign of trouble?", "higher"),
    _m("training.mode_collapse", "What share of the kinds of training records is missing from the samples?", "lower"),
    _m("training.duality_gap", "How much would the worst opponent of each player gain over the present one?", "lower", 0.0, None),
    _m("provenance.manifest_coverage", "What share of the sample files carries a valid signed manifest?", "higher"),
)


def metric_named(name: str) -> Metric:
    if name not in METRICS:
        raise UnknownName.among("metric", name, METRICS)
    return METRICS[name]
