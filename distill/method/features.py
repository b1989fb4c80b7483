"""Methods that learn from the teacher's maps: classical feature distillation, and DisDepth's (sections 3.3 and 3.4)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.method.acclimation import FeatureAcclimation
from distill.method.attention import LossAttention
from distill.method.base import (
    DepthLoss,
    Guide,
    Method,
    StepResult,
    fill_unlabelled,
    require_features,
    size_of,
)
from distill.method.ghost import FixedGhost, ghost_decode
from distill.method.health import GradientProbe, describe_attention, describe_depth, relative_change
from distill.method.losses import attentive_kd_loss, silog_loss
from teachers.model import DepthModel

STRIDES = (4, 8, 16, 32)


class FeatureMethod(Method):
    """What methods on feature maps share: when the student is pulled towards the teacher's maps, and how hard.

    Args:
        kd_weight: lambda_kd.
        kd_normalise: Compare standardised maps; see `attentive_kd_loss`.
        warmup_steps: Steps before the student is pulled.
    """

    needs_features = True

    def __init__(
        self,
        student: DepthModel,
        task_loss: DepthLoss = silog_loss,
        *,
        kd_weight: float = 0.05,
        kd_normalise: bool = False,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__(student, task_loss)
        self.kd_weight, self.kd_normalise, self.warmup_steps = kd_weight, kd_normalise, warmup_steps

    def pull(self, step: int) -> float:
        """lambda_kd at a step: 0 while warming up."""
        return self.kd_weight if step >= self.warmup_steps else 0.0

    def encode(self, image: Tensor, logs: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The student's four maps, once for the task and once for distillation, whose gradients `logs` will compare."""
        probe = GradientProbe(logs)
        pairs = [probe.split(x, str(stride)) for x, stride in zip(self.student.encode(image), STRIDES, strict=True)]
        return [task for task, _ in pairs], [kd for _, kd in pairs]


class FeatureDistillation(FeatureMethod):
    """Classical feature distillation: the student's maps, projected by 1x1 convolutions, approach the teacher's."""

    def __init__(
        self,
        student: DepthModel,
        task_loss: DepthLoss = silog_loss,
        *,
        teacher_channels: tuple[int, ...],
        **pull: Any,
    ) -> None:
        super().__init__(student, task_loss, **pull)
        pairs = zip(student.feature_channels, teacher_channels, strict=True)
        self.projections = nn.ModuleList(nn.Conv2d(mine, theirs, 1) for mine, theirs in pairs)

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        target, mask = fill_unlabelled(depth, valid, guide)
        logs: dict[str, Tensor] = {}
        maps, pulled = self.encode(image, logs)
        pred = self.student.decode(maps, size_of(image))
        task, kd = self.task_loss(pred, target, mask), pred.new_zeros(())
        for project, mine, theirs in zip(self.projections, pulled, require_features(guide), strict=True):
            mine = F.interpolate(project(mine), size=theirs.shape[-2:], mode="bilinear", align_corners=False)
            kd = kd + attentive_kd_loss(mine, theirs, normalise=self.kd_normalise)
        logs |= {"task": task.detach(), "kd": kd.detach(), **describe_depth(pred)}
        weight = self.pull(step)
        # While warming up every process must use every parameter, and a map that is not finite must not matter.
        pull = weight * kd if weight else 0 * nn.utils.parameters_to_vector(self.projections.parameters()).sum()
        return StepResult(task, pull, logs)


class Level(NamedTuple):
    """One level of the teacher on its way to the student, (B, C, H, W) in the student's shape.

    `aligned` is projected and resized, `z` acclimated, `attention` the importance A (B, 1, H, W) of its positions, None
    where all count alike, `y` = A * Z what the ghost decodes.
    """

    aligned: Tensor
    z: Tensor
    attention: Tensor | None
    y: Tensor

    def describe(self, stride: int) -> dict[str, Tensor]:
        """Numbers to log."""
        said = {"fam_change": relative_change(self.z, self.aligned)}
        if self.attention is not None:
            said |= describe_attention(self.attention)
        return {f"{key}_{stride}": value for key, value in said.items()}


