"""From the maps of one image to the pixels that count: two predictions made one, resized, placed and repaired.

Every map stays where it lies: the truth is searched on the CPU, a GPU's prediction is only asked for the places of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from distill.evaluation.arrays import Values, beside, library

Window = tuple[slice, slice]

INTERPOLATIONS: dict[str, tuple[str, bool]] = {  # of a prediction of another resolution: PyTorch's mode, antialiased
    "bilinear": ("bilinear", False),
    "antialiased": ("bilinear", True),  # Marigold, Lotus, and plumbline's Pillow
    "bicubic": ("bicubic", False),
    "nearest": ("nearest", False),
    "nearest-exact": ("nearest-exact", False),
}
KB_SIZE = (352, 1216)  # the frame of the KITTI benchmark: bottom aligned, horizontally centred


@dataclass(frozen=True)
class Pixels:
    """The pixels of one image that count.

    Attributes:
        pred, target: Depth in metres, float32 (N,), within the protocol's limits.
        places: Where they are in the flattened frame, (N,).
        broken: Which predictions were not finite before they were repaired, bool (N,).
        constant: Whether an alignment had but one value to fit.
    """

    pred: Values
    target: Values
    places: Values
    broken: Values
    constant: bool = False

    @property
    def repaired(self) -> int:
        """How many were not finite."""
        return int(library(self.broken).count_nonzero(self.broken))


def holds_kb(height: int, width: int) -> bool:
    """Whether KITTI's 352x1216 cut fits into a frame."""
    return height >= KB_SIZE[0] and width >= KB_SIZE[1]


def kb_window(height: int, width: int) -> Window:
    """KITTI's 352x1216 cut of a frame."""
    top, left = height - KB_SIZE[0], (width - KB_SIZE[1]) // 2
    return slice(top, height), slice(left, left + KB_SIZE[1])


def merge(pred: Values, flipped: Values, tta: str, limits: tuple[float, float]) -> tuple[Values, Values]:
    """A prediction and that of the mirrored image, both (H, W), as one; and where either was not finite, bool.

    Without the mirrored one, the first is all, and None stands for where it is not finite itself.

    "flip" cuts both to the limits, then averages (AdaBins); one NaN of the two makes the pixel NaN. "flip-plain"
    (MDE-Toolbox) is the same arithmetic; its NaN would drop the image from the mean, here it counts as the least depth.
    "flip-edge" (NeWCRFs) blends without cutting first: the mean gives way over the outer 10 % of the width to the
    mirrored image's at the left, to the other at the right.
    """
    xp = library(pred)
    if flipped is None:
        return pred, None
    other = xp.fliplr(flipped)
    broken = ~(xp.isfinite(pred) & xp.isfinite(other))
    if tta != "flip-edge":
        return 0.5 * (xp.clip(pred, *limits) + xp.clip(other, *limits)), broken
    x = beside(np.linspace(0, 1, pred.shape[-1], dtype=np.float32), pred)
    left = 1 - xp.clip(20 * (x - 0.05), 0, 1)
    right = xp.flip(left, (0,))
    with np.errstate(invalid="ignore"):
        # Three terms: 0 * inf is NaN, so that an infinite pixel of either map ends as the least depth.
        return left * other + right * pred + (1 - left - right) * 0.5 * (pred + other), broken


def resize(
    depth: Values, size: tuple[int, int], align_corners: bool = False, interpolation: str = "bilinear"
) -> Values:
    """A map (h, w) at another resolution, (H, W), float32, or float64 as it is."""
    tensor = depth if isinstance(depth, Tensor) else torch.from_numpy(np.ascontiguousarray(depth))
    mode, antialias = INTERPOLATIONS[interpolation]
    corners = None if mode.startswith("nearest") else align_corners
    tensor = tensor if tensor.dtype == torch.float64 else tensor.float()
    resized = F.interpolate(tensor[None, None], size, mode=mode, align_corners=corners, antialias=antialias)
    return beside(resized[0, 0], depth)


def take(depth: Values, places: Values, frame: tuple[int, int]) -> Values:
    """A map's values at flat places of a frame; where it is KITTI's cut of that frame, 0 outside of the cut."""
    if depth.shape == frame:
        return depth.ravel()[places]
    rows, cols = kb_window(*frame)
    row = places // frame[1]
    col = places - row * frame[1] - cols.start  # which NumPy does faster than %
    inside = (row >= rows.start) & (col >= 0) & (col < KB_SIZE[1])
    values = depth.ravel()[((row - rows.start) * KB_SIZE[1] + col) * inside]
    values[~inside] = 0
    return values


def repair(values: Values, limits: tuple[float, float]) -> Values:
    """Depth cut to the limits as BTS does: below -> least, beyond and +inf -> largest, NaN -> least."""
    repaired = library(values).clip(values, *limits)
    repaired[repaired != repaired] = limits[0]  # faster than nan_to_num
    return repaired


def as_size(shape: Iterable[int]) -> str:
    """A shape in words, such as 352x1216."""
    return "x".join(map(str, shape))
