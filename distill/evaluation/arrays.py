"""One code for both kinds of maps: NumPy arrays on the CPU, where NumPy is the faster, and tensors on other devices."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = Tensor | np.ndarray

ON_CPU = frozenset({"cpu", "mps"})  # the second has no float64


def as_array(values: Any) -> Any:
    """What was given, an array or a tensor of any device and layout, as this package computes with it."""
    if isinstance(values, Tensor) and values.device.type not in ON_CPU:
        return values.detach()
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def as_map(values: Any, name: str) -> Any:
    """A depth map (H, W) as float32; `name` is what a refusal calls it."""
    depth = as_array(values)
    if depth.ndim != 2:
        raise ValueError(f"{name} must be one depth map (H, W), got shape {tuple(depth.shape)}")
    return depth.float() if isinstance(depth, Tensor) else depth.astype(np.float32, copy=False)


def beside(values: Any, other: Any) -> Any:
    """An array or a tensor where `other` lies, so that both can be computed with."""
    if isinstance(other, np.ndarray):
        return values.cpu().numpy() if isinstance(values, Tensor) else values
    if isinstance(values, np.ndarray):  # PyTorch takes no mirrored view and warns of one that is read-only
        values = torch.from_numpy(np.require(values, requirements=["C", "W"]))
    return values.to(other.device)


def library(values: Any) -> ModuleType:
    """numpy or torch: whichever has the functions for this array. Only names that both have are used of it."""
    return torch if isinstance(values, Tensor) else np


def float64(values: Any) -> Any:
    return values.double() if isinstance(values, Tensor) else values.astype(np.float64, copy=False)


def as_integers(values: Any) -> Any:
    return values.long() if isinstance(values, Tensor) else values.astype(np.int64)


def flat_nonzero(values: Any) -> Any:
    """Flat indices of what is not zero, int64 (N,), in order."""
    return values.flatten().nonzero()[:, 0] if isinstance(values, Tensor) else np.flatnonzero(values)


def total(values: Any) -> Any:
    """The sum as a scalar of that library; of bool arrays, how many are True."""
    return np.count_nonzero(values) if values.dtype == np.bool_ else values.sum()


def numbers(values: list[Any]) -> list[float]:
    """Scalars of either kind as Python's, in one transfer from the device."""
    if isinstance(values[0], Tensor):
        return torch.stack([value.double() for value in values]).tolist()
    return [float(value) for value in values]
