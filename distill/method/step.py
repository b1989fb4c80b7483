"""One training step of every method, as plain functions of a batch and the step's number (DisDepth, sections 3.3, 3.4).

A method is a module that owns the student and whatever else learns. It sees the teacher only as a `Guide`: tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.method.acclimation import FeatureAcclimation
from distill.method.attention import LossAttention, normalised_entropy
from distill.method.ghost import ghost_decode
from distill.method.losses import attentive_kd_loss, silog_loss

DepthLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Guide(NamedTuple):
    """What the teacher says of a batch: four maps where features are wanted, depth (B, 1, H, W) where depth is."""

    features: list[Tensor] | None = None
    depth: Tensor | None = None


@dataclass
class StepResult:
    """What a step gives. The whole loss is `pixel_loss` (a mean over valid pixels) plus `image_loss` (over images)."""

    pixel_loss: Tensor
    image_loss: Tensor | None = None
    logs: dict[str, Tensor] = field(default_factory=dict)

    @property
    def loss(self) -> Tensor:
        return self.pixel_loss if self.image_loss is None else self.pixel_loss + self.image_loss


@torch.no_grad()
def consult(teacher: Any, method: Method, image: Tensor, valid: Tensor) -> Guide:
    """Ask the teacher for what a method needs of this batch, and for depth where an image has no truth of its own."""
    if teacher is None:
        return Guide()
    wants_depth = method.needs_depth or not bool(valid.flatten(1).any(dim=1).all())
    if not (method.needs_features or wants_depth):
        return Guide()
    features = teacher.encode(image)
    depth = None
    if wants_depth:  # within the student's limits, beyond which it could not follow and the log of 0 waits
        depth = teacher.decode(features, size_of(image)).clamp(*method.limits)
    return Guide(features if method.needs_features else None, depth)


def within(depth: Tensor, valid: Tensor, limits: tuple[float, float]) -> Tensor:
    """The valid pixels whose depth lies strictly between the limits."""
    return valid & (depth > limits[0]) & (depth < limits[1])


def usable_truth(depth: Tensor, valid: Tensor, guide: Guide, limits: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Target and mask of a batch: measured depth strictly within `limits`; the teacher's where an image has none."""
    valid = within(depth, valid, limits)
    if guide.depth is None:
        return depth, valid
    labelled = valid.flatten(1).any(dim=1).view(-1, 1, 1, 1)
    return torch.where(labelled, depth, guide.depth.to(depth.dtype)), valid | ~labelled


class Method(nn.Module):
    """What all methods share: a student, its task loss, and the range of truth it learns from.

    Args:
        student: A depth model with `encode`, `decode`, `decoder`, `feature_channels`, `min_depth`, `max_depth`.
        task_loss: Loss of (pred, target, valid), each (B, 1, H, W).
    """

    student: Any  # a depth model; PyTorch's own annotations know no methods of a submodule
    needs_features = False
    needs_depth = False
    needs_teacher = True

    def __init__(self, student: Any, task_loss: DepthLoss = silog_loss) -> None:
        super().__init__()
        self.student = student
        self.task_loss = task_loss
        low, high = student.min_depth, student.max_depth
        self.limits = (1e-3 if low is None else float(low), float("inf") if high is None else float(high))

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        """One step's losses for image (B, 3, H, W) in [0, 1], depth and valid (B, 1, H, W).

        Raises:
            ValueError: If the guide lacks what the method needs.
        """
        raise NotImplementedError

    @torch.no_grad()
    def explain(self, image: Tensor, guide: Guide) -> dict[str, Tensor]:
        """Maps to look at, each (B, 1, ...): the student's depth, and what else the method computes on the way."""
        return {"student": self.student(image)}


class Supervised(Method):
    """No distillation: the task loss alone."""

    needs_teacher = False

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        target, mask = usable_truth(depth, valid, guide, self.limits)
        pred = self.student(image)
        loss = self.task_loss(pred, target, mask)
        return StepResult(loss, logs={"task": loss.detach()})


class OutputDistillation(Method):
    """Two terms (the report): the task loss, and `weight` times the same loss against the teacher over every pixel."""

    needs_depth = True

    def __init__(self, student: Any, task_loss: DepthLoss = silog_loss, *, weight: float = 1.0) -> None:
        super().__init__(student, task_loss)
        self.weight = weight

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        target, mask = usable_truth(depth, valid, guide, self.limits)
        pred, taught = self.student(image), require_depth(guide)
        task = self.task_loss(pred, target, mask)
        kd = self.weight * self.task_loss(pred, taught, torch.ones_like(mask))
        logs = {"task": task.detach(), "kd": kd.detach()}
        return StepResult(task, kd, logs)


class FillDistillation(Method):
    """One term (the report): measured depth where there is any, the teacher's everywhere else."""

    needs_depth = True

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        target, mask = usable_truth(depth, valid, guide, self.limits)
        pred, taught = self.student(image), require_depth(guide)
        loss = self.task_loss(pred, torch.where(mask, target, taught.to(target.dtype)), torch.ones_like(mask))
        return StepResult(loss, logs={"task": loss.detach()})


