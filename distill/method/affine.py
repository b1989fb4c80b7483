"""Scale and shift between two maps of inverse depth: of each image, and of a whole set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch
from torch import Tensor

FLAT = 1e-10  # share of its mean square below which the variance of a map is rounding
ABSURD = 10.0  # a sample whose scale is further from the median's than this factor says nothing of the others


def fit_affine(x: Tensor, y: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The scale and shift that bring each x closest to its y (MiDaS, arXiv 1907.01341, section 5):

        (scale, shift) = argmin sum over valid pixels of (scale * x + shift - y)^2

    Args:
        x, y: Maps of any unit, (B, 1, H, W); they may hold anything where not valid.
        valid: Pixels that count, bool, same shape.

    Returns:
        Two tensors (B,), float32 at least. A constant x gives 0 and the mean of y; no valid pixel gives 0 and 0.
    """
    mask = valid.flatten(1)
    x, y = (torch.where(mask, v.flatten(1), 0.0).to(torch.promote_types(v.dtype, torch.float32)) for v in (x, y))
    count = mask.sum(dim=1).clamp(min=1)
    mean_x, mean_y = x.sum(dim=1) / count, y.sum(dim=1) / count
    # Centred before they are multiplied: sums of raw squares would cancel in float32.
    dx = torch.where(mask, x - mean_x[:, None], 0.0)
    covariance, variance = (dx * (y - mean_y[:, None])).sum(dim=1) / count, dx.square().sum(dim=1) / count
    flat = variance <= FLAT * x.square().sum(dim=1) / count
    scale = torch.where(flat, 0.0, covariance / torch.where(flat, 1.0, variance))
    return scale, mean_y - scale * mean_x


@dataclass(frozen=True)
class Alignment:
    """inverse depth = scale * output + shift, averaged over `used` samples; `left_out` others did not agree."""

    scale: float
    shift: float
    used: int
    left_out: int

    def __str__(self) -> str:
        """For people, in one line."""
        words = f"depth = 1 / ({self.scale:.4g} * output + {self.shift:.4g}), the mean of {self.used} images"
        return words + (f"; {self.left_out} left out, whose scale does not fit" if self.left_out else "")


def average_alignment(fits: Sequence[tuple[float, float]]) -> Alignment:
    """The mean scale and shift of the samples' fits (DPT, arXiv 2103.13413, section 4.1), without those that mislead.

    Left out are fits whose scale is not positive (or not a number), and then those whose scale differs from the
    median by more than a factor of `ABSURD`.

    Raises:
        ValueError: Unless more than half of the fits have a positive scale: these outputs are no inverse depth.
    """
    sound = [fit for fit in fits if 0 < fit[0] < float("inf")]
    if 2 * len(sound) <= len(fits):
        raise ValueError(f"{len(fits) - len(sound)} of {len(fits)} samples have no positive scale")
    middle = median(scale for scale, _ in sound)
    kept = [fit for fit in sound if middle / ABSURD <= fit[0] <= middle * ABSURD]
    scale, shift = (fmean(column) for column in zip(*kept, strict=True))
    return Alignment(scale, shift, len(kept), len(fits) - len(kept))
