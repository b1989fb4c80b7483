"""How far a predicted depth map is from the truth: the nine metrics of one image, and the mean absolute error."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from distill.evaluation.arrays import Array, Values, as_array, beside, float64, library, numbers, total

METRICS = ("d1", "d2", "d3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog")
MEASURES = (*METRICS, "mae")
LOWER_IS_BETTER = frozenset(MEASURES[3:])
LIMITS = (1.25, 1.25**2, 1.25**3)  # of the larger ratio
BLOCK = 16384  # pixels that NumPy computes at a time, so that what one step leaves is in the cache at the next
FEW = 1024  # pixels whose mean g stands for that of all, roughly


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


def measure(p: Values, t: Values) -> dict[str, float]:
    """`MEASURES` of predictions and truth in metres, both (N,), computed in float64 where they lie."""
    if not len(p):
        return dict.fromkeys(MEASURES, math.nan)
    sums = [[total(term) for term in terms] for _, terms in _blocks(p, t)]
    return _from_sums(numbers([sum(column) for column in zip(*sums, strict=True)]), len(p))


def measure_parts(p: Values, t: Values, parts: Values) -> list[tuple[int, dict[str, float]]]:
    """Pixels and `MEASURES` of several parts of an image at once.

    `parts` is bool (G, N), with at least one pixel; a pixel may be in several.
    """
    counts, xp = parts.sum(1).tolist(), library(p)
    sums: Values = 0
    for block, terms in _blocks(p, t):
        sums = sums + float64(parts[:, block]) @ xp.stack([float64(term) for term in terms]).T
    return [
        (count, _from_sums(row, count) if count else dict.fromkeys(MEASURES, math.nan))
        for count, row in zip(counts, sums.tolist(), strict=True)
    ]


def _blocks(p: Values, t: Values) -> Iterator[tuple[slice, list[Values]]]:
    """The terms of some pixels after the other, on other devices than the CPU of all at once."""
    size = BLOCK if isinstance(p, np.ndarray) else len(p)
    with np.errstate(all="ignore"):
        around = library(p).log(float64(p[:FEW]) / float64(t[:FEW])).mean()
        for start in range(0, len(p), size):
            block = slice(start, start + size)
            yield block, _terms(float64(p[block]), float64(t[block]), around)


def _terms(p: Values, t: Values, around: Values) -> list[Values]:
    """What the metrics are sums of, each (N,); `around` is near the mean of g."""
    error, ratio = p - t, p / t
    relative, gap = ratio - 1, library(p).log(ratio)
    shifted = gap - around
    return [
        *((ratio < limit) & (ratio > 1 / limit) for limit in LIMITS),
        abs(relative),
        error * relative,
        error * error,
        gap * gap,
        abs(gap),
        shifted,
        shifted * shifted,
        abs(error),
    ]


def _from_sums(sums: list[float], count: int) -> dict[str, float]:
    """The metrics of the sums of `_terms` over so many pixels."""
    d1, d2, d3, abs_rel, sq_rel, square, square_log, log, shifted, square_shifted, mae = (s / count for s in sums)
    variance = square_shifted - shifted**2  # that of g itself, of which far more would cancel
    silog = 100 * math.sqrt(variance if variance > 0 or math.isnan(variance) else 0.0)
    rmse, rmse_log, log10 = math.sqrt(square), math.sqrt(square_log), log / math.log(10)
    values = (d1, d2, d3, abs_rel, sq_rel, rmse, rmse_log, log10, silog, mae)
    return dict(zip(MEASURES, values, strict=True))


def _valid_pixels(pred: Array, target: Array, valid: Array) -> tuple[Values, Values]:
    """The valid pixels of both maps, where `pred` lies."""
    p = as_array(pred)
    t, mask = beside(as_array(target), p), beside(as_array(valid), p)
    if not p.shape == t.shape == mask.shape:
        shapes = [tuple(x.shape) for x in (p, t, mask)]
        raise ValueError(f"pred, target and valid must share one shape, got {shapes}")
    mask = mask != 0
    return p[mask], t[mask]
