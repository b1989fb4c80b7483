"""What a file's output means: its name and units, how far it may be from the model's, and what is stated of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from distill.deploy.runtime import Deviation, deviation
from distill.evaluation.segmentation import Matrix, confusion, mean_iou
from distill.inference.exported import LOGITS
from distill.report.pictures import palette
from students import Student
from teachers import DepthModel
from teachers.model import Output, output_of

FAR_END = 99  # percent of an image's pixels
RELATIVE = "none: what the checkpoint gives, larger where it is nearer in MiDaS' weights"
RELATIVE_DEPTH = "none: relative depth, whose inverse is known up to a scale and a shift"

Call = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ClassDeviation(Deviation):
    """Differences of the classes' probabilities; and how often, and how well by class, the likeliest is the same."""

    agreement: float = 0.0
    miou: float = 0.0

    def __str__(self) -> str:
        where = f" ({self.place})" if self.place else ""
        return (
            f"probabilities differ by at most {self.largest:.1e}{where}, on average {self.mean:.1e}; "
            f"{self.agreement:.4%} of the pixels get the model's class, mIoU with its classes {self.miou:.4f}, on "
            f"{self.images} images"
        )


def probability_error(ours: Tensor, theirs: Tensor) -> Tensor:
    """The largest difference over classes of the softmax of logits (B, C, H, W), (B, 1, H, W)."""
    ours, theirs = (logits.double().softmax(dim=1) for logits in (ours, theirs))
    return (ours - theirs).abs().amax(dim=1, keepdim=True)


def class_deviation(exported: Call, expected: Call, images: Sequence[Tensor]) -> ClassDeviation:
    """Compare two models of classes on images (1, 3, H, W)."""
    counts: list[Matrix] = []

    def error(ours: Tensor, theirs: Tensor) -> Tensor:
        pred, truth = (logits.argmax(dim=1).numpy() for logits in (ours, theirs))
        counts.append(confusion(pred, truth, ours.shape[1]))
        return probability_error(ours, theirs)

    one = deviation(exported, expected, images, error)
    whole: Matrix = np.sum(counts, axis=0) if counts else np.zeros((1, 1), np.int64)
    agreement = float(np.trace(whole)) / max(int(whole.sum()), 1)
    return ClassDeviation(**vars(one), agreement=agreement, miou=mean_iou(whole))


@dataclass(frozen=True)
class FileOutput:
    """One kind of output.

    Attributes:
        name: In the file.
        describe: In words, of a batch and sides in words.
        units: Of a model's.
        facts: What the metadata say besides.
        compare: A file against the model that it was made of, on images.
        compared: What that compares, in words.
        reach: How far an output goes, which 8 bits may not cut; 0 where that is of no matter.
    """

    name: str
    describe: Callable[[DepthModel, str, str], str]
    units: Callable[[DepthModel], str]
    facts: Callable[[DepthModel], dict[str, object]]
    compare: Callable[[Call, Call, Sequence[Tensor]], Deviation]
    compared: str
    reach: Callable[[Tensor], float]


def class_facts(model: DepthModel) -> dict[str, object]:
    """The names, and the colours that `distill predict` gives them."""
    colours = palette(len(model.classes)).tolist()
    return {"classes": model.classes, "palette": colours, "colour_order": "RGB, of the image and of the palette"}


METRIC = FileOutput(
    "depth",
    lambda model, batch, sides: f"depth: float32, ({batch}, 1, {sides})",
    lambda model: "metres",
    lambda model: {},
    deviation,
    "depth",
    lambda depth: float(np.percentile(depth.numpy(), FAR_END)),
)
OUTPUTS: dict[Output, FileOutput] = {
    "metric": METRIC,
    "relative": replace(METRIC, units=lambda model: RELATIVE_DEPTH if isinstance(model, Student) else RELATIVE),
    "classes": FileOutput(
        "logits",
        lambda model, batch, sides: (
            f"logits: float32, ({batch}, {len(model.classes)}, {sides}); the largest is the pixel's class"
        ),
        lambda model: LOGITS,
        class_facts,
        class_deviation,
        "probabilities",
        lambda logits: 0.0,
    ),
}


def file_output(model: object) -> FileOutput:
    """What a file of a model has."""
    return OUTPUTS[output_of(model)]
