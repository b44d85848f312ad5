"""Can a reader check where the samples come from? The share of sample files with a proven manifest.

The adversary strips or edits the marks: a file without its manifest proves nothing, neither that it is synthetic nor
that it is not, and one that was changed after signing is tampered. Whether a signature holds is for `guardrail verify`
to say; this audit counts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding

_MEANING = {
    "absent": "carry no manifest, which proves nothing about them",
    "untrusted": "are signed by a key outside the trusted ones",
    "tampered": "were changed after they were signed",
}


@dataclass(frozen=True)
class Manifests:
    """What share of the sample files carries a signed manifest that holds?

    1: every file is proven to be what was signed. 0, the worst: none is; a stripped mark and a file that never had one
    look alike.
    """

    name: ClassVar[str] = "manifests"
    metrics: ClassVar[tuple[str, ...]] = ("provenance.manifest_coverage",)
    needs: ClassVar[tuple[Need, ...]] = ("marks",)
    modalities: ClassVar[tuple[str, ...]] = ("tabular", "image", "text", "music", "series")

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        (metric,) = self.metrics
        if reason := evidence.lacks("marks"):
            return (Finding.not_assessable(metric, reason),)
        states, n = Counter(evidence.marks.values()), len(evidence.marks)
        finding = Finding.measured(
            metric,
            Estimate.exact(states["proven"] / n),
            estimand="The share of the sample files whose signed manifest is present, unbroken, and signed by a trusted key.",
            groups={f"state={state}": Estimate.exact(count / n) for state, count in sorted(states.items())},
            caveats=(
                *(
                    f"{count} of {n} sample files {_MEANING.get(state, f'are {state}')}."
                    for state, count in sorted(states.items())
                    if state != "proven"
                ),
                "A manifest proves who signed which bytes. It does not survive a copy without its sidecar or a re-encoding, and it "
                "does not prove that what it says of the content is true.",
            ),
        )
        return (finding,)
