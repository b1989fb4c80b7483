"""`distill export --int8`: what 8 bits cost in accuracy, and the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from distill.assembly.datasets import build_data
from distill.console import display
from distill.data import Subset, readable
from distill.deploy.quantise import Quantiser, share_of_eight_bits
from distill.deploy.runtime import deviation
from distill.deploy.subject import Subject
from distill.evaluation import Evaluation
from distill.inference.evaluating import evaluate
from distill.inference.exported import OnnxModel
from distill.report.tables import Row, results_table

CALIBRATED, EVALUATED = 32, 60  # images
TOLERANCE = 0.01  # by which abs_rel may grow, relative to the float file's


def write_int8(subject: Subject, size: tuple[int, int], source: Path, target: Path, images: Sequence[Tensor]) -> bool:
    """Quantise a float file on images, and print the metrics of both on the run's own test images.

    Where the truth of none is at hand, their difference on the images is printed.

    Returns:
        Whether the loss is within the tolerance, and weights have 8 bits.
    """
    quantiser = Quantiser(source, images)
    data = build_data(subject.run) if subject.run else None
    if data is not None and data.test is not None:
        dataset, protocol = Subset(data.test, min(EVALUATED, len(data.test))), data.protocol

        def measured(path: Path) -> Evaluation:
            return evaluate(OnnxModel(path), readable(dataset), protocol, tta="none", size=size)

        before = measured(source)
        abs_rel = before.metrics["abs_rel"]
        loss, kept = quantiser.write_within(
            target, lambda path: measured(path).metrics["abs_rel"] / abs_rel - 1, TOLERANCE
        )
        both = {"float": before, "int8": measured(target)}
        rows = [Row(name, one.metrics, one.protocol.fingerprint) for name, one in both.items()]
        title = f"{protocol.name}, {len(before.images)} images at {size[0]}x{size[1]}"
        display(results_table(rows, title))
        display(f"abs_rel changes by {100 * loss:+.2f} %")
    else:
        exact = OnnxModel(source)
        loss, kept = quantiser.write_within(
            target, lambda path: deviation(OnnxModel(path), exact, images).mean, TOLERANCE
        )
        display(f"int8 differs from float by {100 * loss:.2f} % on average on the images it was calibrated by")
    if kept:
        display(f"kept in float, as 8 bits cost more than {100 * TOLERANCE:g} %: {', '.join(kept)}")
    if not loss <= TOLERANCE:
        display(f"that is more than {100 * TOLERANCE:g} %, whatever is kept in float")
        return False
    share = share_of_eight_bits(target)
    display(f"{100 * share:.0f} % of the weights have 8 bits" if share else "no weight could stay in 8 bits")
    return share > 0
