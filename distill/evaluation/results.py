"""Results in files: what `distill evaluate --json` and every run leave, read back and compared image by image."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distill.errors import UserError
from distill.evaluation.metrics import MEASURES
from distill.files import read_whole

SEGMENTED = "segmentation_"  # how the protocols begin of classes, which have other metrics
CLASS_MEASURES = ("miou", "pixel_accuracy")
NAME = "results.json"  # in the folder of a run, one entry a model
COVERAGE = 0.95  # of an interval
TRUTH = {"pixels": 0.0, "truth": 1e-5}  # of an image's truth: how many count, their mean; and what is rounding of it
COSTS = ("parameters", "gflops", "latency_ms")

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Results:
    """One model's results by one protocol.

    Attributes:
        role: In a run, "student", "teacher", "ghost", or "agreement" of the student with its teacher's depth in the
            truth's place; None for a model that was evaluated alone.
        metrics: Means over images, by the names of `MEASURES`; of classes `CLASS_MEASURES` over all pixels.
        images: The same of every image, by its name.
        costs: Parameters, GFLOPs, milliseconds, as far as they are known.
        truths: The values of `TRUTH` of every image, by its name; NaN where the file does not say.
        count: Of the images, where they are not here one by one.
    """

    protocol: str
    fingerprint: str
    role: str | None
    metrics: dict[str, float]
    images: dict[str, dict[str, float]]
    costs: dict[str, float]
    truths: dict[str, list[float]] = field(default_factory=dict)
    count: int | None = None

    def summary(self) -> dict[str, object]:
        """What a table of several models needs of it, in types that JSON knows."""
        count = len(self.images) or self.count
        return {"protocol": self.protocol, "fingerprint": self.fingerprint, "images": count, "metrics": self.metrics}


def measures_of(protocol: str) -> Sequence[str]:
    """What is measured by a protocol of this name."""
    return CLASS_MEASURES if protocol.startswith(SEGMENTED) else MEASURES


def cost_of(metrics: Mapping[str, float]) -> float:
    """What the best model has least of: abs_rel, or of classes 1 - mIoU."""
    return 1 - metrics["miou"] if "miou" in metrics else metrics["abs_rel"]


def cost_in_words(metrics: Mapping[str, float]) -> str:
    """What `cost_of` gives."""
    return "1 - mIoU" if "miou" in metrics else "AbsRel"


def read_results(path: Path, *, classes: bool = False) -> list[Results]:
    """The results in a file, or in the folder of a run; of classes only where these will do.

    Raises:
        UserError: If there is no such file, or it holds something else.
    """
    path = path / NAME if path.is_dir() else path
    try:
        content = json.loads(read_whole(path))
        entries = content if isinstance(content, list) else [content]
        if not classes and any(str(entry["protocol"]).startswith(SEGMENTED) for entry in entries):
            raise UserError(f"{path} holds results of a segmentation, and those of depth are wanted here")
        return [read_entry(entry) for entry in entries]
    except FileNotFoundError as error:
        raise UserError(f"no results at {path}; write them with distill evaluate --json FILE") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is not a file of results; write one with distill evaluate --json FILE") from error


def read_entry(entry: dict[str, Any]) -> Results:
    """One result; images without a score are left out."""
    measures = measures_of(str(entry["protocol"]))
    number = float if entry.get("role") == "ghost" else finite  # a ghost may diverge, and its run be good
    scored = [image for image in entry["per_image"] if image[measures[0]] is not None]
    return Results(
        str(entry["protocol"]),
        str(entry["fingerprint"]),
        entry.get("role"),
        {name: number(entry["metrics"][name]) for name in measures},
        {image["name"]: {name: number(image[name]) for name in measures} for image in scored},
        {name: float(entry[name]) for name in COSTS if name in entry},
        {image["name"]: [float(image.get(key, math.nan)) for key in TRUTH] for image in scored},
    )


def finite(value: float | str) -> float:
    """A metric as a number. NaN, which JSON of Python may hold, would make every mean and difference NaN."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is no metric")
    return number


