"""Whether a model knows where it is wrong: its error as the pixels that it is least sure of are left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

STEPS = 50  # of leaving pixels out: 0, 2, 4 ... 98 % of them, and all, as Poggi et al. do
SIGMAS = (1, 2)

Numbers = NDArray[np.float64]
Curves = dict[str, list[float]]  # of each metric, (STEPS + 1,); the last, of no pixel, is 0

# A metric of pixels: each one's part, and what is made of the mean of these.
METRICS: dict[str, tuple[Callable[[Numbers, Numbers], Numbers], Callable[[Numbers], Numbers]]] = {
    "abs_rel": (lambda pred, target: np.abs(pred - target) / target, lambda mean: mean),
    "rmse": (lambda pred, target: (pred - target) ** 2, np.sqrt),
}


@dataclass(frozen=True)
class Sparsification:
    """How an image's metrics fall as pixels are left out, or the mean of that over images (arXiv 2005.06209).

    Attributes:
        least_sure_first: By the model's own uncertainty.
        worst_first: By the error itself, the best that any uncertainty could do.
        within: Shares of the pixels whose truth lies within 1 and 2 standard deviations of the prediction; 0.68 and
            0.95 where errors are as large as the model says and normal.
    """

    least_sure_first: Curves
    worst_first: Curves
    within: tuple[float, ...]

    @property
    def at_random(self) -> Curves:
        """The curves of pixels that are left out without regard to anything."""
        return {name: [curve[0]] * STEPS + [0.0] for name, curve in self.least_sure_first.items()}

    @property
    def ause(self) -> dict[str, float]:
        """The area between the two curves: 0 where the order of uncertainty is that of the error."""
        return between(self.least_sure_first, self.worst_first)

    @property
    def aurg(self) -> dict[str, float]:
        """The area by which it is better than chance; below 0 it is worse."""
        return between(self.at_random, self.least_sure_first)

    def as_dict(self) -> dict[str, object]:
        """Everything, in types that JSON knows."""
        return asdict(self) | {"ause": self.ause, "aurg": self.aurg}


def between(upper: Mapping[str, Sequence[float]], lower: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The area between two curves of each metric, over shares from 0 to 1."""
    return {name: float(np.trapezoid(np.subtract(upper[name], lower[name]), dx=1 / STEPS)) for name in upper}


def sparsify(pred: Numbers, target: Numbers, uncertainty: Numbers) -> Sparsification:
    """The curves of one image from the depth and standard deviation of its pixels in metres, (N,) each."""
    parts = {name: part(pred, target) for name, (part, _) in METRICS.items()}
    order = np.argsort(uncertainty)
    near = tuple(float((np.abs(pred - target) <= times * uncertainty).mean()) for times in SIGMAS)
    return Sparsification(
        {name: curve(name, errors[order]) for name, errors in parts.items()},
        {name: curve(name, np.sort(errors)) for name, errors in parts.items()},
        near,
    )


def curve(name: str, errors: Numbers) -> list[float]:
    """A metric of the first N, 0.98 N, 0.96 N ... of some pixels' parts of it, (N,), and of none."""
    kept = -(-len(errors) * np.arange(STEPS, 0, -1) // STEPS)  # rounded up
    return [*METRICS[name][1](np.cumsum(errors)[kept - 1] / kept).tolist(), 0.0]


def mean_sparsification(images: Sequence[Sparsification]) -> Sparsification | None:
    """The mean of every value over images; None without any."""
    if not images:
        return None

    def mean(curves: Sequence[Curves]) -> Curves:
        return {name: np.mean([one[name] for one in curves], axis=0).tolist() for name in METRICS}

    return Sparsification(
        mean([one.least_sure_first for one in images]),
        mean([one.worst_first for one in images]),
        tuple(np.mean([one.within for one in images], axis=0).tolist()),
    )
