"""Methods that learn from depth alone: measured, the teacher's, or both (docs/sources.md, S3)."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.method.base import DepthLoss, Guide, Method, StepResult, fill_unlabelled, known_pixels, require_depth
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


class OutputDistillation(Method):
    """Two terms: the task loss, and `weight` times the same loss against the teacher over every pixel."""

    needs_depth = True

    def __init__(self, student: DepthModel, task_loss: DepthLoss = silog_loss, *, weight: float = 1.0) -> None:
        super().__init__(student, task_loss)
        self.weight = weight

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        """The task loss and the teacher's."""
        target, mask = fill_unlabelled(depth, valid, guide)
        pred, taught = self.student(image), require_depth(guide)
        task = self.task_loss(pred, target, mask)
        kd = self.weight * self.task_loss(pred, taught, known_pixels(guide))
        logs = {"task": task.detach(), "kd": kd.detach(), **describe_depth(pred), **describe_lost(taught)}
        return self.add_shapes(StepResult(task, kd, logs), pred, guide)


class FillDistillation(Method):
    """One term: measured depth where there is any, the teacher's everywhere else."""

    needs_depth = True

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        """The loss over every pixel."""
        target, mask = fill_unlabelled(depth, valid, guide)
        pred, taught = self.student(image), require_depth(guide)
        filled = torch.where(mask, target, taught.to(target.dtype))
        loss = self.task_loss(pred, filled, mask | known_pixels(guide))
        logs = {"task": loss.detach(), **describe_depth(pred), **describe_lost(taught)}
        return self.add_shapes(StepResult(loss, logs=logs), pred, guide)

    def counted(self, valid: Tensor, taught: bool) -> Tensor:
        """All pixels: those that were not measured are filled."""
        return torch.tensor(valid.numel(), device=valid.device)
