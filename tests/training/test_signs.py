"""Each sign against curves that have it and curves that do not."""

import numpy as np
import pytest

from guardrail.training.signs import explodes, fades, swings

N = 400
STEPS = np.arange(N)


def noise(seed: int, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).normal(size=N)


HEALTHY = {
    "noise around a level": lambda seed: 2 + noise(seed, 0.3),
    "a noisy decline": lambda seed: 3 * np.exp(-STEPS / 100) + 0.5 + noise(seed, 0.1),
    "a decline without noise": lambda seed: 3 * np.exp(-STEPS / 100),
    "a constant": lambda seed: np.full(N, 0.7),
    "one spike": lambda seed: 1 + noise(seed, 0.05) + 5 * (np.abs(STEPS - 200) < 4),
    "waves that die out": lambda seed: 1 + noise(seed, 0.02) + np.exp(-STEPS / 60) * np.sin(STEPS / 6),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_losses_do_not_swing(name):
    found = [swings(list(HEALTHY[name](seed))) for seed in range(50)]
    assert sum(found) <= 1


SWINGING = {
    "long waves": lambda seed: 1 + noise(seed, 0.1) + 0.5 * np.sin(2 * np.pi * STEPS / 80),
    "short waves": lambda seed: 1 + noise(seed, 0.05) + 0.5 * np.sin(2 * np.pi * STEPS / 90 + seed),
    "growing waves on a decline": lambda seed: 3 - STEPS / 200 + noise(seed, 0.05) + STEPS / 200 * np.sin(2 * np.pi * STEPS / 85),
    "overshooting at every step": lambda seed: 1 + noise(seed, 0.1) + 0.5 * (-1.0) ** STEPS,
}


@pytest.mark.parametrize("name", SWINGING)
def test_swinging_losses_do(name):
    found = [swings(list(SWINGING[name](seed))) for seed in range(50)]
    assert sum(found) >= 45


def test_too_few_losses_tell_nothing():
    assert not swings([1.0, 2.0] * 49)


def test_an_explosion_is_told_from_a_rough_start():
    rough = [5.0, 0.5, 30.0, 2.0, 8.0] * 4
    assert not explodes(rough) and not explodes([])
    assert explodes([*rough, 600.0]) and explodes([1.0, float("nan")]) and explodes([float("inf")])


def test_a_fading_gradient_is_told_from_one_that_shrinks():
    shrinking = list(np.geomspace(10, 0.1, 40))
    assert not fades(shrinking) and not fades([0.0] * 5)
    assert fades([*shrinking, 1e-3, 1e-3, 1e-3]) and not fades([*shrinking, 1e-3, 1.0, 1e-3])
