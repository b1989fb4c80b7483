"""What a file's rounding costs in accuracy: its metrics beside those of the float model, each within a limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.assembly.datasets import build_data
from distill.console import display
from distill.data import Subset, readable
from distill.deploy.file_outputs import file_output
from distill.deploy.subject import Subject
from distill.evaluation import Evaluation
from distill.evaluation.segmentation import Segmentation
from distill.inference.exported import StatedAccuracy
from distill.inference.measuring import Measured, scorer_of
from distill.report.tables import HIGHER_IS_BETTER, Row, results_table
from teachers import DepthModel

EVALUATED = 60  # images


@dataclass(frozen=True)
class Limits:
    """By how much a mean over images may change, and one image's or one distance's; up or down."""

    mean: float
    part: float


HALF = Limits(mean=0.005, part=0.025)  # of 16 bits: half of those of 8


@dataclass(frozen=True)
class MetricChange:
    """By how much rounding changes one figure, relative to it (a share of pixels by its difference), and the limit."""

    what: str
    size: float
    limit: float

    @property
    def use(self) -> float:
        """Of the limit; infinite where it is not a number."""
        return math.inf if math.isnan(self.size) else self.size / max(self.limit, 1e-12)

    def __str__(self) -> str:
        return f"{self.what} by {100 * self.size:.2f} %, of {100 * self.limit:g} % allowed"


def changes(before: Measured, after: Measured, limits: Limits) -> Iterator[MetricChange]:
    """Every metric, and its parts: of depth the abs_rel of every distance, at edges, and of every image."""
    for name, value in before.metrics.items():
        moved = abs(after.metrics[name] - value)
        yield MetricChange(name, moved if name in HIGHER_IS_BETTER else moved / max(value, 1e-9), limits.mean)
    for what, moved in PARTS[type(before)](before, after):
        yield MetricChange(what, moved, limits.part)


def class_parts(before: Segmentation, after: Segmentation) -> Iterator[tuple[str, float]]:
    """The pixel accuracy of every image that has a class."""
    for one, two in zip(before.images, after.images, strict=True):
        if one.pixels:
            yield f"pixel accuracy of {one.name}", abs(two.accuracy - one.accuracy)


def depth_parts(before: Evaluation, after: Evaluation) -> Iterator[tuple[str, float]]:
    """The abs_rel of every distance and at edges, and that of every image."""
    pairs = [
        (f"abs_rel at {part}", after.breakdown[part]["metrics"], mean["metrics"])
        for part, mean in before.breakdown.items()
    ]
    pairs += [
        (f"abs_rel of {one.name}", two.metrics, one.metrics)
        for one, two in zip(before.images, after.images, strict=True)
    ]
    for what, new, old in pairs:
        yield what, abs(new["abs_rel"] / max(old["abs_rel"], 1e-9) - 1)


PARTS: dict[type[Measured], Callable[..., Iterator[tuple[str, float]]]] = {
    Evaluation: depth_parts,
    Segmentation: class_parts,
}


class RoundingCost:
    """A float model and what is rounded of it, on the run's own test images.

    Where the truth of none is at hand, or the file is for one focal length, by what both give of some images.

    Attributes:
        before: The float model's evaluation, where there is truth.
    """

    def __init__(
        self, subject: Subject, size: tuple[int, int], exact: DepthModel, images: Sequence[Tensor], limits: Limits
    ) -> None:
        self.size, self.exact, self.images, self.limits = size, exact, images, limits
        self.data = build_data(subject.run) if subject.run and subject.focal_px is None else None
        self.before = self.evaluation(exact)

    def evaluation(self, model: DepthModel) -> Measured | None:
        """Of the test images, where there are some with truth."""
        if self.data is None or self.data.test is None:
            return None
        test = Subset(self.data.test, min(EVALUATED, len(self.data.test)))
        scorer = scorer_of(self.data.protocol.with_(tta="none"), torch.device("cpu"), self.size)
        return scorer.alone(model, readable(test), lambda name: None)

    def differences(self, model: DepthModel, count: int | None = None) -> list[MetricChange]:
        """How far what a file gives is from the float one's, on average and for the worst image."""
        output = file_output(self.exact)
        means = [output.compare(model, self.exact, [image]).mean for image in self.images[:count]]
        return [
            MetricChange(output.compared, sum(means) / len(means), self.limits.mean),
            MetricChange(f"an image's {output.compared}", max(means), self.limits.part),
        ]

    def worst(self, model: DepthModel, after: Measured | None) -> MetricChange:
        """The change that uses most of its limit, by the model's own evaluation or else by what it gives."""
        compared = changes(self.before, after, self.limits) if self.before and after else self.differences(model)
        return max(compared, key=lambda one: one.use)

    def stated(self, after: Measured | None, name: str) -> str | None:
        """Print the metrics of both, and return those of the rounded one as a file's metadata state them."""
        if self.before is None or after is None:
            return None
        scored, count = after.protocol, len(after.images)
        rows = [Row(which, one.metrics, scored.fingerprint) for which, one in (("float", self.before), (name, after))]
        display(results_table(rows, f"{scored.name}, {count} images at {self.size[0]}x{self.size[1]}"))
        return StatedAccuracy(
            protocol=scored.name, fingerprint=scored.fingerprint, images=count, metrics=after.metrics
        ).model_dump_json()


def accuracy_of_half(
    subject: Subject, size: tuple[int, int], model: DepthModel, images: Sequence[Tensor]
) -> tuple[bool, str | None]:
    """Whether a file in 16 bits keeps every metric within limits, which is printed, and what its metadata are to state.

    Without truth there is nothing to state.
    """
    cost = RoundingCost(subject, size, subject.model, images, HALF)
    after = cost.evaluation(model)
    worst = cost.worst(model, after)
    display(f"16 bits change most: {worst}")
    return worst.use <= 1, cost.stated(after, "fp16")
