"""What one training step of any method is: a plain function of a batch, a guide and the step's number.

A method is a module that owns the student and whatever else learns. It sees the teacher only as a `Guide`: tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from distill.method.conversion import shape_loss
from distill.method.guide import Guide, guide_of_labels, guide_of_relative, known_pixels
from distill.method.losses import silog_loss
from distill.method.truth import TaskLoss, target_of
from teachers.model import DepthModel, classes_of, is_relative, relative_inverse


@dataclass
class StepResult:
    """What a step gives.

    The student's loss is `pixel_loss` (a mean over valid pixels) plus `image_loss` (over images). From `ghost_loss`,
    over pixels like the first, nothing but `Method.acclimation` learns.
    """

    pixel_loss: Tensor
    image_loss: Tensor | None = None
    logs: dict[str, Tensor] = field(default_factory=dict)
    ghost_loss: Tensor | None = None

    @property
    def student_loss(self) -> Tensor:
        """What the student learns from."""
        return self.pixel_loss if self.image_loss is None else self.pixel_loss + self.image_loss

    @property
    def loss(self) -> Tensor:
        """The whole loss."""
        return self.student_loss if self.ghost_loss is None else self.student_loss + self.ghost_loss


def within(depth: Tensor, valid: Tensor, limits: tuple[float, float]) -> Tensor:
    """The valid pixels whose depth lies strictly between the limits."""
    return valid & (depth > limits[0]) & (depth < limits[1])


class Method(nn.Module):
    """What all methods share: a student, its task loss, and the range of truth it learns from.

    A step calls, in this order, `limit` on the truth of its batch, `counted` and `consult`, and then the method itself.

    Args:
        student: The depth model that is trained.
        task_loss: Loss of (pred, target, valid), each (B, 1, H, W), where the student gives depth.
    """

    student: DepthModel
    needs_features = False
    needs_depth = False
    needs_teacher = True

    def __init__(self, student: DepthModel, task_loss: TaskLoss = silog_loss) -> None:
        super().__init__()
        self.student = student
        self.target = target_of(student)
        self.task_loss = self.target.loss(task_loss)
        self.limits = self.target.limits

    def explained_by(self, teacher: object) -> bool:
        """Whether a teacher's output can stand in the truth's place: both give depth, or the same classes."""
        return classes_of(teacher) == classes_of(self.student)

    def limit(self, depth: Tensor, valid: Tensor) -> Tensor:
        """The valid pixels, bool (B, 1, H, W), whose depth the student can give."""
        return within(depth, valid, self.limits)

    def counted(self, valid: Tensor, metres: Tensor, relative: Tensor) -> Tensor:
        """Pixels of a batch that `pixel_loss` is a mean over: the valid ones, of an image without any the taught ones.

        Args:
            metres: Pixels whose depth the teacher gives in metres, bool, as `valid` (B, 1, H, W) is.
            relative: Pixels whose inverse depth it gives up to scale and shift.
        """
        per_image, taught = (mask.flatten(1).sum(dim=1) for mask in (valid, metres))
        return torch.where(per_image > 0, per_image, taught).sum()

    @torch.no_grad()
    def consult(
        self,
        teacher: DepthModel | None,
        image: Tensor,
        valid: Tensor,
        truth: Tensor | None = None,
        label: Tensor | None = None,
        relative: Tensor | None = None,
        canonical: Tensor | None = None,
        measured: bool | None = None,
    ) -> Guide:
        """Ask the teacher for what this method needs of a batch, and for depth where an image has no truth of its own.

        Of a teacher whose output is of another kind than the student's, only maps are taken.
        Depth is clamped to the student's limits: beyond them the student could not follow, and the log of 0 waits.
        A relative teacher's is brought to metres by the `truth` (B, 1, H, W) of each image, where that is enough.
        That of one in metres is multiplied by `canonical`, (B,), as the truth was.
        Where a teacher has written its `label` of each image, (B, 1, H, W), nobody is asked; see `guide_of_labels`.
        `measured` says whether each image has a valid pixel, for which a device would have to be asked and waited for.
        """
        truth = torch.zeros_like(valid, dtype=image.dtype) if truth is None else truth
        if label is not None:
            return guide_of_labels(label, relative, truth, valid, self.limits)
        if teacher is None:
            return Guide()
        measured = bool(valid.flatten(1).any(dim=1).all()) if measured is None else measured
        wants_depth = (self.needs_depth or not measured) and self.explained_by(teacher)
        if not (self.needs_features or wants_depth):
            return Guide()
        features = teacher.encode(image)
        guide = Guide(features if self.needs_features else None)
        if not wants_depth:
            return guide
        depth = teacher.decode(features, size_of(image))
        if not is_relative(teacher):
            depth = depth if canonical is None else depth * canonical.to(depth.dtype).view(-1, 1, 1, 1)
            return guide._replace(depth=self.target.take(depth))
        made = guide_of_relative(relative_inverse(teacher, depth), truth, valid, self.limits)
        return made._replace(features=guide.features)

    def add_shapes(self, result: StepResult, pred: Tensor, guide: Guide) -> StepResult:
        """Add what a relative teacher says beside metres: the shapes of images without truth."""
        if guide.relative is None or guide.shape_only is None:
            return result
        taught = guide.shape_only | known_pixels(guide).flatten(1).any(dim=1)
        dropped = ~taught & guide.relative.isfinite().flatten(1).any(dim=1)
        result.logs["guides_dropped"] = dropped.float().mean()
        shape = shape_loss(pred, guide.relative, guide.shape_only)
        result.image_loss = shape if result.image_loss is None else result.image_loss + shape
        return result

    def forward(self, image: Tensor, depth: Tensor, valid: Tensor, guide: Guide, step: int) -> StepResult:
        """One step's losses for image (B, 3, H, W) in [0, 1], depth and valid (B, 1, H, W), limited already.

        Raises:
            ValueError: If the guide lacks what the method needs.
        """
        raise NotImplementedError

    def acclimation(self) -> list[nn.Parameter]:
        """What brings the teacher's maps into the student's shape, and may learn at a rate of its own."""
        return []

    @torch.no_grad()
    def explain(self, image: Tensor, guide: Guide) -> dict[str, Tensor]:
        """Maps to look at, each (B, 1, ...): the student's depth, and what else the method computes on the way."""
        return {"student": self.student(image)}


def size_of(image: Tensor) -> tuple[int, int]:
    """(H, W) of a batch."""
    return image.shape[-2], image.shape[-1]


def consult(teacher: DepthModel | None, method: Method, image: Tensor, valid: Tensor) -> Guide:
    """`Method.consult`, by the name that 0.1.0 had for it."""
    return method.consult(teacher, image, valid)
