"""What (epsilon, delta) means to the people in the data: the best any attacker can do, whatever he knows.

Differential privacy bounds every test of 'was this unit in the training data?': its true and false positive rates obey
TPR <= e^epsilon FPR + delta and 1 - FPR <= e^epsilon (1 - TPR) + delta (Kairouz, Oh and Viswanath 2015,
arxiv.org/abs/1311.0776, theorem 2.1; Wasserman and Zhou 2010). Both bounds are reached by some mechanism.

>>> round(best_tpr(0, 0, 0.01), 3)   # epsilon 0: a coin toss
0.01
>>> round(best_tpr(3, 1e-5, 0.01), 3)
0.201
>>> round(best_tpr(10, 1e-5, 0.01), 4)   # epsilon 10 forbids next to nothing
1.0
"""

from __future__ import annotations

import math


def best_tpr(epsilon: float, delta: float, fpr: float) -> float:
    """The highest true-positive rate at false-positive rate `fpr` that (epsilon, delta)-DP allows a membership attack."""
    if not (epsilon >= 0 and 0 <= delta <= 1 and 0 <= fpr <= 1):
        raise ValueError(f"epsilon {epsilon}, delta {delta}, fpr {fpr}: epsilon is at least 0, the others are shares")
    growth = math.exp(min(epsilon, 700.0))  # beyond e^700 a float overflows, and nothing is left to forbid
    return max(fpr, min(1.0, growth * fpr + delta, 1 - (1 - delta - fpr) / growth))


def in_words(epsilon: float, delta: float, *, unit: str = "row", fpr: float = 0.01) -> str:
    """One sentence for a reader who has never met epsilon."""
    who = "row" if unit == "row" else f"unit ({unit})"
    caught = best_tpr(epsilon, delta, fpr)
    return (
        f"Whatever else an attacker knows, a test for whether one {who} was in the training data that is wrong about "
        f"{percent(fpr)} of those who were not finds at most {percent(caught)} of those who were (by guessing: {percent(fpr)})."
    )


def percent(share: float) -> str:
    """Never '100 %' for a share below 1: 99.9 % and certainty are different claims."""
    if share >= 1:
        return "100 %"
    return f"{min(share * 100, 99.9):.3g} %" if share < 0.999 else "more than 99.9 %"
