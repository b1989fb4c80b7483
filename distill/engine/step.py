"""One optimizer step of any method, over as many micro-batches and processes as there are.

BatchNorm's running statistics are kept independent of how a batch is divided.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.lr_scheduler import LRScheduler

from distill.data import Batch
from distill.engine.processes import exchange
from distill.method import Method, StepResult
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
        average: Follows the student's weights and statistics.
    """

    accelerator: Accelerator
    method: Method
    module: nn.Module
    teacher: DepthModel | None
    optimizer: AcceleratedOptimizer
    schedule: LRScheduler
    clip: float | None = None
    seed: int = 0
    average: ModelEmaV3 | None = None

    @cached_property
    def parts(self) -> list[list[nn.Parameter]]:
        """The weights of the student, and those of acclimation."""
        acclimation = self.method.acclimation()
        others = {id(parameter) for parameter in acclimation}
        return [[one for one in self.module.parameters() if id(one) not in others], acclimation]

    @cached_property
    def witnesses(self) -> list[nn.Parameter]:
        """The smallest parameter of each part that learns, see `testify`."""
        learning = [[one for one in part if one.requires_grad] for part in self.parts if part]
        return [min(part, key=torch.numel) for part in learning]


class Moved(NamedTuple):
    """Which weights a step has moved: each part only by a finite loss and gradient of its own."""

    student: bool
    acclimation: bool


class Counts(NamedTuple):
    """What the host counts in this process's micro-batches before a step, so that nobody has to ask a device.

    Attributes:
        measured: Of each, whether all its images have truth that the student can give.
        pixels: Of each, those that its loss over pixels is a mean of.
        total: The same of the whole step, over all processes.
    """

    measured: list[bool]
    pixels: list[float]
    total: float


def run_step(
    learner: Learner, micro_batches: list[Batch], step: int, counts: Counts | None = None
) -> tuple[dict[str, Tensor], Moved]:
    """Step number `step`: its values, each a mean over this process's micro-batches, and which weights moved.

    Losses over pixels are weighted by each micro-batch's share of the pixels that the step counts, losses over images
    by its share of images, so that neither accumulation nor the number of processes changes what is minimised.

    Args:
        counts: Of the micro-batches; by default they are counted here, and the other processes asked for theirs.
    """
    if counts is None:
        counts = count_pixels(learner, micro_batches)
        counts = counts._replace(total=exchange(learner.accelerator, [counts.total]).sum().item())
    statistics = Statistics(learner.module)
    try:
        values = descend(learner, micro_batches, counts, step, statistics)
    except Exception:  # the state is saved as it was before this step
        statistics.undo()
        learner.optimizer.zero_grad(set_to_none=True)
        raise
    norms, moved = move(learner)
    if moved.student:
        statistics.keep()
        if learner.average is not None:
            learner.average.update(learner.method.student, step + 1)
    else:  # no trace is left
        statistics.undo()
    values |= {"grad_norm": norms[0], "lr": torch.tensor(learner.schedule.get_last_lr()[0])}
    if len(norms) > 1:
        values["grad_norm_fam"] = norms[1]
    learner.optimizer.zero_grad(set_to_none=True)
    learner.schedule.step()
    return values, moved


def descend(
    learner: Learner, micro_batches: list[Batch], counts: Counts, step: int, statistics: Statistics
) -> dict[str, Tensor]:
    """Gradients of a step, and its values."""
    accelerator, method, module = learner.accelerator, learner.method, learner.module
    values: dict[str, Tensor] = {}
    for i, (batch, pixels, measured) in enumerate(zip(micro_batches, counts.pixels, counts.measured, strict=True)):
        share = pixels * accelerator.num_processes / max(counts.total, 1)  # gradients are averaged over processes
        seed_draws(learner.seed, step, i * accelerator.num_processes + accelerator.process_index)
        batch = batch.to(accelerator.device)
        batch = replace(batch, valid=method.limit(batch.depth, batch.valid))
        last = i == len(micro_batches) - 1
        with nullcontext() if last else accelerator.no_sync(module):
            with accelerator.autocast():
                known = batch.image, batch.valid, batch.depth, batch.label, batch.relative, batch.canonical
                guide = method.consult(learner.teacher, *known, measured)
                result = module(batch.image, batch.depth, batch.valid, guide, step)
            loss = (result.pixel_loss if result.ghost_loss is None else result.pixel_loss + result.ghost_loss) * share
            if result.image_loss is not None:
                loss = loss + result.image_loss / len(micro_batches)
            accelerator.backward(loss + testify(learner, result))
        if not last:
            statistics.next()
        for key, value in {"loss": result.loss.detach(), **result.logs}.items():
            values[key] = values.get(key, torch.zeros_like(value)) + value / len(micro_batches)
    return values


def testify(learner: Learner, result: StepResult) -> Tensor:
    """0, but its gradient is not finite in a part whose loss is not, whatever that loss's own gradient is.

    So gradients, of which every process has the same, say all that there is to know before weights move.
    """
    losses = [result.student_loss, *([] if result.ghost_loss is None else [result.ghost_loss])]
    terms = [0 * loss.detach() * one.sum() for loss, one in zip(losses, learner.witnesses, strict=False)]
    return torch.stack(terms).sum()


def move(learner: Learner) -> tuple[list[Tensor], Moved]:
    """Clip and step the student's weights and acclimation's, each where its own loss and gradient are finite.

    Returns:
        The norms of the gradients, of the student's and, where there is any, of acclimation's; and what has moved.
    """
    accelerator, parts = learner.accelerator, learner.parts
    accelerator.unscale_gradients()
    norms = [nn.utils.clip_grad_norm_(part, learner.clip or float("inf")) for part in parts if part]
    known = torch.stack([norm.to(accelerator.device) for norm in norms]).tolist()  # the only wait for the device
    broken = [not math.isfinite(norm) for norm in known]
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


def count_pixels(learner: Learner, micro_batches: list[Batch]) -> Counts:
    """Counts of micro-batches as the loader gives them, on the host; `total` is this process's own."""
    method, alone = learner.method, len(micro_batches) == 1 and learner.accelerator.num_processes == 1
    teacher = learner.teacher if method.explained_by(learner.teacher) else None
    measured, pixels = [], []
    for batch in micro_batches:
        valid = method.limit(batch.depth, batch.valid)
        measured.append(bool(valid.flatten(1).any(dim=1).all()))
        # Of the only micro-batch the share is whole, whatever it counts.
        pixels.append(1.0 if alone else float(method.counted(valid, *taught_pixels(teacher, batch))))
    return Counts(measured, pixels, sum(pixels))


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


def merge_statistics(accelerator: Accelerator, *modules: nn.Module | None) -> None:
    """Give BatchNorm, on every process, the mean of all processes' statistics.

    Each follows its own micro-batches while training. A running mean is linear in what it saw, so it does not matter
    when or how often this is done, also of their moving average.
    """
    kept = [one for module in modules if module is not None for one in running(module) if one.is_floating_point()]
    if accelerator.num_processes > 1 and kept:
        mean = accelerator.reduce(torch.cat(kept), "mean")  # one wait for the others, not one a norm
        torch._foreach_copy_(kept, list(mean.split([len(one) for one in kept])))