class FeatureDistillation(Method):
    """Classical feature distillation: the student's maps, projected by 1x1 convolutions, approach the teacher's."""

    needs_features = True

    def __init__(
        self,
        student: Any,
        task_loss: DepthLoss = silog_loss,
        *,
        teacher_channels: tuple[int, ...],
        kd_weight: float = 0.05,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__(student, task_loss)
        pairs = zip(channels_of(student), teacher_channels, strict=True)
        self.projections = nn.ModuleList(nn.Conv2d(mine, theirs, 1) for mine, theirs in pairs)
        self.kd_weight, self.warmup_steps = kd_weight, warmup_steps

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        target, mask = usable_truth(depth, valid, guide, self.limits)
        features = self.student.encode(image)
        pred = self.student.decode(features, size_of(image))
        task, kd = self.task_loss(pred, target, mask), pred.new_zeros(())
        for project, mine, theirs in zip(self.projections, features, require_features(guide), strict=True):
            mine = F.interpolate(project(mine), size=theirs.shape[-2:], mode="bilinear", align_corners=False)
            kd = kd + attentive_kd_loss(mine, theirs)
        # Weighted by 0 rather than skipped while warming up: every process must use every parameter.
        weight = self.kd_weight if step >= self.warmup_steps else 0.0
        return StepResult(task, weight * kd, {"task": task.detach(), "kd": kd.detach()})


class DisDepth(Method):
    """Attentive distillation from acclimated features.

        F = student.encode(x), d_s = decode(F)          Z_i = FAM_i(T_i), A_i, Y_i = LAM_i(Z_i), d_g = ghost(Y)
        L = task(d_s, d*) + task(d_g, d*) + kd_weight * [step >= warmup] * sum_i mean || A_i (Z_i - F_i) ||^2

    The first term trains the student, the second only FAM and LAM, the third only the student's encoder.

    Args:
        teacher_channels: Channels of the teacher's four maps.
        kd_weight: lambda_kd.
        warmup_steps: Steps before the student is pulled towards the teacher; FAM and LAM learn from the first.
        lam: Weigh positions by LAM; without it A = 1.
        window: Side of the attention windows at strides 4 and 8.
    """

    needs_features = True

    def __init__(
        self,
        student: Any,
        task_loss: DepthLoss = silog_loss,
        *,
        teacher_channels: tuple[int, ...],
        kd_weight: float = 0.05,
        warmup_steps: int = 0,
        lam: bool = True,
        window: int = 8,
    ) -> None:
        super().__init__(student, task_loss)
        channels = channels_of(student)
        windows = (window, window, None, None)
        self.fam = nn.ModuleList(
            FeatureAcclimation(theirs, mine, window=side)
            for theirs, mine, side in zip(teacher_channels, channels, windows, strict=True)
        )
        self.lam = nn.ModuleList(LossAttention(mine) for mine in channels) if lam else None
        self.kd_weight, self.warmup_steps = kd_weight, warmup_steps

    def acclimate(
        self, taught: list[Tensor], features: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor | None], list[Tensor]]:
        """Z, A and Y of each level, for the teacher's maps and the student's (of which only the sizes matter)."""
        z = [fam(t.detach(), f.shape[-2:]) for fam, t, f in zip(self.fam, taught, features, strict=True)]
        if self.lam is None:
            return z, [None] * len(z), z
        pairs = [lam(level) for lam, level in zip(self.lam, z, strict=True)]
        return z, [a for a, _ in pairs], [y for _, y in pairs]

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        target, mask = usable_truth(depth, valid, guide, self.limits)
        features = self.student.encode(image)
        pred = self.student.decode(features, size_of(image))
        z, attention, weighted = self.acclimate(require_features(guide), features)
        ghost = ghost_decode(self.student, weighted, size_of(image))
        task, ghost_task = self.task_loss(pred, target, mask), self.task_loss(ghost, target, mask)
        result = StepResult(task + ghost_task, logs={"task": task.detach(), "ghost": ghost_task.detach()})
        if step >= self.warmup_steps:
            kd = torch.stack([attentive_kd_loss(*level) for level in zip(features, z, attention, strict=True)]).sum()
            result.image_loss = self.kd_weight * kd
            result.logs["kd"] = kd.detach()
        levels = [a.detach() for a in attention if a is not None]
        result.logs |= {f"lam_entropy_{4 << i}": normalised_entropy(a) for i, a in enumerate(levels)}
        return result

    @torch.no_grad()
    def explain(self, image: Tensor, guide: Guide) -> dict[str, Tensor]:
        """The student's depth, the ghost's, and the importance of positions at stride 8."""
        features = self.student.encode(image)
        depth = self.student.decode(features, size_of(image))
        _, attention, weighted = self.acclimate(require_features(guide), features)
        maps = {"student": depth, "ghost": ghost_decode(self.student, weighted, size_of(image))}
        return maps if attention[1] is None else maps | {"attention": attention[1]}


METHODS: dict[str, type[Method]] = {
    "supervised": Supervised,
    "output": OutputDistillation,
    "fill": FillDistillation,
    "feature": FeatureDistillation,
    "disdepth": DisDepth,
}


def channels_of(student: Any) -> tuple[int, ...]:
    return tuple(student.feature_channels)


def size_of(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]


def require_features(guide: Guide) -> list[Tensor]:
    if guide.features is None:
        raise ValueError("this method compares features and needs the teacher's four maps in its guide")
    return guide.features


def require_depth(guide: Guide) -> Tensor:
    if guide.depth is None:
        raise ValueError("this method compares depth and needs the teacher's depth in its guide")
    return guide.depth
