"""Methods that learn from depth alone: measured, the teacher's, or both (docs/sources.md, S3)."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.method.base import Method, StepResult
from distill.method.depth_pull import DepthPull
from distill.method.guide import Guide, fill_unlabelled, known_pixels, require_depth
from distill.method.health import describe_lost
from distill.method.losses import silog_loss
from distill.method.truth import TaskLoss
from teachers.model import DepthModel


class Supervised(Method):
    """No distillation: the task loss alone."""

    needs_teacher = False

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        """The task loss."""
        target, mask = fill_unlabelled(depth, valid, guide)
        pred = self.student(image)
        loss = self.task_loss(pred, target, mask)
        return StepResult(loss, logs={"task": loss.detach(), **self.target.describe(pred)})


class DepthDistillation(Method):
    """What both methods share that learn from the teacher's depth.

    Args:
        pull: What of it counts, and how much.
    """

    needs_depth = True

    def __init__(self, student: DepthModel, task_loss: TaskLoss = silog_loss, *, pull: DepthPull | None = None) -> None:
        super().__init__(student, task_loss)
        self.pull = pull or DepthPull()


class OutputDistillation(DepthDistillation):
    """Two terms: the task loss, and `DepthPull` towards the teacher's depth over every pixel."""

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        """The task loss and the teacher's."""
        pred = self.student(image)
        counting, logs = self.pull.counting(pred, guide)
        target, mask = fill_unlabelled(depth, valid, counting)
        task, kd = self.task_loss(pred, target, mask), self.pull.loss(pred, counting, self.task_loss)
        logs |= {"task": task.detach(), "kd": kd.detach(), **self.target.describe(pred)}
        logs |= describe_lost(require_depth(guide))
        return self.add_shapes(StepResult(task, kd, logs), pred, guide)


class FillDistillation(DepthDistillation):
    """One term: measured depth where there is any, the teacher's everywhere else."""

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        """The loss over every pixel."""
        pred, taught = self.student(image), require_depth(guide)
        counting, logs = self.pull.counting(pred, guide._replace(known=known_pixels(guide) & ~valid))
        target = torch.where(valid, depth, taught.to(depth.dtype))
        loss = self.task_loss(pred, target, valid | known_pixels(counting))
        logs |= {"task": loss.detach(), **self.target.describe(pred), **describe_lost(taught)}
        return self.add_shapes(StepResult(loss, logs=logs), pred, guide)

    def counted(self, valid: Tensor, metres: Tensor, relative: Tensor) -> Tensor:
        """All pixels that were measured or of which the teacher says anything: the others are filled."""
        return (valid | metres | relative).sum()
