"""Can an attacker tell who was in the training data? Membership inference from the samples, and from the model if we have it.

The attacker holds the synthetic data, some reference records from the same population, and one candidate record; he must
say whether the generator was trained on it. Members are random training rows, non-members random holdout rows, as many.

distance         minus the distance to the nearest synthetic row (Chen et al. 2020, doi.org/10.1145/3372297.3417238)
density ratio    how synthetic rather than real the record looks to a classifier of synthetic against reference rows, as
                 in DOMIAS (van Breugel et al. 2023, arxiv.org/abs/2302.12580)
log-likelihood   the released model's log-density less that of independent marginals of the reference rows (white box;
                 calibration by difficulty, Watson et al. 2022, arxiv.org/abs/2111.08440)

All scores have their sign fixed here, before any is seen. The control, `blind`, is an attack without synthetic data: a
classifier of other training rows against the reference rows. Where it succeeds, train and holdout differ by themselves
and an attack's success proves no leak (Das, Zhang and Tramèr 2024, arxiv.org/abs/2406.16201).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier

from guardrail.audits.groups import MOST_GROUPS, beyond, groups_of, number_of_groups
from guardrail.audits.privacy.distances import coordinates, nearest
from guardrail.audits.views import binned, features, learnable, sample_rows
from guardrail.statistics import auc, simultaneous_level, worst
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Curve
from guardrail.vocabulary.schema import Schema

Array = NDArray[Any]


@dataclass(frozen=True)
class Players:
    """Who takes part in the game; the four real tables share no row."""

    members: pd.DataFrame
    outsiders: pd.DataFrame
    reference: pd.DataFrame
    """Real rows the attacker knows, from the holdout."""
    other_members: pd.DataFrame
    """Training rows for the control alone; no attack sees them."""
    synthetic: pd.DataFrame

    @property
    def candidates(self) -> pd.DataFrame:
        return pd.concat([self.members, self.outsiders], ignore_index=True)

    @property
    def is_member(self) -> Array:
        return np.arange(len(self.members) + len(self.outsiders)) < len(self.members)


@dataclass(frozen=True)
class Membership:
    """How well can an attacker tell who was in the training data?

    0.5, the reference: no better than a coin. 1, the worst: without error. The number is the best of the attacks with an
    interval that holds for all of them at once, so that choosing the best costs nothing.
    """

    name: ClassVar[str] = "membership"
    metrics: ClassVar[tuple[str, ...]] = ("privacy.membership_auc",)
    needs: ClassVar[tuple[Need, ...]] = ("train", "holdout", "synthetic")
    modalities: ClassVar[tuple[str, ...]] = ("tabular",)

    most: int = 4_000
    """Members, non-members and reference rows, each."""
    most_synthetic: int = 10_000
    fewest: int = 20
    """Below so many members or non-members, in all or in a group, nothing is said."""

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        (metric,) = self.metrics
        players = self._cast(evidence, rng)
        if isinstance(players, str):
            return (Finding.not_assessable(metric, players),)
        scores = _attacks(evidence, players, rng)
        estimates = _aucs(scores, players.is_member)
        blind = auc(_blind(evidence.schema, players, rng), players.is_member) if len(players.other_members) >= self.fewest else None
        groups, left_out, said = self._groups(evidence.schema, players, scores)
        finding = Finding.measured(
            metric,
            worst(estimates, how="max"),
            estimand=(
                f"The probability that the best of {len(scores)} attacks scores a random training row above a random holdout row "
                f"({len(players.members)} of each), knowing {len(players.synthetic)} synthetic and "
                f"{len(players.reference)} other real rows."
            ),
            reference=0.5,
            comparisons={} if blind is None else {"blind": blind},
            groups={f"attack={name}": estimate for name, estimate in estimates.items()} | groups,
            left_out=left_out,
            plots=(_roc(scores, players.is_member),),
            caveats=(
                "An attack that fails proves nothing: a stronger one may succeed. Only epsilon bounds all of them.",
                "An average over records: a few records can be exposed while the AUC stays near one half.",
                *_on_blind(blind),
                *said,
            ),
        )
        return (finding,)

    def _cast(self, evidence: Evidence, rng: np.random.Generator) -> Players | str:
        """The players, or why there is no game."""
        train, holdout, synthetic = evidence.train, evidence.holdout, evidence.synthetic
        if train is None or holdout is None or synthetic is None:
            return evidence.unmet(self.needs)
        n = min(len(train), len(holdout) // 2, self.most)
        if min(n, len(synthetic)) < self.fewest:
            return (
                f"the attacks need {self.fewest} training rows, {2 * self.fewest} holdout rows (half of them as the attacker's reference) "
                f"and {self.fewest} synthetic rows"
            )
        unseen, real = sample_rows(holdout, len(holdout), rng), sample_rows(train, 2 * n, rng)
        return Players(
            members=real[:n],
            outsiders=unseen[:n],
            reference=unseen[n : n + self.most],
            other_members=real[n:],
            synthetic=sample_rows(synthetic, self.most_synthetic, rng),
        )

    def _groups(
        self, schema: Schema, players: Players, scores: dict[str, Array]
    ) -> tuple[dict[str, Estimate], tuple[str, ...], tuple[str, ...]]:
        """Per group the best attack in it, with an interval simultaneous over the attacks: nothing is selected on the rest.

        And the groups too small for it, and what the finding has to say of those it does not list.
        """
        found, small, is_member = {}, [], players.is_member
        listed, rest = groups_of([players.candidates], schema, players.reference)
        for group in listed:
            if min((group.rows & is_member).sum(), (group.rows & ~is_member).sum()) < self.fewest:
                small.append(group.label)
                continue
            inside = {attack: score[group.rows] for attack, score in scores.items()}
            found[group.label] = worst(_aucs(inside, is_member[group.rows]), how="max")
        few = [f"{number_of_groups(len(small))} with fewer than {self.fewest} members or non-members left out."] if small else []
        return found, (*small, *rest)[:MOST_GROUPS], (*few, *beyond(len(rest)))


def _attacks(evidence: Evidence, players: Players, rng: np.random.Generator) -> dict[str, Array]:
    """Name -> (candidates,) ranks, higher = more like a member."""
    scores = {
        "distance": _distance(evidence.schema, players),
        "density ratio": _density_ratio(evidence.schema, players, rng),
    }
    if evidence.log_likelihood is not None:
        model = np.asarray(evidence.log_likelihood(players.candidates), float)
        # A density of 0 (or none at all) is the least member-like; only ranks matter, so infinity is no trouble.
        scores["log-likelihood"] = np.where(np.isnan(model), -np.inf, model) - _marginal_log_density(evidence.schema, players)
    return {name: rankdata(score) for name, score in scores.items()}


def _distance(schema: Schema, players: Players) -> Array:
    """The scale comes from what the attacker knows, so neither members nor non-members are favoured."""
    pool = pd.concat([players.synthetic, players.reference], ignore_index=True)
    candidates, synthetic = coordinates(schema, pool, players.candidates, players.synthetic)
    return -nearest(candidates, synthetic)[0]


def _density_ratio(schema: Schema, players: Players, rng: np.random.Generator) -> Array:
    return _told_apart(schema, players.synthetic, players.reference, players.candidates, rng)


def _blind(schema: Schema, players: Players, rng: np.random.Generator) -> Array:
    return _told_apart(schema, players.other_members, players.reference, players.candidates, rng)


def _told_apart(schema: Schema, ones: pd.DataFrame, zeros: pd.DataFrame, candidates: pd.DataFrame, rng: np.random.Generator) -> Array:
    """P(row comes from `ones`) of each candidate, by gradient boosting; classes weighted alike."""
    both = pd.concat([ones, zeros], ignore_index=True)
    learning, asked = features(both, schema, reference=both), features(candidates, schema, reference=both)
    if not (kept := learnable(learning)):
        return np.zeros(len(asked))
    classifier = HistGradientBoostingClassifier(class_weight="balanced", random_state=int(rng.integers(2**31)))
    classifier.fit(learning[kept], np.arange(len(both)) < len(ones))
    return np.asarray(classifier.predict_proba(asked[kept])[:, 1])


def _marginal_log_density(schema: Schema, players: Players) -> Array:
    """How common the candidate's cells are one by one, counted (plus one half) in the bins of the reference rows."""
    view = binned([players.reference, players.candidates], schema, players.reference)
    known, asked = view.codes
    total = np.zeros(len(asked))
    for j, size in enumerate(view.sizes):
        counts = np.bincount(known[:, j], minlength=size) + 0.5
        total += np.log(counts / counts.sum())[asked[:, j]]
    return total


