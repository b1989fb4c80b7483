"""How weights are updated, for how long, and at which learning rate."""

from __future__ import annotations

import torch
from torch import nn

from distill.config import Config, OptimConfig
from distill.errors import UserError

DEFAULT_EPOCHS, WARMUP_BASE = 25.0, 25.0


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


def warmup_steps(config: Config, steps: int, per_epoch: int) -> int:
    """Steps before feature distillation: as given, by epochs, or the same share of a run set by steps as 7 of 25."""
    given = config.method
    if given.warmup_steps is not None:
        waiting = given.warmup_steps
    elif config.train.steps is not None:
        waiting = round(steps * given.warmup_epochs / WARMUP_BASE)
    else:
        waiting = round(given.warmup_epochs * per_epoch)
    if waiting >= steps and given.name in ("feature", "disdepth") and given.kd_weight > 0:
        raise UserError(
            f"the warm-up of {waiting} steps is as long as the whole training of {steps}: nothing would be distilled; "
            "lower method.warmup_epochs, or set method.warmup_steps"
        )
    return waiting


def total_steps(config: Config, per_epoch: int) -> int:
    """Optimizer steps of the run; `train.steps` wins over `train.epochs`."""
    if config.train.steps is not None:
        return config.train.steps
    return max(round((config.train.epochs or DEFAULT_EPOCHS) * per_epoch), 1)
