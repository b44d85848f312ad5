"""How well the released model predicts real records it never saw: log-likelihood, cross-entropy and perplexity.

Perplexity is the exponential of the cross-entropy per token (Jelinek et al. 1977): the number of equally likely choices that
would be as hard to guess. Only models that give probabilities have it, and only models over tokens have it per token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from guardrail.data.modality import modality
from guardrail.statistics import normal
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding

METRICS = ("quality.log_likelihood", "quality.cross_entropy", "quality.perplexity")
CAVEATS = (
    "computed from held-out private records, so outside epsilon",
    "a model may predict well and sample badly, or the other way round",
)
LEAST_RECORDS = 4
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Likelihood:
    """How well does the model predict real records that it never saw?

    Log-likelihood per record and cross-entropy per token in nats; perplexity 1 is certainty, the size of the vocabulary is
    knowing nothing. The reference is the floor's value: a Markov chain, or independent columns.
    """

    name: ClassVar[str] = "likelihood"
    metrics: ClassVar[tuple[str, ...]] = METRICS
    needs: ClassVar[tuple[Need, ...]] = ("holdout", "log_likelihood")
    modalities: ClassVar[tuple[str, ...]] = ("tabular", "image", "text", "music", "series")

    most_records: int = 2_000

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        holdout, density, train = evidence.holdout, evidence.log_likelihood, evidence.train
        if holdout is None or density is None:
            raise ValueError("the likelihood audit needs a holdout and a model with a likelihood")
        if len(holdout) < LEAST_RECORDS:
            return _nothing(f"the holdout has {len(holdout)} records; {LEAST_RECORDS} are the least")
        records = {"holdout": self._some(holdout, rng)} | (
            {"train": self._some(train, rng)} if train is not None and len(train) >= LEAST_RECORDS else {}
        )
        found = {role: np.asarray(density(frame), dtype=float) for role, frame in records.items()}
        if evidence.floor_likelihood is not None:
            found["floor"] = np.asarray(evidence.floor_likelihood(records["holdout"]), dtype=float)
        if not np.isfinite(found["holdout"]).all():
            return _nothing("the model gives some held-out records probability zero, so there is no finite mean")
        found = {role: values for role, values in found.items() if np.isfinite(values).all()}
        return (self._per_record(found), *self._per_token(evidence, records, found))

    def _some(self, frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        chosen = np.sort(rng.permutation(len(frame))[: self.most_records])
        return frame.iloc[chosen].reset_index(drop=True)

    @staticmethod
    def _per_record(found: dict[str, Values]) -> Finding:
        estimates = {role: _mean(values) for role, values in found.items()}
        main = estimates.pop("holdout")
        return Finding.measured(
            METRICS[0],
            main,
            estimand=f"mean log-probability (density, where the space is continuous) of a held-out record in nats, {main.n} records",
            reference=estimates["floor"].value if "floor" in estimates else None,
            comparisons=estimates,
            caveats=(*CAVEATS, "depends on the codec's units: compare only models of the same data and codec"),
        )

    @staticmethod
    def _per_token(evidence: Evidence, records: dict[str, pd.DataFrame], found: dict[str, Values]) -> tuple[Finding, Finding]:
        if evidence.floor_likelihood is None:
            reason = "the model is not one over tokens, so there is no probability per token"
            return Finding.not_assessable(METRICS[1], reason), Finding.not_assessable(METRICS[2], reason)
        lengths = {role: _tokens(evidence, frame) for role, frame in records.items()}
        lengths["floor"] = lengths["holdout"]
        entropies = {role: _ratio(-values, lengths[role]) for role, values in found.items()}
        perplexities = {role: _exponential(value) for role, value in entropies.items()}
        tokens = int(lengths["holdout"].sum())
        return (
            _finding(METRICS[1], entropies, f"mean of minus log-probability per token in nats over {tokens:,} held-out tokens"),
            _finding(METRICS[2], perplexities, f"exponential of the cross-entropy per token over {tokens:,} held-out tokens"),
        )


def _nothing(reason: str) -> tuple[Finding, ...]:
    return tuple(Finding.not_assessable(metric, reason) for metric in METRICS)


def _finding(metric: str, estimates: dict[str, Estimate], estimand: str) -> Finding:
    others = {role: value for role, value in estimates.items() if role != "holdout"}
    reference = others["floor"].value if "floor" in others else None
    return Finding.measured(metric, estimates["holdout"], estimand=estimand, reference=reference, comparisons=others, caveats=CAVEATS)


def _tokens(evidence: Evidence, frame: pd.DataFrame) -> Values:
    """(records,): tokens that count, the end included once."""
    if evidence.schema.content is None:
        return np.full(len(frame), float(len(evidence.schema.columns)))
    codec = modality(evidence.schema.modality).codec(evidence.schema)
    tokens, end = codec.encode(frame, "tokens"), codec.tokens.end
    if end is None:
        return np.full(len(tokens), float(tokens.shape[1]))
    return np.asarray(np.minimum((tokens != end).sum(axis=1) + 1, tokens.shape[1]), dtype=float)


def _mean(values: Values) -> Estimate:
    return normal(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))), n=len(values), method="normal")


def _ratio(totals: Values, lengths: Values) -> Estimate:
    """Tokens come in records: the error is that of a ratio of sums over records (Cochran 1977, section 2.11)."""
    value = float(totals.sum() / lengths.sum())
    spread = totals - value * lengths
    error = float(np.sqrt(len(totals) * spread.var(ddof=1)) / lengths.sum())
    return normal(value, error, n=len(totals), low=0.0, method="ratio estimator")


def _exponential(estimate: Estimate) -> Estimate:
    def grown(value: float | None) -> float | None:
        return None if value is None else float(np.exp(min(value, 700.0)))

    return estimate.model_copy(update={"value": grown(estimate.value), "low": grown(estimate.low), "high": grown(estimate.high)})
