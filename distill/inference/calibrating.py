"""Scale, or scale and shift, between a student's depth and what was measured: fitted, and cross-validated over images.

Everything is inverse depth: x is the student's, y the measured one, and a calibration is 1 / depth = scale * x + shift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.data import Sample
from distill.evaluation import LOWER_IS_BETTER, MEASURES, Protocol
from distill.evaluation.arrays import as_array
from distill.evaluation.metrics import measure
from distill.evaluation.pixels import repair, take
from distill.evaluation.scores import mean_of
from distill.inference.network import Network
from distill.method.conversion import FEWEST, OUTLIER, ROUNDS
from students import Student

FOLDS = 5
FEWEST_IMAGES = FOLDS
MOST_PIXELS = 2**16  # of an image that are looked at, evenly spaced
FITTED = 2**12  # of these that a fit sees, so that no image counts for many
SURE = 2  # standard errors of a gain, beyond which it is no chance: about 95 %
WORTH = 0.005  # share of a metric; less is not worth a number
AT_LIMIT = 1e-3  # share of a limit by which a depth counts as cut to it

Values = NDArray[np.float64]
Fit = tuple[float, float]  # scale and shift


@dataclass(frozen=True)
class MeasuredImage:
    """Pixels of one image that its protocol counts, (N,).

    Attributes:
        x: The student's inverse depth, of a relative one without a unit.
        depth: The measured one in metres.
        free: Where x is not cut to a limit of the student's, nor broken: only there it says how far off it is.
    """

    name: str
    x: Values
    depth: Values
    free: NDArray[np.bool_]


def look_at_images(
    network: Network, student: Student, samples: Iterable[Sample], protocol: Protocol, progress: Callable[[], object]
) -> list[MeasuredImage]:
    """Those of some images that can be read and have at least `FEWEST` pixels for a fit."""
    images = []
    for sample in samples:
        if not sample.faults and len(places := as_array(protocol.places(sample.depth))) >= FEWEST:
            places = places[:: -(-len(places) // MOST_PIXELS)]
            prediction = network(sample)
            values = as_array(protocol.combined(prediction.depth, view=prediction.view)[0])
            values = take(values, places, sample.depth.shape).astype(np.float64)
            with np.errstate(divide="ignore"):
                x = values if student.output == "relative" else 1 / values
            near, far = student.limits
            free = np.isfinite(x) & (x > (1 + AT_LIMIT) / far) & (x < (1 - AT_LIMIT) / near)
            if free.sum() >= FEWEST:
                images.append(MeasuredImage(sample.name, x, sample.depth.ravel()[places].astype(np.float64), free))
        progress()
    return images


# --------------------------------------------------------------------------------------------------------------- fits


def pooled(images: Sequence[MeasuredImage]) -> tuple[Values, Values]:
    """x and y of what all images have to say, at most `FITTED` pixels of each."""
    parts = [(one.x[one.free], 1 / one.depth[one.free]) for one in images]
    thinned = [[values[:: -(-len(values) // FITTED)] for values in part] for part in parts]
    x, y = (np.concatenate(column) for column in zip(*thinned, strict=True))
    return x, y


def keep(images: Sequence[MeasuredImage]) -> Fit:
    """The student as it is."""
    return 1.0, 0.0


def fit_constant(images: Sequence[MeasuredImage]) -> Fit:
    """The one depth with the least relative error: what a student without metres has to be better than."""
    y = np.sort(pooled(images)[1])
    return 0.0, float(y[np.searchsorted(y.cumsum(), y.sum() / 2)])


def fit_scale(images: Sequence[MeasuredImage]) -> Fit:
    """The median of y / x."""
    x, y = pooled(images)
    return float(np.median(y / x)), 0.0


def fit_scale_and_shift(images: Sequence[MeasuredImage]) -> Fit:
    """Least squares of y against x, then of y / fit - 1, each time without those beyond `OUTLIER` medians of it.

    Divided by the fit, which makes it nearly the relative error of depth: otherwise what is near alone would decide.
    Divided by y, one near thing that was measured far away would outweigh many.
    """
    x, y = pooled(images)
    weights = kept = np.ones(len(x))
    for _ in range(2 + ROUNDS):
        scale, shift = np.polyfit(x, y, 1, w=weights * kept)
        fitted = np.maximum(scale * x + shift, y.min())
        residual, weights = np.abs(y / fitted - 1), 1 / fitted
        kept = residual <= OUTLIER * max(float(np.median(residual)), 1e-9)
    return (float(scale), float(shift)) if scale > 0 else (np.nan, np.nan)  # farther may not become nearer


Fits = dict[str, Callable[[Sequence[MeasuredImage]], Fit]]  # by name, the simplest first
FITS: Fits = {"scale": fit_scale, "scale and shift": fit_scale_and_shift}
METRIC: Fits = {"as it is": keep, **FITS}
RELATIVE: Fits = {"one depth everywhere": fit_constant, **FITS}  # as it is it has no metres


# ---------------------------------------------------------------------------------------------------- cross-validation

Scores = list[dict[str, float]]  # `MEASURES` of each image


def scores_of(images: Sequence[MeasuredImage], fit: Fit, protocol: Protocol) -> Scores:
    """The metrics of every image by a protocol, its depth calibrated."""
    limits = protocol.min_depth, protocol.max_depth
    scores = []
    for one in images:
        inverse = fit[0] * np.where(np.isfinite(one.x), one.x, 1 / limits[0]) + fit[1]
        scores.append(measure(repair(1 / np.maximum(inverse, 1 / limits[1]), limits), one.depth))
    if np.isnan(fit[0]):
        return [dict.fromkeys(MEASURES, np.nan) for _ in images]
    return scores


def cross_validate(images: Sequence[MeasuredImage], fits: Fits, protocol: Protocol) -> dict[str, Scores]:
    """The scores of every image by each fit to the images of the other folds, which are neighbours in the list."""
    scores: dict[str, Scores] = {name: [] for name in fits}
    for fold in np.array_split(np.arange(len(images)), FOLDS):
        others = [one for index, one in enumerate(images) if index not in fold]
        for name, fit in fits.items():
            scores[name] += scores_of([images[index] for index in fold], fit(others), protocol)
    return scores


def gain(before: Scores, after: Scores, metric: str) -> tuple[float, float]:
    """How much better the second is on average, and the standard error of that over images."""
    sign = 1 if metric in LOWER_IS_BETTER else -1
    gaps = np.array([sign * (a[metric] - b[metric]) for a, b in zip(before, after, strict=True)])
    return float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps)))


def choose_fit(scores: Mapping[str, Scores], metric: str) -> str:
    """The simplest fit, unless one behind it is better by more than `SURE` and `WORTH`; then the same of that one."""
    best, *others = scores
    for name in others:
        mean, error = gain(scores[best], scores[name], metric)
        if mean > max(SURE * error, WORTH * mean_of(scores[best])[metric]):
            best = name
    return best
