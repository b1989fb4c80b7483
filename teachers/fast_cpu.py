"""Layers of frozen networks, faster in float32 on a CPU and elsewhere those they replace.

What a layer's weight becomes for this (packed for oneDNN, transformed for Winograd) is made at the first call that
uses it, again after the weight has changed, and is dropped with the weight. Devices, state dicts and copies of a
network therefore know nothing of it. Training, export, `torch.compile` and counters of operations see plain layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from teachers.model import replace_modules
from teachers.stem import SameConv2d
from teachers.winograd import TILE, transform_filters, winograd_conv2d

MIN_CHANNELS, MIN_TILES = 128, 36  # of a convolution; below, Winograd's transforms cost more than they save

PREPARED = WeakTensorKeyDictionary()  # weight -> (its state, what was made of it)


def is_plain_inference(x: Tensor, weight: Tensor) -> bool:
    """Whether this is an eager float32 call on a CPU with no gradient, cast, trace or counter."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_grad_enabled():
        return False
    watched = torch.is_autocast_enabled("cpu") or torch._C._len_torch_dispatch_stack() > 0
    on_cpu = type(x) is Tensor and x.device.type == weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
    return on_cpu and not watched and x.dtype == weight.dtype == torch.float32


def prepared(weight: Tensor, prepare: Callable[[Tensor], Tensor]) -> Tensor:
    """`prepare(weight)`, kept until the weight changes."""
    state = (weight.data_ptr(), -1 if weight.is_inference() else weight._version)
    if weight not in PREPARED or PREPARED[weight][0] != state:
        PREPARED[weight] = (state, prepare(weight.detach()))
    made: Tensor = PREPARED[weight][1]
    return made


class FastLinear(nn.Linear):
    """Multiplies by a weight that oneDNN has packed: what it computes is not changed, only where its values lie."""

    def __init__(self, plain: nn.Linear) -> None:
        self.__dict__.update(plain.__dict__)  # everything of it: weight, bias, hooks and mode

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs), as of `nn.Linear`."""
        rows = math.prod(x.shape[:-1])
        if rows < 2 or not is_plain_inference(x, self.weight):
            return super().forward(x)
        weight = prepared(self.weight, lambda weight: torch.ops.mkldnn._reorder_linear_weight(weight, rows))
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, self.bias, "none", [], "")
        return out


class FastConv2d(nn.Conv2d):
    """Computes a wide 3x3 convolution of a large map by Winograd's algorithm."""

    def __init__(self, plain: nn.Conv2d) -> None:
        self.__dict__.update(plain.__dict__)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H, W), as of `nn.Conv2d`."""
        small = x.ndim < 4 or math.prod(x.shape[-2:]) < MIN_TILES * TILE**2
        if small or not is_plain_inference(x, self.weight):
            return super().forward(x)
        return winograd_conv2d(x, prepared(self.weight, transform_filters), self.bias)


def use_fast_layers(model: nn.Module) -> nn.Module:
    """Give the layers inside of a model that gain from it their fast form. Names, parameters and hooks stay."""
    return replace_modules(model, fast_form)


def fast_form(layer: nn.Module) -> nn.Module | None:
    """A linear layer or a wide convolution of 3x3, plain but for its padding, in its fast form; None for others."""
    if type(layer) is nn.Linear:
        return FastLinear(layer)
    if not isinstance(layer, nn.Conv2d) or type(layer) not in (nn.Conv2d, SameConv2d):
        return None
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode)
    wide = min(layer.in_channels, layer.out_channels) >= MIN_CHANNELS
    return FastConv2d(layer) if wide and shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros") else None
