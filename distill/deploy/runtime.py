"""Whether an exported model gives what the one that it was made of does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 1e-3  # of the largest relative error of a pixel
HALF_TOLERANCE = 1e-2  # of a file in 16 bits
FLOOR = 1e-3  # of an image's largest value: a raw output may be 0, where a relative error means nothing


@dataclass(frozen=True)
class Deviation:
    """Relative errors |a - b| / max(|b|, `FLOOR` * max |b|) over all pixels of some images."""

    largest: float
    mean: float
    images: int
    place: str = ""  # of the largest

    def within(self, tolerance: float) -> bool:
        """False also where it is not a number."""
        return self.largest <= tolerance

    @property
    def acceptable(self) -> bool:
        """Whether a file in float32 may differ so much."""
        return self.within(TOLERANCE)

    def __str__(self) -> str:
        where = f" ({self.place})" if self.place else ""
        return f"relative error at most {self.largest:.1e}{where}, on average {self.mean:.1e}, on {self.images} images"


def relative_error(ours: Tensor, theirs: Tensor) -> Tensor:
    """Of every pixel, by `Deviation`'s equation."""
    size = theirs.abs()
    return ((ours - theirs).abs() / size.clamp(min=max(FLOOR * float(size.max()), 1e-8))).double()


@torch.inference_mode()
def deviation(
    exported: Callable[[Tensor], Tensor],
    expected: Callable[[Tensor], Tensor],
    images: Sequence[Tensor],
    error_of: Callable[[Tensor, Tensor], Tensor] = relative_error,
) -> Deviation:
    """Compare two models on images (1, 3, H, W); an output of another shape, or not finite, is infinitely wrong."""
    largest, total, place = -1.0, 0.0, ""
    for number, image in enumerate(images, 1):
        ours, theirs = exported(image), expected(image)
        if ours.shape != theirs.shape or not torch.isfinite(ours - theirs).all():
            return Deviation(float("inf"), float("inf"), len(images))
        error = error_of(ours, theirs)
        total += float(error.mean())
        if float(error.max()) > largest:
            largest, (*_, row, column) = float(error.max()), np.unravel_index(int(error.argmax()), error.shape)
            place = f"row {row}, column {column} of image {number}"
    return Deviation(largest, total / len(images), len(images), place)
