"""How weights are updated, for how long, and at which learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from distill.config import OptimConfig
from distill.errors import UserError
from distill.method import Method
from teachers import DepthModel


def build_optimizer(config: OptimConfig, method: Method) -> torch.optim.Optimizer:
    """Adam or AdamW over everything that learns.

    Weight decay spares nothing, norms and position embeddings included: the recipes that are followed, PixelFormer's of
    1e-2 and DPT's, name no exception.

    Raises:
        UserError: If the encoder should learn at another rate and there is none.
    """
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    groups = parameter_groups(config, method)
    # Fused: one kernel for all weights, which for networks of many small ones saves a tenth of a step on a CPU.
    return kind(groups, lr=config.lr, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay, fused=True)


def parameter_groups(config: OptimConfig, method: Method) -> list[dict[str, list[nn.Parameter] | float]]:
    """What learns, in a group for each share of the learning rate: the student's encoder, FAM and LAM may have one."""
    shares: dict[int, float] = {}
    if config.encoder_lr_share != 1:
        shares |= dict.fromkeys(map(id, encoder_parameters(method.student)), config.encoder_lr_share)
    if config.fam_lr_share != 1:
        shares |= dict.fromkeys(map(id, method.acclimation()), config.fam_lr_share)
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    for parameter in method.parameters():
        if parameter.requires_grad:
            groups.setdefault(shares.get(id(parameter), 1.0), []).append(parameter)
    return [{"params": group, "lr": config.lr * share} for share, group in groups.items()]


def encoder_parameters(student: DepthModel) -> list[nn.Parameter]:
    """What a backbone's weights can start from: a student's encoder, without the reassembly of a DPT.

    DPT counts reassembly to its decoder (arXiv 2103.13413, section 3): no ImageNet weights exist for it.
    """
    encoder = dict(student.named_children()).get("encoder")
    if encoder is None:
        raise UserError(
            f"optim.encoder_lr_share needs a student with an encoder, {type(student).__name__} has none; remove it"
        )
    return [p for name, p in encoder.named_parameters() if not name.startswith("reassemble.")]


def build_schedule(
    config: OptimConfig, optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate over the steps: a rise, then constant, linear or cosine to its final share.

    It is a factor of each group's own peak.
    """
    rise = round(config.warmup_share * steps)
    rest, end = max(steps - rise, 1), config.final_lr_share

    def factor(step: int) -> float:
        if step < rise:
            return 1 / rise + (1 - 1 / rise) * step / rise
        if config.schedule == "constant":
            return 1.0
        done = min((step - rise) / rest, 1.0)
        left = 1 - done if config.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
        return end + (1 - end) * left

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
