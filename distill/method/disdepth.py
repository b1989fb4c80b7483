"""DisDepth (arXiv 2404.16386, sections 3.3 and 3.4): acclimated features, loss attention, and the ghost decoder.

The ghost is the student's decoder as constants: of this very step, or of a training that is over.
"""

from __future__ import annotations

from typing import NamedTuple, Unpack

import torch
from torch import Tensor, nn
from torch.func import functional_call

from distill.method.acclimation import FeatureAcclimation, LossAttention
from distill.method.base import StepResult, size_of
from distill.method.features import STRIDES, FeatureMethod, Pull
from distill.method.guide import Guide, fill_unlabelled, require_features
from distill.method.health import describe_attention, describe_lost, relative_change
from distill.method.losses import silog_loss
from distill.method.truth import TaskLoss
from teachers.model import DepthModel


def ghost_decode(student: DepthModel, features: list[Tensor], size: tuple[int, int]) -> Tensor:
    """Depth from `features` by the student's decoder, through which gradients pass but where none stay.

    Parameters are detached, not copied, so the ghost is the student at every step. Buffers are cloned: BatchNorm uses
    batch statistics while training, as the student does, but its running ones are the student's own.

    Args:
        student: The depth model whose decoder is meant.
        features: Four maps in the shape of the student's.
        size: (H, W) of the depth wanted.

    Returns:
        Depth in metres, (B, 1, H, W).
    """
    decoder = student.decoder
    constants = {name: parameter.detach() for name, parameter in decoder.named_parameters()}
    constants |= {name: buffer.clone() for name, buffer in decoder.named_buffers()}
    return functional_call(decoder, constants, (features, size))


class FixedGhost(nn.Module):
    """The decoder of a student that is already trained, as a ghost that stays what it is (DisDepth, section 3.3).

    Its BatchNorm uses the statistics of that training, so that acclimated maps must take on the scale of its features.

    Args:
        trained: The depth model whose decoder is meant.
    """

    def __init__(self, trained: DepthModel) -> None:
        super().__init__()
        self.decoder = trained.decoder
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> FixedGhost:
        """Eval mode stays."""
        return self

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Depth in metres, (B, 1, H, W), from four maps in the shape of the student's."""
        return self.decoder(features, size)


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
        figures = {"fam_change": relative_change(self.z, self.aligned)}
        if self.attention is not None:
            figures |= describe_attention(self.attention)
        return {f"{key}_{stride}": value for key, value in figures.items()}


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
        task_loss: TaskLoss = silog_loss,
        *,
        teacher_channels: tuple[int, ...],
        lam: bool = True,
        window: int = 8,
        ghost: FixedGhost | None = None,
        **pull: Unpack[Pull],
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
        lams = [None] * len(self.fam) if self.lam is None else list(self.lam)
        levels = []
        for fam, lam, t, f in zip(self.fam, lams, taught, features, strict=True):
            assert isinstance(fam, FeatureAcclimation)
            aligned = fam.align(t.detach(), size_of(f))
            z = fam.refine(aligned)
            attention, y = (None, z) if lam is None else lam(z)
            levels.append(Level(aligned, z, attention, y))
        return levels

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        """The three terms above, and figures that show whether FAM and LAM learn."""
        target, mask = fill_unlabelled(depth, valid, guide)
        logs: dict[str, Tensor] = {}
        maps, pulled = self.encode(image, logs)
        pred = self.student.decode(maps, size_of(image))
        levels = self.acclimate(require_features(guide), maps)
        ghost = self.decode_ghost(levels, size_of(image))
        task, ghost_task = self.task_loss(pred, target, mask), self.task_loss(ghost, target, mask)
        result = StepResult(task, logs=logs, ghost_loss=ghost_task)
        logs |= {"task": task.detach(), "ghost": ghost_task.detach(), **self.target.describe(pred)}
        for level, stride in zip(levels, STRIDES, strict=True):
            logs |= level.describe(stride)
        logs |= describe_lost(*(level.y for level in levels))
        if step >= self.warmup_steps:
            pairs = zip(pulled, levels, strict=True)
            kd = torch.stack([self.distance(f, level.z, level.attention) for f, level in pairs])
            if weight := self.pull(step):
                result.image_loss = weight * kd.sum()
            logs["kd"] = kd.detach().sum()
        return self.add_depth(result, pred, guide)

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
