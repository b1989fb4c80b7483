"""Whether one model beats another: the difference of their results on the same images, and how sure it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

COVERAGE = 0.95


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, samples: int = 10_000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How much `b` exceeds `a` on average, and the interval in which other test images would put that.

    With gaps d_i = b_i - a_i of the same image i, the difference is mean(d). Images are drawn anew with replacement,
    as many as there are and both values of an image together, and the interval holds the middle 95 % of the means so
    found (Efron's percentile bootstrap). Only images are drawn: what another training would give is not in it.

    Args:
        a, b: One value an image, (N,), or several metrics at once, (N, K).
        samples: How often images are drawn.
        seed: Of the draws; the same seed gives the same interval.

    Returns:
        Difference, low and high, each () or (K,). One image has no interval: low and high are NaN.

    Raises:
        ValueError: If the shapes differ or there is no image.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or not len(a):
        raise ValueError(f"a and b must hold values of the same images, at least one, got {a.shape} and {b.shape}")
    gaps = b - a
    if len(gaps) == 1:
        nothing = np.full(gaps.shape[1:], np.nan)
        return gaps[0], nothing, nothing
    draws, count = np.random.default_rng(seed), len(gaps)
    times_drawn = (np.bincount(draws.integers(count, size=count), minlength=count) for _ in range(samples))
    means = np.stack([times @ gaps / count for times in times_drawn])
    outside = (1 - COVERAGE) / 2
    low, high = np.quantile(means, [outside, 1 - outside], axis=0)
    return gaps.mean(axis=0), low, high
