"""One optimizer step of any method, over as many micro-batches and processes as there are.

BatchNorm's running statistics are kept independent of how a batch is divided.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.lr_scheduler import LRScheduler

from distill.data import Batch
from distill.engine.processes import largest
from distill.method import Method
from distill.method.conversion import column
from teachers import DepthModel
from teachers.model import is_relative


@dataclass
class Learner:
    """What a step works on. `module` is `method` as `accelerator` has prepared it, `optimizer` likewise.

    Attributes:
        teacher: The frozen network that the method asks, None where it needs none.
        clip: Largest norm of the gradient, of the student's and of acclimation's each; None for any.
        seed: Of what networks draw while they train.
    """

    accelerator: Accelerator
    method: Method
    module: nn.Module
    teacher: DepthModel | None
    optimizer: AcceleratedOptimizer
    schedule: LRScheduler
    clip: float | None = None
    seed: int = 0

    @cached_property
    def parts(self) -> list[list[nn.Parameter]]:
        """The weights of the student, and those of acclimation."""
        acclimation = self.method.acclimation()
        others = {id(parameter) for parameter in acclimation}
        return [[one for one in self.module.parameters() if id(one) not in others], acclimation]


class Moved(NamedTuple):
    """Which weights a step has moved: each part only by a finite loss and gradient of its own."""

    student: bool
    acclimation: bool


def run_step(learner: Learner, micro_batches: list[Batch], step: int) -> tuple[dict[str, Tensor], Moved]:
    """Step number `step`: its values, each a mean over this process's micro-batches, and which weights moved.

    Losses over pixels are weighted by each micro-batch's share of the pixels that the step counts, losses over images
    by its share of images, so that neither accumulation nor the number of processes changes what is minimised.
    """
    statistics = Statistics(learner.module)
    try:
        values, losses = descend(learner, micro_batches, step, statistics)
    except Exception:  # the state is saved as it was before this step
        statistics.undo()
        learner.optimizer.zero_grad(set_to_none=True)
        raise
    norms, moved = move(learner, losses)
    if moved.student:
        statistics.keep()
    else:  # no trace is left
        statistics.undo()
    values |= {"grad_norm": norms[0], "lr": torch.tensor(learner.schedule.get_last_lr()[0])}
    if len(norms) > 1:
        values["grad_norm_fam"] = norms[1]
    learner.optimizer.zero_grad(set_to_none=True)
    learner.schedule.step()
    return values, moved


def descend(
    learner: Learner, micro_batches: list[Batch], step: int, statistics: Statistics
) -> tuple[dict[str, Tensor], Tensor]:
    """Gradients of a step; its values, and the losses (2,) from which the student and acclimation learn."""
    accelerator, method, module = learner.accelerator, learner.method, learner.module
    values: dict[str, Tensor] = {}
    losses = torch.zeros(2, device=accelerator.device)
    for i, (batch, share) in enumerate(zip(micro_batches, pixel_shares(learner, micro_batches), strict=True)):
        seed_draws(learner.seed, step, i * accelerator.num_processes + accelerator.process_index)
        batch = batch.to(accelerator.device)
        batch = replace(batch, valid=method.limit(batch.depth, batch.valid))
        last = i == len(micro_batches) - 1
        with nullcontext() if last else accelerator.no_sync(module):
            with accelerator.autocast():
                known = batch.image, batch.valid, batch.depth, batch.label, batch.relative, batch.canonical
                guide = method.consult(learner.teacher, *known)
                result = module(batch.image, batch.depth, batch.valid, guide, step)
            loss = (result.pixel_loss if result.ghost_loss is None else result.pixel_loss + result.ghost_loss) * share
            if result.image_loss is not None:
                loss = loss + result.image_loss / len(micro_batches)
            accelerator.backward(loss)
        if not last:
            statistics.next()
        losses[0] += result.student_loss.detach()
        losses[1] += 0 if result.ghost_loss is None else result.ghost_loss.detach()
        for key, value in {"loss": result.loss.detach(), **result.logs}.items():
            values[key] = values.get(key, torch.zeros_like(value)) + value / len(micro_batches)
    return values, losses


def move(learner: Learner, losses: Tensor) -> tuple[list[Tensor], Moved]:
    """Clip and step the student's weights and acclimation's, each where its own loss and gradient are finite.

    Returns:
        The norms of the gradients, of the student's and, where there is any, of acclimation's; and what has moved.
    """
    accelerator, parts = learner.accelerator, learner.parts
    accelerator.unscale_gradients()
    norms = [nn.utils.clip_grad_norm_(part, learner.clip or float("inf")) for part in parts if part]
    sound = [torch.isfinite(norm.to(loss.device)) & torch.isfinite(loss) for norm, loss in zip(norms, losses)]  # noqa: B905
    broken = largest(accelerator, [not one for one in torch.stack(sound).tolist()])  # one wait for the device
    for part, lost in zip(parts, broken):  # noqa: B905
        for parameter in part if lost else ():
            parameter.grad = None
    if not any(broken):
        learner.optimizer.step()
    else:
        if not all(broken):
            learner.optimizer.optimizer.step()  # past a scaler of losses, which would skip all of it
        if accelerator.scaler is not None:  # which learns to scale less
            accelerator.scaler.update()
    return norms, Moved(not broken[0], not broken[-1])


def seed_draws(seed: int, step: int, place: int) -> None:
    """Let what a network draws depend on the micro-batch alone: not on its process, nor on what was drawn before."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, place)).generate_state(1, np.uint64)[0] >> 1))


