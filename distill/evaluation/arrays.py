"""One code for both kinds of maps: NumPy arrays on the CPU, where NumPy is the faster, and tensors on other devices."""

from __future__ import annotations

from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = Tensor | NDArray[np.generic]  # what callers may give
# An array of NumPy's or a tensor, of which only what both can do is asked: types cannot say that two are of one kind.
Values: TypeAlias = Any

ON_CPU = frozenset({"cpu", "mps"})  # the second has no float64


def as_array(values: Array) -> Values:
    """An array or a tensor of any device and layout, as this package computes with it."""
    if isinstance(values, Tensor) and values.device.type not in ON_CPU:
        return values.detach()
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def as_map(values: Array, name: str) -> Values:
    """A depth map (H, W) as float32; `name` is what a refusal calls it."""
    depth = as_array(values)
    if depth.ndim != 2:
        raise ValueError(f"{name} must be one depth map (H, W), got shape {tuple(depth.shape)}")
    return depth.float() if isinstance(depth, Tensor) else depth.astype(np.float32, copy=False)


def beside(values: Values, other: Values) -> Values:
    """Values where `other` lies, so that both can be computed with."""
    if isinstance(other, np.ndarray):
        return values.cpu().numpy() if isinstance(values, Tensor) else values
    if isinstance(values, np.ndarray):  # PyTorch takes no mirrored view and warns of one that is read-only
        values = torch.from_numpy(np.require(values, requirements=["C", "W"]))
    return values.to(other.device)


def library(values: Values) -> ModuleType:
    """numpy or torch: whichever has the functions for these. Only names that both have are used of it."""
    return torch if isinstance(values, Tensor) else np


def float64(values: Values) -> Values:
    """The same values in float64, themselves where they are."""
    return values.double() if isinstance(values, Tensor) else values.astype(np.float64, copy=False)


def total(values: Values) -> Values:
    """The sum as a scalar of that library; of booleans, how many are True."""
    return np.count_nonzero(values) if values.dtype == np.bool_ else values.sum()


def numbers(values: list[Values]) -> list[float]:
    """Scalars of either kind as Python's, in one transfer from the device."""
    if isinstance(values[0], Tensor):
        return torch.stack([value.double() for value in values]).tolist()
    return [float(value) for value in values]
