"""What a student learns at a pixel, metres or a class: which truth counts, and what a teacher's output is worth as one.

Truth and valid pixels are (B, 1, H, W) of either kind. Classes are numbered from 1, as 0 is nowhere a measurement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from distill.method.health import describe_classes, describe_depth
from distill.method.losses import class_loss
from teachers.model import DepthModel, Output, classes_of, output_of

TaskLoss = Callable[[Tensor, Tensor, Tensor], Tensor]  # of (pred, target, valid)


class PixelTarget(Protocol):
    """What all kinds have."""

    @property
    def limits(self) -> tuple[float, float]:
        """Least and largest value; what lies strictly between them counts."""
        ...

    def loss(self, of_depth: TaskLoss) -> TaskLoss:
        """The task's loss; that of metres is chosen."""
        ...

    def take(self, output: Tensor) -> Tensor:
        """The output of a teacher of the same kind as truth, (B, 1, H, W)."""
        ...

    def describe(self, pred: Tensor) -> dict[str, Tensor]:
        """What to log of a student's output."""
        ...


@dataclass(frozen=True)
class DepthTarget:
    """Metres, within what the student can give: beyond, it could not follow a teacher, and the log of 0 waits."""

    limits: tuple[float, float]

    def loss(self, of_depth: TaskLoss) -> TaskLoss:
        """The chosen one."""
        return of_depth

    def take(self, output: Tensor) -> Tensor:
        """Depth (B, 1, H, W), clamped to the limits."""
        return output.clamp(*self.limits)

    def describe(self, pred: Tensor) -> dict[str, Tensor]:
        """How much the depth of an image varies."""
        return describe_depth(pred)


@dataclass(frozen=True)
class ClassTarget:
    """The number of a class, from 1 to so many."""

    classes: int

    @property
    def limits(self) -> tuple[float, float]:
        """Those of the numbers."""
        return 0.0, self.classes + 1.0

    def loss(self, of_depth: TaskLoss) -> TaskLoss:
        """Cross-entropy, with that of the auxiliary head."""
        return partial(class_loss, classes=self.classes)

    def take(self, output: Tensor) -> Tensor:
        """Logits (B, classes, H, W) as the number of the likeliest; NaN where they are not finite."""
        number = output.argmax(dim=1, keepdim=True) + 1.0
        return torch.where(output.isfinite().all(dim=1, keepdim=True), number, torch.nan)

    def describe(self, pred: Tensor) -> dict[str, Tensor]:
        """How much the classes of an image vary; of an auxiliary head's logits, which may follow, nothing."""
        return describe_classes(pred[:, : self.classes])


def depth_target(student: DepthModel) -> DepthTarget:
    """Within the student's limits; without them any depth that a sensor could have measured."""
    low, high = student.min_depth, student.max_depth
    return DepthTarget((1e-3 if low is None else float(low), float("inf") if high is None else float(high)))


TARGETS: dict[Output, Callable[[DepthModel], PixelTarget]] = {
    "metric": depth_target,
    "relative": depth_target,
    "classes": lambda student: ClassTarget(len(classes_of(student))),
}


def target_of(student: DepthModel) -> PixelTarget:
    """What a student learns, by what it says of its output."""
    return TARGETS[output_of(student)](student)
