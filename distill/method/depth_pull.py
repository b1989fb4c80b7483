"""What pulls a student towards a teacher's dense depth, by itself or beside the comparison of features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.method.guide import Guide, known_pixels, require_depth, without_worst
from distill.method.relative import gradient_matching
from distill.method.truth import TaskLoss


@dataclass(frozen=True)
class DepthPull:
    """The loss between the student's depth and the teacher's, and how alike their edges are.

        weight * task(d_s, d_t) + gradient_weight * gradient_matching(log d_s - log d_t)

    Attributes:
        weight: Of the task's own loss against the teacher.
        gradient_weight: Of gradient matching at four scales (MegaDepth, arXiv 1804.00607); 0.5 is usual.
        trim: Share of the teacher's pixels of each image, those that the student contradicts most, that do not count.
    """

    weight: float = 1.0
    gradient_weight: float = 0.0
    trim: float = 0.0

    def counting(self, pred: Tensor, guide: Guide) -> tuple[Guide, dict[str, Tensor]]:
        """The guide without the pixels that do not count, and what to log of it."""
        return without_worst(pred, guide, self.trim) if self.trim else (guide, {})

    def loss(self, pred: Tensor, guide: Guide, task_loss: TaskLoss) -> Tensor:
        """Scalar; pred is depth in metres, (B, 1, H, W), the guide's the teacher's."""
        taught, known = require_depth(guide), known_pixels(guide)
        loss = self.weight * task_loss(pred, taught, known)
        if not self.gradient_weight:
            return loss
        ours, theirs = (torch.where(known, one, 1.0).float().clamp(min=1e-3).log() for one in (pred, taught))
        return loss + self.gradient_weight * gradient_matching(ours - theirs, known)