class DisDepth(FeatureMethod):
    """Attentive distillation from acclimated features.

        F = student.encode(x), d_s = decode(F)          Z_i = FAM_i(T_i), A_i, Y_i = LAM_i(Z_i), d_g = ghost(Y)
        L = task(d_s, d*) + task(d_g, d*) + kd_weight * [step >= warmup] * sum_i mean || A_i (Z_i - F_i) ||^2

    The first term trains the student, the second only FAM and LAM (from the first step), the third only the student's
    encoder.

    Args:
        teacher_channels: Channels of the teacher's four maps.
        lam: Weigh positions by LAM; without it A = 1.
        window: Side of the attention windows at strides 4 and 8.
        ghost: What decodes the teacher's maps; by default the student's decoder of this very step.
        pull: Options of `FeatureMethod`.
    """

    def __init__(
        self,
        student: DepthModel,
        task_loss: DepthLoss = silog_loss,
        *,
        teacher_channels: tuple[int, ...],
        lam: bool = True,
        window: int = 8,
        ghost: FixedGhost | None = None,
        **pull: Any,
    ) -> None:
        super().__init__(student, task_loss, **pull)
        channels = student.feature_channels
        windows = (window, window, None, None)
        self.fam = nn.ModuleList(
            FeatureAcclimation(theirs, mine, window=side)
            for theirs, mine, side in zip(teacher_channels, channels, windows, strict=True)
        )
        self.lam = nn.ModuleList(LossAttention(mine) for mine in channels) if lam else None
        self.ghost = ghost

    def acclimation(self) -> list[nn.Parameter]:
        """The weights of FAM and LAM."""
        return [*self.fam.parameters(), *(() if self.lam is None else self.lam.parameters())]

    def decode_ghost(self, levels: list[Level], size: tuple[int, int]) -> Tensor:
        """The teacher's depth by way of the student's decoder, (B, 1, H, W) in metres."""
        features = [level.y for level in levels]
        return ghost_decode(self.student, features, size) if self.ghost is None else self.ghost(features, size)

    def acclimate(self, taught: list[Tensor], features: list[Tensor]) -> list[Level]:
        """The teacher's maps in the shape of the student's (of which only the sizes matter)."""
        fams: list[Any] = list(self.fam)
        lams = [None] * len(fams) if self.lam is None else list(self.lam)
        levels = []
        for fam, lam, t, f in zip(fams, lams, taught, features, strict=True):
            aligned = fam.align(t.detach(), f.shape[-2:])
            z = fam.refine(aligned)
            attention, y = (None, z) if lam is None else lam(z)
            levels.append(Level(aligned, z, attention, y))
        return levels

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        target, mask = fill_unlabelled(depth, valid, guide)
        logs: dict[str, Tensor] = {}
        maps, pulled = self.encode(image, logs)
        pred = self.student.decode(maps, size_of(image))
        levels = self.acclimate(require_features(guide), maps)
        ghost = self.decode_ghost(levels, size_of(image))
        task, ghost_task = self.task_loss(pred, target, mask), self.task_loss(ghost, target, mask)
        result = StepResult(task + ghost_task, logs=logs)
        logs |= {"task": task.detach(), "ghost": ghost_task.detach(), **describe_depth(pred)}
        for level, stride in zip(levels, STRIDES, strict=True):
            logs |= level.describe(stride)
        if step >= self.warmup_steps:
            pairs = zip(pulled, levels, strict=True)
            kd = torch.stack([attentive_kd_loss(f, z.z, z.attention, normalise=self.kd_normalise) for f, z in pairs])
            if weight := self.pull(step):
                result.image_loss = weight * kd.sum()
            logs["kd"] = kd.detach().sum()
        return result

    @torch.no_grad()
    def explain(self, image: Tensor, guide: Guide) -> dict[str, Tensor]:
        """The student's depth, the ghost's, and the importance of positions at stride 8."""
        features = self.student.encode(image)
        levels = self.acclimate(require_features(guide), features)
        maps = {
            "student": self.student.decode(features, size_of(image)),
            "ghost": self.decode_ghost(levels, size_of(image)),
        }
        return maps if levels[1].attention is None else maps | {"attention": levels[1].attention}
