"""Run a model over images with known depth and judge it by one protocol, or by several at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.errors import UserError
from distill.evaluation.breakdown import depth_edges, error_counts, part_masks, part_names
from distill.evaluation.metrics import measure_parts
from distill.evaluation.protocols import Protocol, SizeError
from distill.evaluation.scores import Evaluation, ImageScore, Part, Size

if TYPE_CHECKING:
    from distill.data.sample import Sample

Model = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Prediction:
    """What is predicted of one image, in metres, as `Protocol.score` takes it.

    `depth` is (h, w); `flipped` that of the mirrored image, still mirrored, where there is one; `view` is the size of
    what the model was shown, to which a depth of another size is resized.
    """

    depth: Any
    flipped: Any = None
    view: Size | None = None


Predict = Callable[["Sample"], Prediction]


@dataclass(frozen=True)
class Outcome:
    """What became of one sample: a score by each protocol, None where no pixel of it counts; or unreadable files."""

    name: str
    scores: tuple[ImageScore | None, ...] = ()
    faults: tuple[str, ...] = ()


def evaluate(
    model: Model,
    samples: Iterable[Sample],
    protocol: Protocol,
    *,
    device: torch.device | str = "cpu",
    tta: str | None = None,
    size: Size | None = None,
    progress: Callable[[int, str], object] | None = None,
    autocast: torch.dtype | None = None,
    min_side: int = 1,
    without_truth: Sequence[str] = (),
) -> Evaluation:
    """Judge a model on every sample that has ground truth, one image at a time.

    Args:
        model: RGB (B, 3, H, W) in [0, 1] -> depth in metres, (B, 1, H, W). B is 2 where the mirrored image is judged as
            well. It is in eval mode meanwhile, and afterwards in the modes it came with.
        device: Where the model is; images are taken there.
        tta: Takes the place of the protocol's, and so changes the fingerprint.
        size: (H, W) to which images are resized for the model. Its predictions are resized back.
        progress: Called after every sample with how many are done and the last one's name.
        autocast: Precision the model runs in, such as torch.bfloat16; None leaves it alone.
        min_side: Pixels that the model needs both ways.
        without_truth: Names of further images, known to have no ground truth: they are counted among the skipped.

    Raises:
        UserError: If no sample could be judged, a frame does not suit the protocol, or an image is too small.
        ValueError: If the model's output has another shape than promised.
    """
    protocol = protocol if tta is None else protocol.with_(tta=tta)
    network = Network(model, protocol, torch.device(device), size, autocast, min_side)
    outcomes = []
    with eval_mode(model):
        for outcome in judge(network, samples, [protocol]):
            outcomes.append(outcome)
            if progress:
                progress(len(outcomes), outcome.name)
    return gather(outcomes, [protocol], network.seconds, size, without_truth)[0]


def judge(predict: Predict, samples: Iterable[Sample], protocols: Sequence[Protocol]) -> Iterator[Outcome]:
    """Predict every sample once and score it by every protocol; what is held of it is a few numbers.

    Raises:
        SizeError: If a frame does not suit a protocol.
    """
    for sample in samples:
        if sample.faults:  # the sample stands in for these, and is judged in its own place
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
        pairs = zip(protocols, places, strict=True)
        yield Outcome(sample.name, tuple(_score(sample, prediction, edges, *pair) for pair in pairs))


def _score(
    sample: Sample, prediction: Prediction, edges: np.ndarray, protocol: Protocol, places: np.ndarray
) -> ImageScore | None:
    """One image's score by one protocol; None where none of its pixels counts."""
    if not len(places):
        return None
    given = prediction
    judged = protocol.judged(given.depth, sample.depth, given.flipped, view=given.view, places=places)
    masks = part_masks(judged, edges, protocol.max_depth)
    (pixels, metrics), *measured = measure_parts(judged.pred, judged.target, masks)
    named = zip(part_names(protocol.max_depth), measured, strict=True)
    parts = {name: Part(*found) for name, found in named if found[0]}
    return ImageScore(sample.name, metrics, pixels, judged.repaired, parts, tuple(error_counts(judged)))


def interleave(parts: Iterable[Sequence[Outcome]]) -> list[Outcome]:
    """The outcomes of all samples in their order, where process r of n judged the samples r, r + n, r + 2n ..."""
    return [outcome for turn in zip_longest(*parts) for outcome in turn if outcome is not None]


def gather(
    outcomes: Iterable[Outcome],
    protocols: Sequence[Protocol],
    seconds: float = 0.0,
    size: Size | None = None,
    without_truth: Sequence[str] = (),
) -> list[Evaluation]:
    """The outcomes of all samples as one result by each protocol; `without_truth` are images known to have none.

    Raises:
        UserError: If no sample was judged.
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
        results.append(Evaluation(protocol, images, skipped, faults, seconds, size))
    return results


@dataclass
class Network:
    """Takes a sample to a model's prediction, and adds up the time spent in the model.

    Of `protocol` only counts what the model is shown: KITTI's cut or all, and the mirrored image or not.
    """

    model: Model
    protocol: Protocol
    device: torch.device
    size: Size | None = None
    autocast: torch.dtype | None = None
    min_side: int = 1
    seconds: float = 0.0

    @torch.inference_mode()
    def __call__(self, sample: Sample) -> Prediction:
        rows, cols = self.protocol.input_window(*sample.depth.shape)
        shown = as_image(sample.image[rows, cols], self.device)
        height, width = shown.shape[-2:]
        if self.size is None and min(height, width) < self.min_side:
            seen = f"{sample.name} is {height}x{width} (height x width)"
            raise UserError(f"{seen}, expected at least {self.min_side} both ways; enlarge images by an input size")
        depths = self._predict(shown)
        return Prediction(depths[0], depths[1] if len(depths) > 1 else None, (height, width))

    def _predict(self, image: Tensor) -> Tensor:
        """Depth (1, h, w) of an image (1, 3, H, W), or (2, h, w) with its mirror image's, at the model's own size."""
        if self.size and self.size != tuple(image.shape[-2:]):
            image = F.interpolate(image, size=self.size, mode="bilinear", align_corners=False, antialias=True)
        batch = image if self.protocol.tta == "none" else torch.cat([image, image.flip(-1)])
        precision = torch.autocast(self.device.type, dtype=self.autocast) if self.autocast else nullcontext()
        _wait_for(self.device)
        start = time.perf_counter()
        with precision:
            depth = self.model(batch)
        _wait_for(self.device)
        self.seconds += time.perf_counter() - start
        expected = (len(batch), 1, *batch.shape[-2:])
        if tuple(depth.shape) != expected:
            raise ValueError(f"the model made {tuple(depth.shape)} of {tuple(batch.shape)}, expected {expected}")
        return depth[:, 0].float()


def as_image(image: np.ndarray, device: torch.device) -> Tensor:
    """RGB (H, W, 3), uint8 or float in [0, 1], as float32 (1, 3, H, W) in [0, 1]."""
    tensor = torch.from_numpy(np.require(image, requirements=["C", "W"])).to(device).permute(2, 0, 1)[None]
    return tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()


def _wait_for(device: torch.device) -> None:
    """Let the device finish what it was given, so that a clock read now tells the truth."""
    getattr(torch, device.type).synchronize()


@contextmanager
def eval_mode(model: object) -> Iterator[None]:
    """Eval mode inside, of a module; afterwards every part is as it was, also one in another mode than the rest."""
    if not isinstance(model, nn.Module):
        yield
        return
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