def student_result(path: Path, *, classes: bool = False) -> Results:
    """The one result in a file of `distill evaluate --json`, or the student's of a run.

    Raises:
        UserError: If there is no such file, or it holds several results of which none is a student's.
    """
    results = read_results(path, classes=classes)
    students = [one for one in results if one.role == "student"] or results
    if len(students) != 1:
        raise UserError(f"{path} holds {len(results)} results; give a file with one protocol's")
    return students[0]


def common_images(results: Sequence[Results]) -> list[str]:
    """Names of the images that all of them hold, in the order of the first.

    Raises:
        UserError: If an image was measured on two truths, such as with and without its holes filled.
    """
    names = [name for name in results[0].images if all(name in other.images for other in results[1:])]
    for other in results[1:]:
        if differing := [name for name in names if not same_truth(results[0], other, name)]:
            counts = " and ".join(f"{one.truths[differing[0]][0]:g}" for one in (results[0], other))
            raise UserError(
                f"{len(differing)} of {len(names)} images were measured on two ground truths, such as {differing[0]} "
                f"on {counts} pixels: their metrics do not compare. Evaluate both on the same depth maps"
            )
    return names


def same_truth(a: Results, b: Results, name: str) -> bool:
    """Whether nothing shows that an image was measured on two truths."""
    values = zip(a.truths.get(name, []), b.truths.get(name, []), TRUTH.values(), strict=False)
    return all(math.isnan(x + y) or math.isclose(x, y, rel_tol=rounding) for x, y, rounding in values)


def image_values(results: Results, names: Sequence[str]) -> Numbers:
    """The metrics of images, (N, K), K in the order of `results.metrics`: that of `MEASURES`."""
    return np.array([[results.images[name][metric] for metric in results.metrics] for name in names])


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, samples: int = 10_000, seed: int = 0
) -> tuple[Numbers, Numbers, Numbers]:
    """How much `b` exceeds `a` on average, and the interval in which other test images would put that.

    With gaps d_i = b_i - a_i of the same image i, the difference is mean(d). Images are drawn anew with replacement,
    as many as there are and both values of an image together, and the interval holds the middle 95 % of these
    means (Efron's percentile bootstrap). Only images are drawn: what another training would give is not in it.

    Args:
        a, b: One value an image, (N,), or several metrics at once, (N, K).
        samples: How often images are drawn.
        seed: Of the draws; the same seed gives the same interval.

    Returns:
        Difference, low and high, each () or (K,). One image has no interval: low and high are NaN.

    Raises:
        ValueError: If the shapes differ or there is no image.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or not len(first):
        shapes = f"{first.shape} and {second.shape}"
        raise ValueError(f"a and b must hold values of the same images, at least one, got {shapes}")
    return bootstrap_over_sets([second - first], samples, seed)


def bootstrap_over_sets(
    gaps: Sequence[Numbers], samples: int = 10_000, seed: int = 0
) -> tuple[Numbers, Numbers, Numbers]:
    """The mean over data sets of how much b exceeds a in each, and its interval, as in `paired_bootstrap`.

    Every set counts alike, however many images it has; images are drawn anew within each.

    Args:
        gaps: b - a of the images of each set, (N,) or (N, K).
    """
    difference: Numbers = np.mean([gap.mean(axis=0) for gap in gaps], axis=0)
    if any(len(gap) == 1 for gap in gaps):
        nothing = np.full(gaps[0].shape[1:], np.nan)
        return difference, nothing, nothing
    means = np.mean([drawn_means(gap, samples, seed + number) for number, gap in enumerate(gaps)], axis=0)
    outside = (1 - COVERAGE) / 2
    low, high = np.quantile(means, [outside, 1 - outside], axis=0)
    return difference, low, high


def drawn_means(gaps: Numbers, samples: int, seed: int) -> Numbers:
    """Means of as many values as there are, drawn anew with replacement, so many times, (samples,) or (samples, K)."""
    draws, count = np.random.default_rng(seed), len(gaps)
    times_drawn = (np.bincount(draws.integers(count, size=count), minlength=count) for _ in range(samples))
    return np.stack([times @ gaps / count for times in times_drawn])
