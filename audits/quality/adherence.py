"""Whether samples that were asked for a class look like it: a classifier of real records is asked about them.

The classification accuracy of conditional samples (Ravuri and Vinyals 2019, arXiv 1905.10887, turn it the other way round):
random trees learn from training records which class a content belongs to, and read the samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier

from guardrail.audits.content import content_features
from guardrail.statistics import wilson
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.schema import Schema

METRIC = "quality.condition_adherence"
LEAST_RECORDS = 20
CAVEATS = (
    "a classifier reads the samples: it errs on real records too, which the reference shows",
    "samples that repeat one clear example of each class score as well as varied ones",
)


@dataclass(frozen=True)
class Adherence:
    """Do samples that were asked for a class look like that class?

    1: the classifier reads every sample as what was asked for. The reference: its accuracy on held-out real records. The
    worst is what guessing reaches, the share of the largest class (`floor` in the comparisons).
    """

    name: ClassVar[str] = "adherence"
    metrics: ClassVar[tuple[str, ...]] = (METRIC,)
    needs: ClassVar[tuple[Need, ...]] = ("train", "synthetic", "target")
    modalities: ClassVar[tuple[str, ...]] = ("image", "text", "music", "series")

    most_records: int = 5_000
    trees: int = 200

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        train, synthetic, schema = evidence.train, evidence.synthetic, evidence.schema
        if train is None or synthetic is None or schema.target is None:
            raise ValueError("quality.condition_adherence needs train, synthetic and a target")
        if reason := self._unusable(train, synthetic, schema):
            return (Finding.not_assessable(METRIC, reason),)
        target = schema.target
        real = self._some(train, target, rng)
        model = ExtraTreesClassifier(self.trees, random_state=int(rng.integers(2**31)))
        model.fit(content_features(real, schema), real[target].astype(str))
        asked = self._some(synthetic, target, rng)
        right = _right(model, asked, schema)
        comparisons = {"floor": wilson(int(asked[target].astype(str).value_counts().max()), len(asked))}
        if evidence.holdout is not None and len(held := self._some(evidence.holdout, target, rng)):
            correct = _right(model, held, schema)
            comparisons["holdout"] = wilson(int(correct.sum()), len(correct))
        return (
            Finding.measured(
                METRIC,
                wilson(int(right.sum()), len(right)),
                estimand=f"share of {len(right)} samples that random trees, trained on {len(real)} real records, "
                f"read as the {target} asked for",
                reference=comparisons["holdout"].value if "holdout" in comparisons else None,
                comparisons=comparisons,
                groups=_by_class(asked[target].astype(str), right),
                caveats=CAVEATS,
            ),
        )

    @staticmethod
    def _unusable(train: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema) -> str:
        if schema.target not in synthetic:
            return f"the samples do not say which {schema.target} they were asked for: the generator was not conditioned on it"
        if schema.target not in train or train[schema.target].nunique() < 2:
            return f"the training data have fewer than two values of {schema.target}"
        present = {"training records": train[schema.target].notna().sum(), "samples": synthetic[schema.target].notna().sum()}
        few = [f"{count} {what}" for what, count in present.items() if count < LEAST_RECORDS]
        return f"there are {few[0]} with a {schema.target}; {LEAST_RECORDS} are the least" if few else ""

    def _some(self, frame: pd.DataFrame, target: str, rng: np.random.Generator) -> pd.DataFrame:
        known = frame[frame[target].notna()]
        return known.iloc[np.sort(rng.permutation(len(known))[: self.most_records])].reset_index(drop=True)


def _right(model: ExtraTreesClassifier, frame: pd.DataFrame, schema: Schema) -> NDArray[np.bool_]:
    return np.asarray(model.predict(content_features(frame, schema)) == frame[schema.target].astype(str).to_numpy())


def _by_class(asked: pd.Series, right: NDArray[np.bool_]) -> dict[str, Estimate]:
    return {f"asked={name}": wilson(int(right[asked == name].sum()), int((asked == name).sum())) for name in sorted(asked.unique())}
