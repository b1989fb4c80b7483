"""Methods that learn from depth alone: measured, the teacher's, or both (docs/sources.md, S3)."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.method.base import DepthLoss, Method, StepResult
from distill.method.guide import Guide, fill_unlabelled, known_pixels, require_depth, without_worst
from distill.method.health import describe_depth, describe_lost
from distill.method.losses import silog_loss
from teachers.model import DepthModel


class Supervised(Method):
    """No distillation: the task loss alone."""

    needs_teacher = False

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        """The task loss."""
        target, mask = fill_unlabelled(depth, valid, guide)
        pred = self.student(image)
        loss = self.task_loss(pred, target, mask)
        return StepResult(loss, logs={"task": loss.detach(), **describe_depth(pred)})


class DepthDistillation(Method):
    """What both methods share that learn from the teacher's depth.

    Args:
        trim: Share of the teacher's pixels of each image, those that the student contradicts most, that do not count.
    """

    needs_depth = True

    def __init__(self, student: DepthModel, task_loss: DepthLoss = silog_loss, *, trim: float = 0.0) -> None:
        super().__init__(student, task_loss)
        self.trim = trim

    def trimmed(self, pred: Tensor, guide: Guide) -> tuple[Guide, dict[str, Tensor]]:
        """The guide that counts, and what to log of it."""
        return without_worst(pred, guide, self.trim) if self.trim else (guide, {})


class OutputDistillation(DepthDistillation):
    """Two terms: the task loss, and `weight` times the same loss against the teacher over every pixel."""

    def __init__(
        self, student: DepthModel, task_loss: DepthLoss = silog_loss, *, weight: float = 1.0, trim: float = 0.0
    ) -> None:
        super().__init__(student, task_loss, trim=trim)
        self.weight = weight

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        """The task loss and the teacher's."""
        pred, taught = self.student(image), require_depth(guide)
        counting, logs = self.trimmed(pred, guide)
        target, mask = fill_unlabelled(depth, valid, counting)
        task = self.task_loss(pred, target, mask)
        kd = self.weight * self.task_loss(pred, taught, known_pixels(counting))
        logs |= {"task": task.detach(), "kd": kd.detach(), **describe_depth(pred), **describe_lost(taught)}
        return self.add_shapes(StepResult(task, kd, logs), pred, guide)


class FillDistillation(DepthDistillation):
    """One term: measured depth where there is any, the teacher's everywhere else."""

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        """The loss over every pixel."""
        pred, taught = self.student(image), require_depth(guide)
        counting, logs = self.trimmed(pred, guide._replace(known=known_pixels(guide) & ~valid))
        target = torch.where(valid, depth, taught.to(depth.dtype))
        loss = self.task_loss(pred, target, valid | known_pixels(counting))
        logs |= {"task": loss.detach(), **describe_depth(pred), **describe_lost(taught)}
        return self.add_shapes(StepResult(loss, logs=logs), pred, guide)

    def counted(self, valid: Tensor, metres: Tensor, relative: Tensor) -> Tensor:
        """All pixels that were measured or of which the teacher says anything: the others are filled."""
        return (valid | metres | relative).sum()
