"""Predictions brought closest to the truth of their image before they are scored: by a scale, or a scale and a shift.

Where public evaluators differ, one prediction can be worth 0.06 or 0.21, so how it is aligned is a part of a protocol.
x are predictions and y what they should be at the same pixels, both (N,) float64: depths, or inverse depths of both.
A solver gives (scale, shift) where these lie, on a device too; pixels that it should not see are left out before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from distill.evaluation.arrays import Values, float64, library

Fit = tuple[Values, Values]  # scale and shift, scalars
Solve = Callable[[Values, Values], Fit]

FLAT = 1e-20  # share of its mean square below which the variance of x is rounding
TINY = 1e-8  # what plumbline and MonST3R keep a divisor, or an inverse depth, above
STEPS = 10  # of Weiszfeld's reweighting, which public evaluators end there
HUBER_STEPS, HUBER_CHANGE, HUBER_K = 20, 1e-4, 1.345 * 1.4826  # the last in units of the median absolute deviation
SAME_X = 1e-7  # pixels whose x differ by less define no slope
ANCHORS, MOST_ANCHORS = 256, 4096  # lines that are tried at once; pixels that are fitted to where all pairs are tried
FEWEST = 10  # pixels to fit to: of fewer, an image has no score


def least_squares(x: Values, y: Values, weights: Values = None, flat: tuple[float, float] | None = None) -> Fit:
    """Scale and shift of the least sum of weights * (scale * x + shift - y)^2, negative scales included.

    A constant x is met by many of them: `flat`, or the one of least scale^2 + shift^2 as LAPACK gives.
    """
    xp = library(x)
    share = (xp.ones_like(x) if weights is None else weights) / (len(x) if weights is None else weights.sum())
    mean_x, mean_y = (share * x).sum(), (share * y).sum()
    dx, square = x - mean_x, (share * x * x).sum()
    variance = (share * dx * dx).sum()
    varies = variance > FLAT * square
    slope = (share * dx * (y - mean_y)).sum() / xp.where(varies, variance, xp.ones_like(variance))
    least = mean_x * mean_y / (mean_x * mean_x + 1), mean_y / (mean_x * mean_x + 1)
    scale, shift = (xp.asarray(value, dtype=x.dtype) for value in flat) if flat is not None else least
    return xp.where(varies, slope, scale), xp.where(varies, mean_y - slope * mean_x, shift)


def least_squares_scale(x: Values, y: Values) -> Fit:
    """The scale of the least sum of (scale * x - y)^2."""
    return _over((x * y).sum(), (x * x).sum()), 0.0


def ratio_of_medians(x: Values, y: Values) -> Fit:
    """The scale that gives x the median of y (monodepth2); 1 where x has no positive one."""
    return _over(median(y), median(x)), 0.0


def median_of_ratios(x: Values, y: Values) -> Fit:
    """The median of y / x (plumbline, DepthART)."""
    return median(y / x), 0.0


def weiszfeld(x: Values, y: Values) -> Fit:
    """Ten steps towards the scale of the least sum of |scale * x - y| (MonST3R, CUT3R)."""
    scale = y.mean() / x.mean()
    for _ in range(STEPS):
        weights = 1 / (abs(scale * x - y) + TINY)
        scale = (weights * x * y).sum() / (weights * x * x).sum()
    return library(x).clip(scale, 1e-3, math.inf), 0.0


def least_absolute_scale(x: Values, y: Values) -> Fit:
    """The scale of the least sum of |scale * x - y| / y (MoGe, arXiv 2410.19115)."""
    scale, _ = _slopes(x[None], y[None], 1 / y)
    return scale[0], 0.0


def least_absolute(x: Values, y: Values) -> Fit:
    """Scale and shift of the least sum of |scale * x + shift - y| / y, as MoGe finds them.

    Of the best lines through each pixel, the best: its sum leaves out the other pixels of the very same x.
    """
    best: tuple[float, Fit] = (math.inf, (math.nan, math.nan))
    for start in range(0, len(x), ANCHORS):
        at = slice(start, start + ANCHORS)
        scales, sums = _slopes(x - x[at, None], y - y[at, None], 1 / y)
        least = int(sums.argmin())
        shift = y[start + least] - scales[least] * x[start + least]
        best = min(best, (float(sums[least]), (scales[least], shift)), key=lambda one: one[0])
    return best[1]


def huber(x: Values, y: Values) -> Fit:
    """Least squares to which far pixels add less (Huber), reweighted until it stays as it is (plumbline's robust)."""
    xp = library(x)
    scale, shift = least_squares(x, y)
    for _ in range(HUBER_STEPS):
        before, errors = (scale, shift), y - (scale * x + shift)
        spread = median(abs(errors - median(errors)))
        limit = HUBER_K * max(float(spread), TINY / 1.4826)
        weights = limit / xp.clip(abs(errors), limit, math.inf)
        scale, shift = least_squares(x, y, weights**2)
        changes = [abs(new - old) / max(abs(old), TINY) for new, old in zip((scale, shift), before, strict=True)]
        if max(changes) < HUBER_CHANGE:
            break
    return scale, shift


@dataclass(frozen=True)
class Aligner:
    """A way to align: how scale and shift are found, of depth or of its inverse, in words.

    Attributes:
        inverse: x and y are inverse depths, as relative models give them; the aligned ones become depth.
        floored: An aligned inverse depth below that of the cap, negative ones included, is that of the cap. Without,
            one is only kept above `TINY`, and what lies there is counted as broken and scored as 1 / `TINY` metres.
        most: Fit to so many pixels at most, evenly spaced among those that count.
        paired: The truth of pixels without a finite prediction is left out as well.
    """

    words: str
    solve: Solve | None = None
    inverse: bool = False
    floored: bool = True
    most: int | None = None
    paired: bool = True

    def __call__(self, pred: Values, target: Values, floor: float, fitted: Values = None) -> tuple[Values, Values]:
        """Predictions (N,) as depth in metres, and the scale with the shift.

        Args:
            pred: Depth up to what the aligner finds, or inverse depth.
            target: True depth in metres.
            floor: Least inverse depth in 1/m after the alignment.
            fitted: Pixels to fit to, bool (N,); those where `pred` is finite by default.
        """
        xp, x, y = library(pred), float64(pred), float64(target)
        some = xp.isfinite(x) if fitted is None else fitted
        if self.solve is None or not some.any():
            return pred, (1.0, 0.0)
        with np.errstate(all="ignore"):
            y_some = y if fitted is None and not self.paired else y[some]
            x_some, y_some = x[some], 1 / y_some if self.inverse else y_some
            every = math.ceil(len(x_some) / (self.most or len(x_some)))
            scale, shift = self.solve(x_some[::every], y_some[::every])
            aligned = scale * x + shift
            return (1 / xp.clip(aligned, floor, math.inf) if self.inverse else aligned), (scale, shift)


ALIGNMENTS = {
    "none": Aligner("as predicted"),
    "median": Aligner("median scaling", ratio_of_medians, paired=False),
    "median_ratio": Aligner("scaled by the median of ratios", median_of_ratios),
    "scale": Aligner("scaled by least squares", least_squares_scale),
    "scale_l1": Aligner("scaled by least absolute errors", least_absolute_scale),
    "scale_weiszfeld": Aligner("scaled by ten steps of Weiszfeld", weiszfeld),
    "affine": Aligner("scale and shift of each depth fitted", least_squares),
    "affine_l1": Aligner(
        "scale and shift of each depth fitted to least absolute errors", least_absolute, most=MOST_ANCHORS
    ),
    "disparity": Aligner("relative: scale and shift of each image's inverse depth fitted", least_squares, inverse=True),
    "disparity_huber": Aligner("scale and shift of each inverse depth fitted, robustly", huber, inverse=True),
    "disparity_unclamped": Aligner(
        "scale and shift of each inverse depth fitted, unclamped", least_squares, inverse=True, floored=False
    ),
}


def _over(one: Values, other: Values) -> Values:
    """one / other; 1 where the other is not positive."""
    xp = library(one)
    whole = other > 0
    return xp.where(whole, one / xp.where(whole, other, xp.ones_like(other)), xp.ones_like(one))


def median(values: Values) -> Values:
    """The middle value, the mean of two where there are two."""
    ordered = values[library(values).argsort(values)]  # torch.quantile takes no 24 million
    return (ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2


def _slopes(x: Values, y: Values, weights: Values) -> tuple[Values, Values]:
    """Of every row of x and y (K, N), the s of the least sum of weights * |s * x - y|, (K,), and that sum.

    That is the weighted median of y / x, the lower one. Where x is 0 there is no slope, and nothing is added.
    """
    xp = library(x)
    varies = abs(x) >= SAME_X
    ratios = varies * y / xp.where(varies, x, xp.ones_like(x))
    rows, order = xp.arange(len(x))[:, None], xp.argsort(ratios, 1)
    below = xp.cumsum((weights * abs(x) * varies)[rows, order], 1)
    middle = (below < below[:, -1:] / 2).sum(1)
    scales = ratios[rows[:, 0], order[rows[:, 0], middle]]
    return scales, (weights * varies * abs(scales[:, None] * x - y)).sum(1)
