"""Classical feature distillation, and what all methods share that learn from the teacher's maps."""

from __future__ import annotations

from typing import TypedDict, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.method.base import Method, StepResult, size_of
from distill.method.depth_pull import DepthPull
from distill.method.guide import Guide, fill_unlabelled, require_features
from distill.method.health import GradientProbe, describe_lost
from distill.method.losses import attentive_kd_loss, silog_loss
from distill.method.truth import TaskLoss
from teachers.model import DepthModel

STRIDES = (4, 8, 16, 32)


class Pull(TypedDict, total=False):
    """What `FeatureMethod` takes beside a student and its task loss."""

    kd_weight: float
    kd_normalise: bool
    warmup_steps: int
    depth_pull: DepthPull | None


class FeatureMethod(Method):
    """What methods on feature maps share: when the student is pulled towards the teacher's maps, and how hard.

    Args:
        kd_weight: lambda_kd.
        kd_normalise: Compare standardised maps; see `attentive_kd_loss`.
        warmup_steps: Steps before the student is pulled.
        depth_pull: Pull it towards the teacher's depth as well, from the first step.
    """

    needs_features = True

    def __init__(
        self,
        student: DepthModel,
        task_loss: TaskLoss = silog_loss,
        *,
        kd_weight: float = 0.05,
        kd_normalise: bool = False,
        warmup_steps: int = 0,
        depth_pull: DepthPull | None = None,
    ) -> None:
        super().__init__(student, task_loss)
        self.kd_weight, self.kd_normalise, self.warmup_steps = kd_weight, kd_normalise, warmup_steps
        self.depth_pull, self.needs_depth = depth_pull, depth_pull is not None

    def pull(self, step: int) -> float:
        """lambda_kd at a step: 0 while warming up."""
        return self.kd_weight if step >= self.warmup_steps else 0.0

    def add_depth(self, result: StepResult, pred: Tensor, guide: Guide) -> StepResult:
        """Add what the teacher's depth says: metres where it is to teach them, and what `add_shapes` adds."""
        if self.depth_pull is not None:
            counting, logs = self.depth_pull.counting(pred, guide)
            loss = self.depth_pull.loss(pred, counting, self.task_loss)
            result.logs |= {"kd_depth": loss.detach(), **logs}
            result.image_loss = loss if result.image_loss is None else result.image_loss + loss
        return self.add_shapes(result, pred, guide)

    def encode(self, image: Tensor, logs: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The student's four maps, once for the task and once for distillation, whose gradients `logs` will compare."""
        probe = GradientProbe(logs)
        pairs = [probe.split(x, str(stride)) for x, stride in zip(self.student.encode(image), STRIDES, strict=True)]
        return [task for task, _ in pairs], [kd for _, kd in pairs]

    def distance(self, mine: Tensor, theirs: Tensor, attention: Tensor | None = None) -> Tensor:
        """`attentive_kd_loss`, but 0 where a map of the teacher's is not finite: the student goes on without it."""
        whole = theirs.isfinite().all() & (True if attention is None else attention.isfinite().all())
        theirs = torch.where(whole, theirs, mine.detach())
        attention = None if attention is None else torch.where(whole, attention, 1)
        return attentive_kd_loss(mine, theirs, attention, normalise=self.kd_normalise)


class FeatureDistillation(FeatureMethod):
    """Classical feature distillation: the student's maps, projected by 1x1 convolutions, approach the teacher's."""

    def __init__(
        self,
        student: DepthModel,
        task_loss: TaskLoss = silog_loss,
        *,
        teacher_channels: tuple[int, ...],
        **pull: Unpack[Pull],
    ) -> None:
        super().__init__(student, task_loss, **pull)
        pairs = zip(student.feature_channels, teacher_channels, strict=True)
        self.projections = nn.ModuleList(nn.Conv2d(mine, theirs, 1) for mine, theirs in pairs)

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        """The task loss, and the distance of projected maps while the student is pulled."""
        target, mask = fill_unlabelled(depth, valid, guide)
        logs: dict[str, Tensor] = {}
        maps, pulled = self.encode(image, logs)
        pred = self.student.decode(maps, size_of(image))
        task, kd = self.task_loss(pred, target, mask), pred.new_zeros(())
        for project, mine, theirs in zip(self.projections, pulled, require_features(guide), strict=True):
            mine = F.interpolate(project(mine), size=theirs.shape[-2:], mode="bilinear", align_corners=False)
            kd = kd + self.distance(mine, theirs)
        logs |= {"task": task.detach(), "kd": kd.detach(), **self.target.describe(pred)}
        logs |= describe_lost(*require_features(guide))
        weight = self.pull(step)
        # While warming up every process must use every parameter, and a map that is not finite must not matter.
        pull = weight * kd if weight else 0 * nn.utils.parameters_to_vector(self.projections.parameters()).sum()
        return self.add_depth(StepResult(task, pull, logs), pred, guide)
