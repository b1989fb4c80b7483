"""`distill export --int8`: what 8 bits cost in accuracy, and the file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from distill.assembly.datasets import build_data
from distill.console import display, warn
from distill.data import Subset, readable
from distill.deploy.file_outputs import file_output
from distill.deploy.graph import add_fact
from distill.deploy.quantise import Quantiser, share_of_eight_bits
from distill.deploy.subject import Subject
from distill.errors import UserError
from distill.evaluation import Evaluation
from distill.evaluation.segmentation import Segmentation
from distill.inference.exported import OnnxModel, StatedAccuracy
from distill.inference.measuring import Measured, scorer_of
from distill.report.tables import HIGHER_IS_BETTER, Row, results_table

CALIBRATED, EVALUATED, HARMED = 32, 60, 8  # images
MEAN, PART = 0.01, 0.05  # by which a mean over images may change, and one image's or one distance's; up or down
REACH = 1.25  # times the farthest depth that was seen in calibration


@dataclass(frozen=True)
class MetricChange:
    """By how much 8 bits change one figure, relative to it (a share of pixels by its difference), and the limit."""

    what: str
    size: float
    limit: float

    @property
    def use(self) -> float:
        """Of the limit; infinite where it is not a number."""
        return math.inf if math.isnan(self.size) else self.size / max(self.limit, 1e-12)

    def __str__(self) -> str:
        return f"{self.what} by {100 * self.size:.2f} %, of {100 * self.limit:g} % allowed"


def changes(before: Measured, after: Measured) -> Iterator[MetricChange]:
    """Every metric, and its parts: of depth the abs_rel of every distance, at edges, and of every image."""
    for name, value in before.metrics.items():
        moved = abs(after.metrics[name] - value)
        yield MetricChange(name, moved if name in HIGHER_IS_BETTER else moved / max(value, 1e-9), MEAN)
    yield from PARTS[type(before)](before, after)


def class_parts(before: Segmentation, after: Segmentation) -> Iterator[MetricChange]:
    """The pixel accuracy of every image that has a class."""
    for one, two in zip(before.images, after.images, strict=True):
        if one.pixels:
            yield MetricChange(f"pixel accuracy of {one.name}", abs(two.accuracy - one.accuracy), PART)


def depth_parts(before: Evaluation, after: Evaluation) -> Iterator[MetricChange]:
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
        yield MetricChange(what, abs(new["abs_rel"] / max(old["abs_rel"], 1e-9) - 1), PART)


PARTS: dict[type[Measured], Callable[..., Iterator[MetricChange]]] = {
    Evaluation: depth_parts,
    Segmentation: class_parts,
}


def differences(model: OnnxModel, exact: OnnxModel, images: Sequence[Tensor]) -> list[MetricChange]:
    """How far what an 8-bit file gives is from the float one's, on average and for the worst image."""
    output = file_output(exact)
    means = [output.compare(model, exact, [image]).mean for image in images]
    return [
        MetricChange(output.compared, sum(means) / len(means), MEAN),
        MetricChange(f"an image's {output.compared}", max(means), PART),
    ]


def state_accuracy(target: Path, before: Measured, after: Measured, size: tuple[int, int]) -> None:
    """Print the metrics of the float and of the 8-bit file, and write the latter's into it."""
    scored, count = after.protocol, len(after.images)
    rows = [Row(name, one.metrics, scored.fingerprint) for name, one in (("float", before), ("int8", after))]
    display(results_table(rows, f"{scored.name}, {count} images at {size[0]}x{size[1]}"))
    stated = StatedAccuracy(protocol=scored.name, fingerprint=scored.fingerprint, images=count, metrics=after.metrics)
    add_fact(target, "accuracy", stated.model_dump_json())


class Watched(OnnxModel):
    """A file that remembers how far the depth of each image went."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.far: list[float] = []

    def compute(self, image: Tensor) -> Tensor:
        """What the file gives; where the far end of depth lies is noted."""
        output = super().compute(image)
        self.far.append(file_output(self).reach(output))
        return output


def seen_in(exact: Watched, images: Sequence[Tensor]) -> float:
    """How far the depth of the images goes; said where that is not half of what the model can give."""
    for image in images:
        exact(image)
    seen, exact.far = max(exact.far), []
    if exact.output == "metric" and exact.max_depth and seen < exact.max_depth / 2:
        warn(
            f"the images that calibrate show depth up to {seen:.3g} m of the {exact.max_depth:g} m that the model can "
            "give: farther views may be cut; if yours have them, add such images to --images"
        )
    return seen


def check_reach(seen: float, far: Sequence[float]) -> None:
    """Refuse a calibration that saw nothing as far as what it is evaluated on.

    Raises:
        UserError: With what to add.
    """
    if beyond := [one for one in far if one > REACH * seen]:
        raise UserError(
            f"the images that calibrate show depth up to {seen:.3g}, and {len(beyond)} of {len(far)} test images up to "
            f"{max(beyond):.3g}, which 8 bits would cut: add images of such far views to --images"
        )


def write_int8(subject: Subject, size: tuple[int, int], source: Path, target: Path, images: Sequence[Tensor]) -> bool:
    """Quantise a float file on images, and print the metrics of both on the run's own test images.

    Where the truth of none is at hand, or the file is for one focal length, their difference on the images is printed.

    Returns:
        Whether the changes are within the limits, and weights have 8 bits.
    """
    exact = Watched(source)
    seen = seen_in(exact, images)
    quantiser = Quantiser(source, images)
    data = build_data(subject.run) if subject.run and subject.focal_px is None else None
    test = None if data is None or data.test is None else Subset(data.test, min(EVALUATED, len(data.test)))

    def measured(model: OnnxModel) -> Measured | None:
        if data is None or test is None:
            return None
        scorer = scorer_of(data.protocol.with_(tta="none"), torch.device("cpu"), size)
        return scorer.alone(model, readable(test), lambda name: None)

    before = measured(exact)
    if before is not None:
        check_reach(seen, exact.far)

    def worst(model: OnnxModel, after: Measured | None) -> MetricChange:
        each = changes(before, after) if before and after else differences(model, exact, images)
        return max(each, key=lambda one: one.use)

    def use_of(path: Path) -> float:
        model = OnnxModel(path)
        return worst(model, measured(model)).use

    def harm(path: Path) -> float:
        return differences(OnnxModel(path), exact, images[:HARMED])[0].size

    use, kept = quantiser.write_within(target, use_of, 1.0, harm)
    model = OnnxModel(target)
    after = measured(model)
    display(f"8 bits change most: {worst(model, after)}")
    if kept:
        display(f"kept in float, as 8 bits were measured to cost more: {', '.join(kept)}")
    if not use <= 1:
        display("that is more, whatever is kept in float")
        return False
    if before and after:
        state_accuracy(target, before, after, size)
    share = share_of_eight_bits(target)
    display(f"{100 * share:.0f} % of the weights have 8 bits" if share else "no weight could stay in 8 bits")
    return share > 0
