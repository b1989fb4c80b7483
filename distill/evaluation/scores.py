"""What a model achieved: the scores of single images, their mean, where the errors are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from distill.evaluation.breakdown import BINS, error_bounds, part_names
from distill.evaluation.ibims import VERSION, ShapeErrors, mean_shape_errors
from distill.evaluation.metrics import MEASURES
from distill.evaluation.origin import Origin
from distill.evaluation.protocols import Protocol
from distill.evaluation.uncertainty import Sparsification, mean_sparsification

Size = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """Some pixels of one image, such as the far ones: how many there are, and their metrics."""

    pixels: int
    metrics: dict[str, float]


class PartMean(TypedDict):
    """A part of all images: how many have such pixels, how many pixels these are, and the mean of their metrics."""

    images: int
    pixels: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class ImageScore:
    """One image's metrics, the nine and "mae", with the pixels that counted and how many of them were not finite.

    `parts` are its pixels by distance and at depth edges, without the parts it has no pixel of; `errors` counts them by
    their relative error, in the bins of `breakdown.error_bounds`. `truth` is the mean of their true depth in metres: by
    this and by `pixels` two results show whether they were measured on one truth. A `constant` prediction is worth no
    more than the truth's mean once it is aligned. `data` is a digest of image and truth, and `uncertainty` is there,
    where they were asked for; `shapes` are the errors of edges and planes, where these are known.
    """

    name: str
    metrics: dict[str, float]
    pixels: int
    repaired: int
    parts: dict[str, Part] = field(default_factory=dict)
    errors: tuple[int, ...] = (0,) * BINS
    truth: float = 0.0
    constant: bool = False
    data: str = ""
    shapes: ShapeErrors | None = None
    uncertainty: Sparsification | None = None


@dataclass(frozen=True)
class Evaluation:
    """What a model achieved on a set of images.

    Attributes:
        skipped: Names of images without a pixel of truth that counts.
        faults: Names that could not be read. What stood in their place has no score.
        seconds: Time spent in the model.
        input_size: (H, W) to which every image was resized for the model; None where none was.
        origin: How it was made, where that is kept.
    """

    protocol: Protocol
    images: tuple[ImageScore, ...]
    skipped: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    seconds: float = 0.0
    input_size: Size | None = None
    origin: Origin | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The mean over images of the nine metrics and "mae"; NaN where there is no image."""
        return mean_of([image.metrics for image in self.images])

    @property
    def repaired(self) -> int:
        """Pixels that counted although the model gave NaN or infinity there."""
        return sum(image.repaired for image in self.images)

    @property
    def breakdown(self) -> dict[str, PartMean]:
        """The parts that any image has pixels of, by name."""
        parts = {
            name: [image.parts[name] for image in self.images if name in image.parts]
            for name in part_names(self.protocol.max_depth)
        }
        return {
            name: {
                "images": len(images),
                "pixels": sum(part.pixels for part in images),
                "metrics": mean_of([part.metrics for part in images]),
            }
            for name, images in parts.items()
            if images
        }

    @property
    def errors(self) -> list[int]:
        """Pixels of all images by their relative error, in the bins of `breakdown.error_bounds`."""
        return [sum(counts) for counts in zip(*(image.errors for image in self.images), strict=True)]

    @property
    def shapes(self) -> dict[str, float]:
        """Means of the errors of edges and planes, as iBims-1's script measures them; empty where none are known."""
        known = [image.shapes for image in self.images if image.shapes]
        return mean_shape_errors(known) if known else {}

    @property
    def uncertainty(self) -> Sparsification | None:
        """The mean over images, where uncertainty was asked for."""
        return mean_sparsification([image.uncertainty for image in self.images if image.uncertainty])

    def worst(self, count: int) -> list[ImageScore]:
        """The images with the largest abs_rel, worst first."""
        return sorted(self.images, key=lambda image: image.metrics["abs_rel"], reverse=True)[:count]

    def as_dict(self) -> dict[str, object]:
        """Everything, in types that JSON knows."""
        uncertainty = self.uncertainty
        return {
            "protocol": self.protocol.name,
            "fingerprint": self.protocol.fingerprint,
            "settings": self.protocol.settings,
            **({"origin": self.origin.model_dump(mode="json")} if self.origin else {}),
            "input_size": list(self.input_size) if self.input_size else None,
            "images": len(self.images),
            "skipped": len(self.skipped),
            "metrics": self.metrics,
            "repaired": self.repaired,
            "constant": sum(image.constant for image in self.images),
            "seconds": self.seconds,
            **({"shapes": {"script": VERSION, **self.shapes}} if self.shapes else {}),
            "skipped_names": list(self.skipped),
            "faults": list(self.faults),
            "breakdown": self.breakdown,
            "error_histogram": {"relative_error": error_bounds(), "pixels": self.errors},
            **({"uncertainty": uncertainty.as_dict()} if uncertainty else {}),
            "per_image": [
                {
                    "name": one.name,
                    **({"data": one.data} if one.data else {}),
                    "pixels": one.pixels,
                    "truth": one.truth,
                    "repaired": one.repaired,
                    **one.metrics,
                    **({"shapes": one.shapes.as_dict()} if one.shapes else {}),
                }
                for one in self.images
            ],
        }


def mean_of(metrics: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of every measure, exactly rounded, so that the order of images is of no matter; NaN of nothing."""
    count = len(metrics) or math.nan
    return {name: math.fsum(one[name] for one in metrics) / count for name in MEASURES}
