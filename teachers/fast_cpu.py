"""Layers of frozen networks, faster in float32 on a CPU and elsewhere those they replace.

What a layer's weight becomes for this (packed for oneDNN, transformed for Winograd) is made at the first call that
uses it, again after the weight has changed, and is dropped with the weight. Devices, state dicts and copies of a
network therefore know nothing of it. Training, export, `torch.compile` and counters of operations see plain layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from teachers.stem import SameConv2d
from teachers.winograd import TILE, transform_filters, winograd_conv2d

MIN_CHANNELS, MIN_TILES = 128, 36  # of a convolution; below, Winograd's transforms cost more than they save

State = tuple[int, int]
PREPARED: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # weight -> (its state, what was made of it)


def is_plain_inference(x: Tensor, weight: Tensor) -> bool:
    """Whether this is an eager float32 call on a CPU with no gradient, cast, trace or counter."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_grad_enabled():
        return False
    watched = torch.is_autocast_enabled("cpu") or torch._C._len_torch_dispatch_stack() > 0
    on_cpu = type(x) is Tensor and x.device.type == weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
    return on_cpu and not watched and x.dtype == weight.dtype == torch.float32


def prepared(weight: Tensor, prepare: Callable[[Tensor], Tensor]) -> Tensor:
    """`prepare(weight)`, kept until the weight changes."""
    state: State = (weight.data_ptr(), -1 if weight.is_inference() else weight._version)
    if weight not in PREPARED or PREPARED[weight][0] != state:
        PREPARED[weight] = (state, prepare(weight.detach()))
    made: Tensor = PREPARED[weight][1]
    return made


class FastLinear(nn.Linear):
    """Multiplies by a weight that oneDNN has packed: what it computes is not changed, only where its values lie."""

    def forward(self, x: Tensor) -> Tensor:
        rows = math.prod(x.shape[:-1])
        if rows < 2 or not is_plain_inference(x, self.weight):
            return super().forward(x)
        weight = prepared(self.weight, lambda weight: torch.ops.mkldnn._reorder_linear_weight(weight, rows))
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, self.bias, "none", [], "")
        return out


class FastConv2d(nn.Conv2d):
    """Computes a wide 3x3 convolution of a large map by Winograd's algorithm."""

    def forward(self, x: Tensor) -> Tensor:
        small = x.ndim < 4 or math.prod(x.shape[-2:]) < MIN_TILES * TILE**2
        if small or not is_plain_inference(x, self.weight):
            return super().forward(x)
        return winograd_conv2d(x, prepared(self.weight, transform_filters), self.bias)


def use_fast_layers(model: nn.Module) -> nn.Module:
    """Give the layers that gain from it their fast form, in place. Names, parameters and hooks stay."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = FastLinear
        elif type(module) in (nn.Conv2d, SameConv2d) and gains(module):
            module.__class__ = FastConv2d
    return model


def gains(conv: Any) -> bool:
    """Whether a convolution is wide, 3x3, padded with zeros by one, and neither strided, grouped nor dilated."""
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
    wide = min(conv.in_channels, conv.out_channels) >= MIN_CHANNELS
    return wide and shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")