def pixel_shares(learner: Learner, micro_batches: list[Batch]) -> list[float]:
    """Each micro-batch's share of the step's counted pixels, times the processes that gradients are averaged over."""
    accelerator = learner.accelerator
    if len(micro_batches) == 1 and accelerator.num_processes == 1:
        return [1.0]
    method = learner.method
    masks = [
        (method.limit(batch.depth, batch.valid), *taught_pixels(learner.teacher, batch)) for batch in micro_batches
    ]
    counts = torch.stack([method.counted(*three).double() for three in masks]).to(accelerator.device)
    total = accelerator.reduce(counts.sum(), reduction="sum")
    return (counts * accelerator.num_processes / total.clamp(min=1)).tolist()


def taught_pixels(teacher: DepthModel | None, batch: Batch) -> tuple[Tensor, Tensor]:
    """Pixels (B, 1, H, W) of which a teacher says its depth in metres, and of which up to scale and shift."""
    taught = torch.full_like(batch.valid, teacher is not None) if batch.label is None else batch.label.isfinite()
    relative = teacher is not None and is_relative(teacher)
    those = torch.full((len(batch), 1, 1, 1), relative) if batch.relative is None else column(batch.relative)
    return taught & ~those, taught & those


# ---------------------------------------------------------------------------------------------------------- BatchNorm


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
        self.former = copies(self.live)
        self.moved: list[list[Tensor]] = []

    def next(self) -> None:
        """Another micro-batch follows."""
        self.moved.append(copies(self.live))
        self.undo()

    def keep(self) -> None:
        """The step counts."""
        if not self.moved or not self.live:
            return
        mean = copies(self.live, torch.float64)
        for others in self.moved:
            torch._foreach_add_(mean, copies(others, torch.float64))
        torch._foreach_div_(mean, len(self.moved) + 1)
        torch._foreach_copy_(self.live, mean)

    def undo(self) -> None:
        """Back to where the step began."""
        if self.live:
            torch._foreach_copy_(self.live, self.former)


def copies(tensors: list[Tensor], dtype: torch.dtype | None = None) -> list[Tensor]:
    """Of each one of its own, by one call for all: a GPU waits for calls longer than for so few numbers."""
    made = [torch.empty_like(one, dtype=dtype) for one in tensors]
    if made:
        torch._foreach_copy_(made, tensors)
    return made


def merge_statistics(accelerator: Accelerator, module: nn.Module) -> None:
    """Give BatchNorm, on every process, the mean of all processes' statistics.

    Each follows its own micro-batches while training. A running mean is linear in what it saw, so it does not matter
    when or how often this is done.
    """
    kept = list(filter(torch.is_floating_point, running(module)))
    if accelerator.num_processes > 1 and kept:
        mean = accelerator.reduce(torch.cat(kept), "mean")  # one wait for the others, not one a norm
        torch._foreach_copy_(kept, list(mean.split([len(one) for one in kept])))
