"""BatchNorm's running statistics, kept independent of how a batch is divided."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


def running(module: nn.Module) -> list[Tensor]:
    """Mean, variance and count of every BatchNorm that gathers them at present."""
    norms = [norm for norm in module.modules() if isinstance(norm, _NormBase) and norm.training]
    kept = [(norm.running_mean, norm.running_var, norm.num_batches_tracked) for norm in norms]
    return [one for three in kept for one in three if one is not None]


class Statistics:
    """The running statistics during one step.

    Each micro-batch moves them from where the step began; the step moves them by the mean of that. In sequence, a step
    of many micro-batches would forget faster than one of few, and than one that processes share.
    """

    def __init__(self, module: nn.Module) -> None:
        self.live = running(module)
        self.former = [kept.clone() for kept in self.live]
        self.moved: list[list[Tensor]] = []

    def next(self) -> None:
        """Another micro-batch follows."""
        self.moved.append([kept.clone() for kept in self.live])
        self.undo()

    def keep(self) -> None:
        """The step counts."""
        for kept, *others in zip(self.live, *self.moved, strict=True) if self.moved else ():
            kept.copy_(torch.stack([kept, *others]).double().mean(dim=0))

    def undo(self) -> None:
        """Back to where the step began."""
        for kept, former in zip(self.live, self.former, strict=True):
            kept.copy_(former)


def merge(accelerator: Accelerator, module: nn.Module) -> None:
    """Give BatchNorm, on every process, the mean of all processes' statistics.

    Each follows its own micro-batches while training. A running mean is linear in what it saw, so it does not matter
    when or how often this is done.
    """
    if accelerator.num_processes > 1:
        for kept in filter(torch.is_floating_point, running(module)):
            kept.copy_(accelerator.reduce(kept, "mean"))
