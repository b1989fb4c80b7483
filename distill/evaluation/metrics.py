"""How far a predicted depth map is from the truth: the nine metrics of one image, and the mean absolute error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distill.evaluation.arrays import Array, as_array, beside, float64, library, numbers

METRICS = ("d1", "d2", "d3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog")
MEASURES = (*METRICS, "mae")
LOWER_IS_BETTER = frozenset(MEASURES[3:])
THRESHOLD = 1.25


def depth_metrics(pred: Array, target: Array, valid: Array) -> dict[str, float]:
    """The nine metrics of one image over its valid pixels, in float64.

    With p a prediction, t the truth and g = ln p - ln t (Eigen et al., arXiv 1406.2283):

        d_k      share of pixels with max(p/t, t/p) < 1.25^k, strictly
        abs_rel  mean(|p - t| / t)                  rmse_log  sqrt(mean(g^2))
        sq_rel   mean((p - t)^2 / t), metres        log10     mean(|log10 p - log10 t|)
        rmse     sqrt(mean((p - t)^2)), metres      silog     100 * sqrt(mean(g^2) - mean(g)^2)

    Nothing is clamped here. A prediction that is no positive finite number never counts as within a threshold, and the
    metrics that cannot hold it become NaN or infinite.

    Args:
        pred: Depth in metres, any shape.
        target: True depth in metres, same shape, positive where valid.
        valid: Pixels that count, same shape.

    Returns:
        `METRICS` in that order; all NaN when no pixel is valid.

    Raises:
        ValueError: If the three shapes differ.
    """
    measures = measure(*_valid_pixels(pred, target, valid))
    return {name: measures[name] for name in METRICS}


def mean_absolute_error(pred: Array, target: Array, valid: Array) -> float:
    """Mean |pred - target| in metres over the valid pixels of one image, shapes as in `depth_metrics`."""
    return measure(*_valid_pixels(pred, target, valid))["mae"]


def measure(p: Any, t: Any) -> dict[str, float]:
    """`MEASURES` of predictions and truth in metres, both (N,), computed in float64 where they lie."""
    count = len(p)
    if not count:
        return dict.fromkeys(MEASURES, math.nan)
    p, t, xp = float64(p), float64(t), library(p)
    with np.errstate(all="ignore"):
        error, ratio = p - t, p / t
        relative, gap = error / t, xp.log(ratio)
        spread = gap - gap.mean()  # not mean(g^2) - mean(g)^2, which rounding can push below 0
        # The ratios of a negative prediction are negative, hence below every threshold.
        farther = xp.where(p > 0, xp.maximum(ratio, t / p), math.inf)
        sums = numbers(
            [
                *(xp.count_nonzero(farther < THRESHOLD**k) for k in (1, 2, 3)),
                abs(relative).sum(),
                error @ relative,
                error @ error,
                gap @ gap,
                abs(gap).sum(),
                spread @ spread,
                abs(error).sum(),
            ]
        )
    d1, d2, d3, abs_rel, sq_rel, square, square_log, log, variance, mae = (value / count for value in sums)
    rmse, rmse_log, silog = math.sqrt(square), math.sqrt(square_log), 100 * math.sqrt(variance)
    values = (d1, d2, d3, abs_rel, sq_rel, rmse, rmse_log, log / math.log(10), silog, mae)
    return dict(zip(MEASURES, values, strict=True))


def _valid_pixels(pred: Array, target: Array, valid: Array) -> tuple[Any, Any]:
    """The valid pixels of both maps, where `pred` lies."""
    p = as_array(pred)
    t, mask = beside(as_array(target), p), beside(as_array(valid), p)
    if not p.shape == t.shape == mask.shape:
        shapes = [tuple(x.shape) for x in (p, t, mask)]
        raise ValueError(f"pred, target and valid must share one shape, got {shapes}")
    mask = mask != 0
    return p[mask], t[mask]
