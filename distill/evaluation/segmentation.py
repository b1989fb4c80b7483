"""How good classes are: what was taken for what, pixel by pixel, and the figures of it."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from distill.evaluation.origin import Origin
from distill.evaluation.protocols import Protocol, unknown
from distill.evaluation.results import SEGMENTED
from distill.evaluation.scores import Size

CHANCE = 0.2  # of an image's pixels that may agree though the classes are off by one

Matrix = NDArray[np.int64]

RULES = (
    "mIoU and pixel accuracy over the pixels of all images; unlabelled pixels leave truth and prediction; classes that "
    "are in neither are left out of the mean; logits at the size of the truth, bicubic"
)
TTA_RULES = {  # what each kind of TTA adds
    "none": "",
    "flip": "; TTA flip: probabilities, their mean with the mirrored image's, in the place of logits",
}


def confusion(pred: np.ndarray, truth: np.ndarray, classes: int) -> Matrix:
    """How many pixels of each true class (rows) were taken for which (columns), int64 (classes, classes).

    Args:
        pred: Numbers from 0, (H, W).
        truth: The same; pixels below 0 have no class and do not count.
    """
    known = truth >= 0
    pairs = classes * truth[known].astype(np.int64) + pred[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def class_ious(matrix: Matrix) -> NDArray[np.float64]:
    """Intersection over union of each class; NaN where it is in neither truth nor prediction."""
    both = np.diag(matrix).astype(np.float64)
    union = matrix.sum(0) + matrix.sum(1) - both
    return np.divide(both, union, out=np.full(len(both), np.nan), where=union > 0)


def mean_iou(matrix: Matrix) -> float:
    """The mean over classes that occur in truth or prediction; NaN where none does."""
    ious = class_ious(matrix)
    occurring = ious[~np.isnan(ious)]
    return float(occurring.mean()) if occurring.size else math.nan


@dataclass(frozen=True)
class ClassProtocol(Protocol):
    """How classes are scored, of `class_protocol`; where truth is the number of a class from 1, 0 is none."""

    classes: tuple[str, ...] = ()

    @property
    def convention(self) -> str:
        """The name of how files number classes."""
        return self.name.removeprefix(SEGMENTED)

    @property
    def counted(self) -> str:
        """What a pixel's truth must be, in words."""
        return f"{len(self.classes)} classes, and no pixel has one"

    @property
    def rules(self) -> str:
        """In words."""
        return f"{self.convention}: {self.describe()}"

    @property
    def fingerprint(self) -> str:
        """12 hex digits that change with the rules and the classes."""
        return hashlib.sha256(json.dumps([self.rules, self.classes]).encode()).hexdigest()[:12]

    def describe(self) -> str:
        """For people."""
        return RULES + TTA_RULES[self.tta]


def class_protocol(convention: str, names: tuple[str, ...], tta: str | None = None) -> ClassProtocol:
    """The protocol of classes of these names, by the name of how their files number them.

    Raises:
        UserError: If that kind of TTA is for depth alone.
    """
    tta = tta or "none"
    if tta not in TTA_RULES:
        raise unknown("TTA of classes", tta, TTA_RULES)
    truth, most = f"{len(names)} classes", len(names) + 1.0
    return ClassProtocol(SEGMENTED + convention, "classes", truth, max_depth=most, classes=names, tta=tta)


@dataclass(frozen=True)
class ImageClasses:
    """Of one image: how many pixels have a class, how many are right, and would be by the other way of counting.

    `miou` is that of the image alone, NaN where it has no class. `data` is a digest of the image and of its true
    classes.
    """

    name: str
    pixels: int
    right: int
    shifted: int
    data: str = ""
    miou: float = math.nan

    @property
    def accuracy(self) -> float:
        """Share of the pixels with a class that are right; NaN without any."""
        return self.right / self.pixels if self.pixels else math.nan


@dataclass
class Segmentation:
    """What a model made of a data set by a protocol.

    `origin` says how it was made, and `input_size` to what images were resized for the model.
    """

    protocol: ClassProtocol
    matrix: Matrix = field(init=False)
    images: list[ImageClasses] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    origin: Origin | None = None
    input_size: Size | None = None

    def __post_init__(self) -> None:
        self.matrix = np.zeros((len(self.names), len(self.names)), np.int64)

    def add(self, name: str, pred: np.ndarray, truth: np.ndarray, step: int, data: str = "") -> None:
        """Take an image. `step` is what the files' numbers would be off by if they counted otherwise."""
        one = confusion(pred, truth, len(self.names))
        right, shifted = (int(np.trace(one, offset=offset)) for offset in (0, step))
        self.matrix += one
        self.images.append(ImageClasses(name, int(one.sum()), right, shifted, data, mean_iou(one)))

    def merge(self, other: Segmentation) -> None:
        """Take all that another process has: counts are whole numbers, so their order does not matter."""
        self.matrix += other.matrix
        self.images += other.images
        self.skipped += other.skipped

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""
        return self.protocol.classes

    @property
    def metrics(self) -> dict[str, float]:
        """The two figures, between 0 and 1."""
        total = int(self.matrix.sum())
        accuracy = float(np.trace(self.matrix)) / total if total else math.nan
        return {"miou": mean_iou(self.matrix), "pixel_accuracy": accuracy}

    @property
    def ious(self) -> dict[str, float]:
        """IoU by class; NaN of one that occurs nowhere."""
        return dict(zip(self.names, class_ious(self.matrix).tolist(), strict=True))

    def worst(self, count: int) -> list[ImageClasses]:
        """The images with the lowest pixel accuracy, worst first."""
        return sorted((image for image in self.images if image.pixels), key=lambda image: image.accuracy)[:count]

    @property
    def counted_otherwise(self) -> int:
        """In how many images more pixels would be right if their files counted otherwise, and not by chance alone."""
        return sum(one.shifted > max(one.right, CHANCE * one.pixels) for one in self.images)

    def as_dict(self) -> dict[str, object]:
        """For JSON; the IoU of a class that does not occur is null."""
        protocol = self.protocol
        return {
            "protocol": protocol.name,
            "fingerprint": protocol.fingerprint,
            "rules": protocol.rules,
            **({"origin": self.origin.model_dump(mode="json")} if self.origin else {}),
            "input_size": self.input_size,
            "images": len(self.images),
            "skipped": len(self.skipped),
            "metrics": self.metrics,
            "iou": {name: None if math.isnan(iou) else iou for name, iou in self.ious.items()},
            "per_image": [
                {
                    "name": one.name,
                    "data": one.data,
                    "pixels": one.pixels,
                    "pixel_accuracy": one.accuracy if one.pixels else None,
                    "miou": one.miou if one.pixels else None,
                }
                for one in sorted(self.images, key=lambda one: one.name)
            ],
        }