def _aucs(scores: dict[str, Array], is_member: Array) -> dict[str, Estimate]:
    level = simultaneous_level(0.95, len(scores))
    return {name: auc(score, is_member, level) for name, score in scores.items()}


def _on_blind(blind: Estimate | None) -> tuple[str, ...]:
    if blind is None:
        return ("No training rows were left for the blind control, which tells a leak from a difference between train and holdout.",)
    if blind.low is not None and blind.low > 0.5:
        return (
            f"The blind control, which sees no synthetic data, reaches {blind.value:.3f}: train and holdout differ by themselves, "
            "and part of the attacks' success may be that difference.",
        )
    return ()


def _roc(scores: dict[str, Array], is_member: Array) -> Curve:
    """True-positive rates at 41 false-positive rates, dense where the rate is small."""
    grid = np.concatenate([[0.0], np.geomspace(0.001, 1, 40)])
    return Curve(
        title="Membership attacks",
        x="false-positive rate",
        y="true-positive rate",
        series={f"attack={name}": _rates(score, is_member, grid) for name, score in scores.items()},
        diagonal=True,
    )


def _rates(score: Array, is_member: Array, grid: Array) -> tuple[tuple[float, float], ...]:
    """The ROC curve at the rates of `grid`: straight between its corners, as ties are broken by a coin."""
    thresholds = np.unique(score)[::-1]
    members, outsiders = np.sort(score[is_member]), np.sort(score[~is_member])
    tpr = 1 - np.searchsorted(members, thresholds, side="left") / len(members)
    fpr = 1 - np.searchsorted(outsiders, thresholds, side="left") / len(outsiders)
    return tuple(zip(grid.tolist(), np.interp(grid, np.r_[0, fpr], np.r_[0, tpr]).tolist(), strict=True))
