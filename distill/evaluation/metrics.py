"""How far a predicted depth map is from the truth: the nine metrics of one image, and the mean absolute error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = Tensor | np.ndarray

METRICS = ("d1", "d2", "d3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog")
LOWER_IS_BETTER = frozenset({*METRICS[3:], "mae"})
THRESHOLD = 1.25

NO_FLOAT64 = frozenset({"mps"})  # devices that refuse the dtype; their metrics are computed on the CPU


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
    p, t = _valid_pixels(pred, target, valid)
    if not len(p):
        return dict.fromkeys(METRICS, math.nan)
    gap, error = p.log() - t.log(), p - t
    # The ratios of a negative prediction are negative, hence below every threshold.
    ratio = torch.maximum(p / t, t / p).where(p > 0, math.inf)
    values = [
        *((ratio < THRESHOLD**k).double().mean() for k in (1, 2, 3)),
        (error.abs() / t).mean(),
        (error.square() / t).mean(),
        error.square().mean().sqrt(),
        gap.square().mean().sqrt(),
        gap.abs().mean() / math.log(10),
        # mean(g^2) - mean(g)^2 as the mean square of g - mean(g), which rounding cannot push below 0.
        100 * (gap - gap.mean()).square().mean().sqrt(),
    ]
    return dict(zip(METRICS, torch.stack(values).tolist(), strict=True))  # one transfer from the device


def mean_absolute_error(pred: Array, target: Array, valid: Array) -> float:
    """Mean |pred - target| in metres over the valid pixels of one image, shapes as in `depth_metrics`."""
    p, t = _valid_pixels(pred, target, valid)
    return (p - t).abs().mean().item()


def as_tensor(array: Any, device: torch.device | None = None) -> Tensor:
    """A tensor of what was given, which may be a mirrored or read-only numpy array, on `device` where one is named."""
    if isinstance(array, Tensor):
        return array.detach().to(device or array.device)
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device or "cpu")


def _valid_pixels(pred: Array, target: Array, valid: Array) -> tuple[Tensor, Tensor]:
    """The valid pixels of both maps as float64 vectors, on the device of `pred` or, failing float64, the CPU."""
    p = as_tensor(pred)
    device = torch.device("cpu") if p.device.type in NO_FLOAT64 else p.device
    p, t, mask = p.to(device), as_tensor(target, device), as_tensor(valid, device).bool()
    if not p.shape == t.shape == mask.shape:
        shapes = [tuple(x.shape) for x in (p, t, mask)]
        raise ValueError(f"pred, target and valid must share one shape, got {shapes}")
    return p[mask].double(), t[mask].double()
