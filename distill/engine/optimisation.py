"""How weights are updated, and at which learning rate."""

from __future__ import annotations

import torch
from torch import nn

from distill.config import OptimConfig


def build_optimizer(given: OptimConfig, module: nn.Module) -> torch.optim.Optimizer:
    """Adam or AdamW over everything that learns."""
    kind = torch.optim.AdamW if given.name == "adamw" else torch.optim.Adam
    parameters = [p for p in module.parameters() if p.requires_grad]
    return kind(parameters, lr=given.lr, betas=given.betas, eps=given.eps, weight_decay=given.weight_decay)


def build_schedule(
    given: OptimConfig, optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate over the steps: a rise, then constant, linear or cosine to its final share."""
    rise = round(given.warmup_share * steps)
    rest, end = max(steps - rise, 1), given.final_lr_share
    schedules = torch.optim.lr_scheduler
    main: torch.optim.lr_scheduler.LRScheduler
    if given.schedule == "linear":
        main = schedules.LinearLR(optimizer, 1.0, end, rest)
    elif given.schedule == "cosine":
        main = schedules.CosineAnnealingLR(optimizer, rest, end * given.lr)
    else:
        main = schedules.ConstantLR(optimizer, 1.0, 1)
    if not rise:
        return main
    return schedules.SequentialLR(optimizer, [schedules.LinearLR(optimizer, 1 / rise, 1.0, rise), main], [rise])
