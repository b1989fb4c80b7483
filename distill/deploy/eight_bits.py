"""`distill export --int8`: what 8 bits cost in accuracy, and the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from distill.console import display, warn
from distill.deploy.file_outputs import file_output
from distill.deploy.rounding import Limits, RoundingCost
from distill.deploy.subject import Subject
from distill.deploy.targets import Cargo, Target
from distill.errors import UserError
from distill.evaluation.scores import Size
from distill.inference.exported import ExportedModel

CALIBRATED, HARMED = 32, 8  # images
LIMITS = Limits(mean=0.01, part=0.05)
REACH = 1.25  # times the farthest depth that was seen in calibration


class Watched(ExportedModel):
    """A file that remembers how far the depth of each image went."""

    def __init__(self, model: ExportedModel) -> None:
        super().__init__(model.path, model.facts, model.shape)
        self.model, self.far = model, list[float]()

    def compute(self, image: Tensor) -> Tensor:
        """What the file gives; where the far end of depth lies is noted."""
        output = self.model.compute(image)
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


def write_int8(
    kind: Target, cargo: Cargo, subject: Subject, size: Size, source: Path, target: Path, images: Sequence[Tensor]
) -> bool:
    """Quantise a float file on images, and print the metrics of both on the run's own test images.

    Args:
        source: The float file of this cargo.

    Returns:
        Whether the changes are within the limits, and weights have 8 bits.
    """
    assert kind.quantiser is not None
    exact = Watched(kind.model(source, cargo))
    seen = seen_in(exact, images)
    quantiser = kind.quantiser(cargo, source, images)
    cost = RoundingCost(subject, size, exact, images, LIMITS)
    if cost.before is not None:
        check_reach(seen, exact.far)

    def use_of(path: Path) -> float:
        model = kind.model(path, cargo)
        return cost.worst(model, cost.evaluation(model)).use

    def harm(path: Path) -> float:
        return cost.differences(kind.model(path, cargo), HARMED)[0].size

    use, kept = quantiser.write_within(target, use_of, 1.0, harm)
    model = kind.model(target, cargo)
    after = cost.evaluation(model)
    display(f"8 bits change most: {cost.worst(model, after)}")
    if kept:
        display(f"kept in float, as 8 bits were measured to cost more: {', '.join(kept)}")
    if not use <= 1:
        display("that is more, whatever is kept in float")
        return False
    if stated := cost.stated(after, "int8"):
        assert kind.state is not None
        kind.state(target, {"accuracy": stated})
    share = quantiser.share
    display(f"{100 * share:.0f} % of the weights have 8 bits" if share else "no weight could stay in 8 bits")
    return share > 0
