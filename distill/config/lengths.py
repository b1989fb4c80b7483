"""How long a run is, in steps: the whole training, and the wait before features are distilled."""

from __future__ import annotations

from distill.config.schema import Config
from distill.errors import UserError
from distill.method import METHODS

WARMUP_BASE = 25.0  # epochs of the paper's training, of which `warmup_epochs` counts


def total_steps(config: Config, per_epoch: int) -> int:
    """Optimizer steps of the run; `train.steps` wins over `train.epochs`."""
    if config.train.steps is not None:
        return config.train.steps
    return max(round(config.train.epochs * per_epoch), 1)


def warmup_steps(config: Config, steps: int, per_epoch: int) -> int:
    """Steps before feature distillation: as given, by epochs, or the same share of a run set by steps as 7 of 25.

    Raises:
        UserError: If it would last for the whole training.
    """
    method, by_steps = config.method, config.train.steps is not None
    if method.warmup_steps is not None:
        waiting, by_steps = method.warmup_steps, True
    elif by_steps:
        waiting = round(steps * method.warmup_epochs / WARMUP_BASE)
    else:
        waiting = round(method.warmup_epochs * per_epoch)
    if waiting >= steps and METHODS[method.name].needs_features and method.kd_weight > 0:
        waited, whole = f"{waiting} steps", f"{steps}"
        if not by_steps:
            waited, whole = f"{method.warmup_epochs:g} epochs", f"{steps / per_epoch:g}"
        raise UserError(
            f"the warm-up of {waited} is as long as the whole training of {whole}: nothing would be distilled; "
            "lower method.warmup_epochs, or set method.warmup_steps"
        )
    return waiting
