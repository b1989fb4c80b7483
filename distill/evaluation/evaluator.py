"""Run a model over images with known depth and judge it by one protocol."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.errors import UserError
from distill.evaluation.metrics import METRICS, as_tensor
from distill.evaluation.protocols import Protocol, SizeError

if TYPE_CHECKING:
    from distill.data.sample import Sample

MEASURES = (*METRICS, "mae")

Size = tuple[int, int]
Model = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ImageScore:
    """One image's metrics, the nine and "mae", with the pixels that counted and how many of them were not finite."""

    name: str
    metrics: dict[str, float]
    pixels: int
    repaired: int


@dataclass(frozen=True)
class Evaluation:
    """What a model achieved on a set of images.

    Attributes:
        skipped: Names of images without a pixel of truth that counts.
        faults: Names that could not be read. What stood in their place was not judged.
        seconds: Time spent in the model.
        input_size: (H, W) to which every image was resized for the model; None where none was.
    """

    protocol: Protocol
    images: tuple[ImageScore, ...]
    skipped: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    seconds: float = 0.0
    input_size: Size | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The mean over images of the nine metrics and "mae"; NaN where there is no image."""
        count = len(self.images) or math.nan
        return {name: math.fsum(image.metrics[name] for image in self.images) / count for name in MEASURES}

    @property
    def repaired(self) -> int:
        """Pixels that counted although the model gave NaN or infinity there."""
        return sum(image.repaired for image in self.images)

    def as_dict(self) -> dict[str, Any]:
        """Everything, in types that JSON knows."""
        return {
            "protocol": self.protocol.name,
            "fingerprint": self.protocol.fingerprint,
            "settings": asdict(self.protocol),
            "input_size": list(self.input_size) if self.input_size else None,
            "images": len(self.images),
            "skipped": len(self.skipped),
            "metrics": self.metrics,
            "repaired": self.repaired,
            "seconds": self.seconds,
            "skipped_names": list(self.skipped),
            "faults": list(self.faults),
            "per_image": [
                {"name": image.name, "pixels": image.pixels, "repaired": image.repaired, **image.metrics}
                for image in self.images
            ],
        }


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

    Raises:
        UserError: If no sample could be judged, or a frame does not suit the protocol.
        ValueError: If the model's output has another shape than promised.
    """
    protocol = protocol if tta is None else protocol.with_(tta=tta)
    judge = _Judge(model, protocol, torch.device(device), size, autocast)
    images: list[ImageScore] = []
    skipped: list[str] = []
    faults: list[str] = []
    with _eval_mode(model):
        for done, sample in enumerate(samples, start=1):
            if sample.faults:  # the sample stands in for these, and is judged in its own place
                faults += sample.faults
            elif score := judge(sample):
                images.append(score)
            else:
                skipped.append(sample.name)
            if progress:
                progress(done, sample.name)
    if not images:
        what = f"{len(skipped)} without ground truth in range, {len(faults)} unreadable"
        raise UserError(f"nothing to evaluate by {protocol.name}: {what}. Give images with their depth")
    return Evaluation(protocol, tuple(images), tuple(skipped), tuple(faults), judge.seconds, size)


@dataclass
class _Judge:
    """Takes a sample to its score, and adds up the time spent in the model."""

    model: Model
    protocol: Protocol
    device: torch.device
    size: Size | None
    autocast: torch.dtype | None
    seconds: float = 0.0

    @torch.inference_mode()
    def __call__(self, sample: Sample) -> ImageScore | None:
        """The sample's score; None where none of its pixels counts."""
        try:
            if not self.protocol.select(sample.depth).any():
                return None
        except SizeError as error:
            raise SizeError(f"{sample.name}: {error}") from None
        image = _as_image(sample.image, self.device)
        rows, cols = self.protocol.input_window(*image.shape[-2:])
        shown = image[..., rows, cols]
        view = (shown.shape[-2], shown.shape[-1])
        depths = self._predict(shown)
        scores = self.protocol.score(depths[0], sample.depth, *depths[1:], view=view)
        metrics = {name: scores[name] for name in MEASURES}
        return ImageScore(sample.name, metrics, int(scores["pixels"]), int(scores["repaired"]))

    def _predict(self, image: Tensor) -> Tensor:
        """Depth (1, h, w) of an image (1, 3, H, W), or (2, h, w) with its mirror image's, at the model's own size."""
        if self.size:
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


def _as_image(image: Any, device: torch.device) -> Tensor:
    """RGB (H, W, 3), uint8 or float in [0, 1], as float32 (1, 3, H, W) in [0, 1]."""
    tensor = as_tensor(image, device).permute(2, 0, 1)[None]
    return tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()


def _wait_for(device: torch.device) -> None:
    """Let the device finish what it was given, so that a clock read now tells the truth."""
    getattr(torch, device.type).synchronize()


@contextmanager
def _eval_mode(model: Model) -> Iterator[None]:
    """Eval mode inside; afterwards every part is as it was, also one that was in another mode than the rest."""
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
