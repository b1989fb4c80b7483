"""`distill export --int8`: what 8 bits cost in accuracy, and the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from torch import Tensor

from distill.assembly.datasets import build_data
from distill.data import DepthDataset, Subset, readable
from distill.deploy.check import deviation
from distill.deploy.quantise import Quantiser, quantise
from distill.deploy.runtime import OnnxModel
from distill.deploy.subject import Subject
from distill.evaluation import Evaluation, Protocol
from distill.inference.evaluating import evaluate
from distill.report import Row, results_table

CALIBRATED, EVALUATED = 32, 60  # images
TOLERANCE = 0.01  # by which abs_rel may grow, relative to the float file's


@dataclass(frozen=True)
class AccuracyCheck:
    """Measures files on the test half of the run: its depth is known."""

    dataset: DepthDataset
    protocol: Protocol
    size: tuple[int, int]

    def __call__(self, path: Path) -> Evaluation:
        return evaluate(OnnxModel(path), readable(self.dataset), self.protocol, tta="none", size=self.size)


def accuracy_check(subject: Subject, size: tuple[int, int]) -> AccuracyCheck | None:
    """The run's own test images, spread over their list; None where there are none at hand."""
    if subject.run is None:
        return None
    data = build_data(subject.run)
    if data.test is None:
        return None
    return AccuracyCheck(Subset(data.test, min(EVALUATED, len(data.test))), data.protocol, size)


def write_int8(
    subject: Subject, size: tuple[int, int], source: Path, target: Path, images: Sequence[Tensor], out: Console
) -> bool:
    """Quantise a float file on images, and print the metrics of both where truth is known, else their difference.

    Returns:
        Whether the loss is within the tolerance.
    """
    quantiser, check = Quantiser(source, images), accuracy_check(subject, size)
    before = check(source) if check else None
    loss = added_error(check, before) if check and before else distance(source, images)
    result, kept = quantise(quantiser, target, loss, TOLERANCE)
    if check and before:
        both = {"float": before, "int8": check(target)}
        rows = [Row(name, one.metrics, one.protocol.fingerprint) for name, one in both.items()]
        Console().print(
            results_table(rows, f"{check.protocol.name}, {len(before.images)} images at {size[0]}x{size[1]}")
        )
        out.print(f"abs_rel changes by {100 * result:+.2f} %")
    else:
        out.print(f"int8 differs from float by {100 * result:.2f} % on average on the images it was calibrated by")
    if kept:
        out.print(f"kept in float, as 8 bits cost more than {100 * TOLERANCE:g} %: {', '.join(kept)}")
    if result > TOLERANCE:
        out.print(f"that is more than {100 * TOLERANCE:g} %, whatever is kept in float")
    return result <= TOLERANCE


def added_error(check: AccuracyCheck, before: Evaluation) -> Callable[[Path], float]:
    return lambda path: check(path).metrics["abs_rel"] / before.metrics["abs_rel"] - 1


def distance(source: Path, images: Sequence[Tensor]) -> Callable[[Path], float]:
    expected = OnnxModel(source)
    return lambda path: deviation(OnnxModel(path), expected, images).mean
