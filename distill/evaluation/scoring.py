"""From predictions to scores: every sample by one protocol or several, and the outcomes gathered into results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from distill.errors import UserError
from distill.evaluation.arrays import Array, Values, as_array, as_map, beside, float64
from distill.evaluation.breakdown import depth_edges, error_counts, part_masks, part_names
from distill.evaluation.ibims import shape_errors
from distill.evaluation.metrics import measure_parts
from distill.evaluation.origin import Origin, digest
from distill.evaluation.pixels import Pixels, resize, take
from distill.evaluation.protocols import Protocol, SizeError
from distill.evaluation.scores import Evaluation, ImageScore, Part, Size
from distill.evaluation.uncertainty import Sparsification, sparsify

if TYPE_CHECKING:
    from distill.data.sample import Sample


@dataclass(frozen=True)
class Prediction:
    """What is predicted of one image, as `Protocol.score` takes it.

    `depth` is (h, w), in metres or, where it is `relative`, inverse depth without a unit; `flipped` that of the
    mirrored image, still mirrored, where there is one; `view` is the size of what the model was shown, to which a depth
    of another size is resized. `uncertainty`, (h, w), is its standard deviation in metres, where that is asked for.
    """

    depth: Array
    flipped: Array | None = None
    view: Size | None = None
    relative: bool = False
    uncertainty: Array | None = None


Predict = Callable[["Sample"], Prediction]


@dataclass(frozen=True)
class Outcome:
    """What became of one sample: a score by each protocol, None where no pixel of it counts; or unreadable files."""

    name: str
    scores: tuple[ImageScore | None, ...] = ()
    faults: tuple[str, ...] = ()


def score_samples(
    predict: Predict, samples: Iterable[Sample], protocols: Sequence[Protocol], *, digests: bool = False
) -> Iterator[Outcome]:
    """Predict every sample once and score it by every protocol; what is held of it is a few numbers.

    Args:
        digests: Keep a digest of each image and its truth too, which takes about as long as a score.

    Raises:
        SizeError: If a frame does not suit a protocol.
    """
    for sample in samples:
        if sample.faults:  # the sample stands in for these, and is scored in its own place
            yield Outcome(sample.name, faults=tuple(sample.faults))
            continue
        try:
            places = [protocol.places(sample.depth) for protocol in protocols]
        except SizeError as error:
            raise SizeError(f"{sample.name}: {error}") from None
        if not any(map(len, places)):  # costs the model no time
            yield Outcome(sample.name, (None,) * len(protocols))
            continue
        prediction, edges = predict(sample), depth_edges(sample.depth)
        data = digest(sample.image, sample.depth) if digests else ""
        pairs = zip(protocols, places, strict=True)
        yield Outcome(sample.name, tuple(_score(sample, prediction, edges, data, *pair) for pair in pairs))


def _score(
    sample: Sample, prediction: Prediction, edges: NDArray[np.bool_], data: str, protocol: Protocol, places: Values
) -> ImageScore | None:
    """One image's score by one protocol; None where none of its pixels counts."""
    if not len(places):
        return None
    how = {"view": prediction.view, "places": places, "relative": prediction.relative}
    pixels = protocol.pixels(prediction.depth, sample.depth, prediction.flipped, **how)
    masks = part_masks(pixels, edges, protocol.max_depth)
    (count, metrics), *measured = measure_parts(pixels.pred, pixels.target, masks)
    named = zip(part_names(protocol.max_depth), measured, strict=True)
    parts = {name: Part(*part) for name, part in named if part[0]}
    truth = float(float64(pixels.target).mean())
    shapes = None
    if sample.shapes is not None:
        depth = as_array(protocol.depth_map(prediction.depth, sample.depth, prediction.flipped, **how))
        valid = np.zeros(depth.shape, bool)
        valid.ravel()[places] = True
        shapes = shape_errors(depth, sample.depth, valid, sample.shapes)
    return ImageScore(
        sample.name,
        metrics,
        count,
        pixels.repaired,
        parts,
        tuple(error_counts(pixels)),
        truth,
        pixels.constant,
        data,
        shapes,
        uncertainty_score(prediction, pixels, sample.depth.shape, protocol),
    )


def uncertainty_score(prediction: Prediction, pixels: Pixels, frame: Size, protocol: Protocol) -> Sparsification | None:
    """How well the uncertainty of the pixels that count orders their errors, where there is one."""
    if prediction.uncertainty is None:
        return None
    spread = as_map(prediction.uncertainty, "uncertainty")
    if prediction.view is not None and spread.shape != prediction.view:
        spread = resize(spread, prediction.view, protocol.align_corners, protocol.interpolation)
    values = (pixels.pred, pixels.target, take(spread, beside(pixels.places, spread), frame))
    return sparsify(*(float64(beside(one, np.empty(0))) for one in values))


def interleave(parts: Iterable[Sequence[Outcome]]) -> list[Outcome]:
    """The outcomes of all samples in their order, where process r of n took the samples r, r + n, r + 2n ..."""
    return [outcome for turn in zip_longest(*parts) for outcome in turn if outcome is not None]


def gather(
    outcomes: Iterable[Outcome],
    protocols: Sequence[Protocol],
    seconds: float = 0.0,
    size: Size | None = None,
    without_truth: Sequence[str] = (),
    origin: Origin | None = None,
) -> list[Evaluation]:
    """The outcomes of all samples as one result by each protocol; `without_truth` are images known to have none.

    Raises:
        UserError: If no sample has a score.
    """
    outcomes = list(outcomes)
    faults = tuple(fault for outcome in outcomes for fault in outcome.faults)
    read = [outcome for outcome in outcomes if not outcome.faults]
    results = []
    for i, protocol in enumerate(protocols):
        images = tuple(score for outcome in read if (score := outcome.scores[i]) is not None)
        skipped = (*(outcome.name for outcome in read if outcome.scores[i] is None), *without_truth)
        if not images:
            what = f"{len(skipped)} without ground truth in range, {len(faults)} unreadable"
            raise UserError(f"nothing to evaluate by {protocol.name}: {what}. Give images with their depth")
        results.append(Evaluation(protocol, images, skipped, faults, seconds, size, origin))
    return results
