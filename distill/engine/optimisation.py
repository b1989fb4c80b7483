"""How weights are updated, for how long, and at which learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from distill.config import Config, OptimConfig
from distill.errors import UserError

DEFAULT_EPOCHS, WARMUP_BASE = 25.0, 25.0


def build_optimizer(given: OptimConfig, module: nn.Module) -> torch.optim.Optimizer:
    """Adam or AdamW over everything that learns.

    Weight decay spares nothing, norms and position embeddings included: the recipes that are followed, PixelFormer's of
    1e-2 and DPT's, name no exception.

    Raises:
        UserError: If the encoder should learn at another rate and there is none.
    """
    kind = torch.optim.AdamW if given.name == "adamw" else torch.optim.Adam
    groups = parameter_groups(given, module)
    # Fused: one kernel for all weights, which for networks of many small ones saves a tenth of a step on a CPU.
    return kind(groups, lr=given.lr, betas=given.betas, eps=given.eps, weight_decay=given.weight_decay, fused=True)


def parameter_groups(given: OptimConfig, module: nn.Module) -> list[dict[str, Any]]:
    """What learns, in a group for each share of the learning rate: the student's encoder, FAM and LAM may have one."""
    shares: dict[int, float] = {}
    if given.encoder_lr_share != 1:
        encoder = encoder_parameters(getattr(module, "student", module))
        shares |= dict.fromkeys(map(id, encoder), given.encoder_lr_share)
    if given.fam_lr_share != 1:
        shares |= dict.fromkeys(map(id, getattr(module, "acclimation", list)()), given.fam_lr_share)
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    for parameter in module.parameters():
        if parameter.requires_grad:
            groups.setdefault(shares.get(id(parameter), 1.0), []).append(parameter)
    return [{"params": group, "lr": given.lr * share} for share, group in groups.items()]


def encoder_parameters(student: nn.Module) -> list[nn.Parameter]:
    """What a backbone's weights can start from: a student's encoder, without the reassembly of a DPT.

    DPT counts reassembly to its decoder (arXiv 2103.13413, section 3): no ImageNet weights exist for it.
    """
    encoder = getattr(student, "encoder", None)
    if encoder is None:
        raise UserError(
            f"optim.encoder_lr_share needs a student with an encoder, {type(student).__name__} has none; remove it"
        )
    return [p for name, p in encoder.named_parameters() if not name.startswith("reassemble.")]


def build_schedule(
    given: OptimConfig, optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate over the steps: a rise, then constant, linear or cosine to its final share.

    It is a factor of each group's own peak.
    """
    rise = round(given.warmup_share * steps)
    rest, end = max(steps - rise, 1), given.final_lr_share

    def factor(step: int) -> float:
        if step < rise:
            return 1 / rise + (1 - 1 / rise) * step / rise
        if given.schedule == "constant":
            return 1.0
        done = min((step - rise) / rest, 1.0)
        left = 1 - done if given.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
        return end + (1 - end) * left

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def warmup_steps(config: Config, steps: int, per_epoch: int) -> int:
    """Steps before feature distillation: as given, by epochs, or the same share of a run set by steps as 7 of 25.

    Raises:
        UserError: If it would last for the whole training.
    """
    given, by_steps = config.method, config.train.steps is not None
    if given.warmup_steps is not None:
        waiting, by_steps = given.warmup_steps, True
    elif by_steps:
        waiting = round(steps * given.warmup_epochs / WARMUP_BASE)
    else:
        waiting = round(given.warmup_epochs * per_epoch)
    if waiting >= steps and given.name in ("feature", "disdepth") and given.kd_weight > 0:
        waited, whole = f"{waiting} steps", f"{steps}"
        if not by_steps:
            waited, whole = f"{given.warmup_epochs:g} epochs", f"{steps / per_epoch:g}"
        raise UserError(
            f"the warm-up of {waited} is as long as the whole training of {whole}: nothing would be distilled; "
            "lower method.warmup_epochs, or set method.warmup_steps"
        )
    return waiting


def total_steps(config: Config, per_epoch: int) -> int:
    """Optimizer steps of the run; `train.steps` wins over `train.epochs`."""
    if config.train.steps is not None:
        return config.train.steps
    return max(round((config.train.epochs or DEFAULT_EPOCHS) * per_epoch), 1)
