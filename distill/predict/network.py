"""A model that takes pictures of any size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from distill.data import to_tensor
from distill.judging import data_of, open_for, trained_size


class Predictor:
    """A model that takes uint8 images (H, W, 3) of one size and gives float32 depths (H, W) in metres.

    Args:
        model: MODEL of the command line.
        size: Height and width that images are resized to for it; by default as it was trained.

    Raises:
        UserError: If there is no such model.
    """

    def __init__(self, model: str, size: tuple[int, int] | None = None) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model: nn.Module = open_for(model, data_of(model)).to(self.device).eval()
        self.size = size or trained_size(model)

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        batch = torch.stack([to_tensor(image) for image in images]).to(self.device)
        shape = tuple(batch.shape[-2:])
        if self.size and self.size != shape:
            batch = F.interpolate(batch, size=self.size, mode="bilinear", align_corners=False, antialias=True)
        depth = self.model(batch)
        if depth.shape[-2:] != shape:
            depth = F.interpolate(depth, size=shape, mode="bilinear", align_corners=False)
        return list(depth[:, 0].float().cpu().numpy())

    def limits(self, depth: np.ndarray) -> tuple[float, float]:
        """The range that colours span: up to the model's own limit, or that of the picture where it has none."""
        high = getattr(self.model, "max_depth", None)
        if high is None:
            known = depth[np.isfinite(depth) & (depth > 0)]
            high = known.max() if known.size else 10.0
        return max(high / 80, min(0.1, high / 2)), float(high)
