"""What a model costs whatever machine it runs on: parameters, arithmetic, bytes."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

MEBI = 2**20


def count_gflops(model: nn.Module, size: tuple[int, int]) -> float:
    """Billions of operations for one image (1, 3, *size), 2 x multiply-accumulates of convolutions and products.

    Counted without computing anything, on a copy without weights. Norms, activations and resizing do not count.
    """
    shapes = copy.deepcopy(model).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shapes(torch.zeros(1, 3, *size, device="meta"))
    return counter.get_total_flops() / 1e9


def weight_bytes(model: nn.Module) -> int:
    """Bytes of everything that is saved of a model."""
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
