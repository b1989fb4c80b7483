"""Two numbers behind a student that bring its depth to the metres that were measured on a few images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Calibration:
    """depth = 1 / (scale / d + shift) metres of a network's own depth d, cut to limits.

    Attributes:
        scale: Without a unit where d is in metres: 2 halves every depth.
        shift: In 1 / m.
        min_depth, max_depth: The limits in metres.

    Raises:
        ValueError: Unless scale > 0 and 0 < min_depth < max_depth.
    """

    scale: float
    shift: float
    min_depth: float
    max_depth: float

    def __post_init__(self) -> None:
        if not (self.scale > 0 and 0 < self.min_depth < self.max_depth):
            raise ValueError(f"expected scale > 0 and 0 < min_depth < max_depth, got {self}")

    def __call__(self, depth: Tensor) -> Tensor:
        """The network's own depth as metres, float32 at least: half precision is coarse for a reciprocal."""
        inverse = self.scale / depth.to(torch.promote_types(depth.dtype, torch.float32)) + self.shift
        return inverse.clamp(1 / self.max_depth, 1 / self.min_depth).reciprocal()

    def slope(self, depth: Tensor) -> Tensor:
        """How many metres the result changes by where the network's own depth changes by one."""
        return self.scale * (self(depth) / depth).square()

    def then(self, scale: float, shift: float) -> tuple[float, float]:
        """The scale and shift of another calibration behind this one, as one."""
        return scale * self.scale, scale * self.shift + shift
