"""A depth model that takes images of any size: resized for it, padded by itself, mirrored where that is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.data import Sample, resize_image, to_tensor
from distill.data.focal import metres_of
from distill.errors import UserError
from distill.evaluation import Prediction, Protocol
from distill.evaluation.scores import Size
from teachers.model import MIN_SIDE, DepthModel, classes_of, is_relative, relative_inverse

CHANNELS = 16  # of logits that are resized together: 150 of a large image would fill the memory

Model = Callable[[Tensor], Tensor]  # image (B, 3, H, W) in [0, 1] -> depth (B, 1, H, W)


@dataclass
class Network:
    """Depth of samples and images by one model; the time spent in the model adds up in `seconds`.

    Attributes:
        model: Image (B, 3, H, W) in [0, 1] -> depth in metres, (B, 1, H, W). B is 2 where the mirrored image counts. Of
            a relative model the depths are relative inverse depth instead, larger where it is nearer.
        protocol: Defines what the model is shown of a sample: KITTI's cut or all, and the mirrored image or not.
        device: Where the model is; images are taken there.
        size: (H, W) to which images are resized for the model; None leaves them as they are.
        intrinsics: Camera matrix (3, 3) in pixels of the images of `images`, for a model of a canonical camera.
        autocast: Precision the model runs in, such as torch.bfloat16; None leaves it alone.
        confidence: Whether predictions carry their uncertainty, of a model that has it.
    """

    model: Model
    protocol: Protocol | None
    device: torch.device
    size: Size | None = None
    autocast: torch.dtype | None = None
    confidence: bool = False
    seconds: float = 0.0
    intrinsics: np.ndarray | None = None

    @property
    def canonical_focal(self) -> float | None:
        """Of the model: None where its depth is that of the image."""
        return self.model.canonical_focal if isinstance(self.model, DepthModel) else None

    @torch.inference_mode()
    def __call__(self, sample: Sample) -> Prediction:
        """The prediction of a sample, and of its mirrored image where the protocol asks for that.

        Raises:
            UserError: If the image is smaller than the model takes.
            ValueError: If the model's output has another shape than promised.
        """
        assert self.protocol is not None
        rows, cols = self.protocol.input_window(*sample.depth.shape)
        shown = sample.image[rows, cols]
        height, width = shown.shape[:2]
        if self.size is None and min(height, width) < MIN_SIDE and isinstance(self.model, DepthModel):
            seen = f"{sample.name} is {height}x{width} (height x width)"
            raise UserError(f"{seen}, expected at least {MIN_SIDE} both ways; enlarge images by an input size")
        mirrored = self.protocol.tta != "none"
        times = metres_of(self.canonical_focal, replace(sample, image=shown), self.size or (height, width))
        uncertainty = None
        if self.confidence:
            depths, spreads = (self.moments([shown], mirrored=mirrored) * times).unbind(1)
            uncertainty = (spreads[0] + spreads[1].fliplr()) / 2 if mirrored else spreads[0]
        else:
            depths = self.depth([shown], mirrored=mirrored) * times
        flipped = depths[1] if mirrored else None
        return Prediction(depths[0], flipped, (height, width), is_relative(self.model), uncertainty)

    @torch.inference_mode()
    def depth(self, images: Sequence[np.ndarray], *, mirrored: bool = False) -> Tensor:
        """Depth (B, h, w), float32, of images (H, W, 3) of one size, at the size that the model works on.

        With `mirrored`, that of the mirrored images follows, still mirrored: (2 B, h, w).
        """
        depth = self.output(images, mirrored=mirrored, channels=1)
        return (relative_inverse(self.model, depth) if is_relative(self.model) else depth)[:, 0].float()

    def moments(self, images: Sequence[np.ndarray], *, mirrored: bool = False) -> Tensor:
        """Depth and its standard deviation in metres, (B, 2, h, w), otherwise as `depth`."""
        model = self.model
        assert isinstance(model, DepthModel)
        both = self.output(
            images, mirrored=mirrored, channels=2, model=lambda batch: torch.cat(model.with_uncertainty(batch), 1)
        )
        return both.float()

    def output(
        self, images: Sequence[np.ndarray], *, mirrored: bool, channels: int, model: Model | None = None
    ) -> Tensor:
        """What the model gives for images (H, W, 3) of one size, (B, channels, h, w) at the size that it works on."""
        shown = torch.stack([network_image(image, self.size) for image in images]).to(self.device)
        batch = torch.cat([shown, shown.flip(-1)]) if mirrored else shown
        precision = torch.autocast(self.device.type, dtype=self.autocast) if self.autocast else nullcontext()
        wait_for(self.device)
        start = time.perf_counter()
        with precision:
            output = (model or self.model)(batch)
        wait_for(self.device)
        self.seconds += time.perf_counter() - start
        expected = (len(batch), channels, *batch.shape[-2:])
        if tuple(output.shape) != expected:
            raise ValueError(f"the model made {tuple(output.shape)} of {tuple(batch.shape)}, expected {expected}")
        return output

    @torch.inference_mode()
    def images(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Depths, float32 (H, W), of uint8 images (H, W, 3) of one size, at their size.

        Of a model of classes it is the class of each pixel, uint8 (H, W), counted from 0; the protocol's TTA counts.
        """
        shape = images[0].shape[:2]
        if names := classes_of(self.model):
            return list(largest(self.scores(images, len(names)), shape).to(torch.uint8).cpu().numpy())
        return list(at_size(self.depth(images)[:, None] * self.factor(images[0]), shape)[:, 0])

    def scores(self, images: Sequence[np.ndarray], classes: int) -> Tensor:
        """Logits (B, classes, h, w) or, where the protocol asks for the mirrored image too, the mean probabilities."""
        if self.protocol is None or self.protocol.tta == "none":
            return self.output(images, mirrored=False, channels=classes)
        both = self.output(images, mirrored=True, channels=classes).float().softmax(dim=1)
        plain, flipped = both.chunk(2)
        return (plain + flipped.flip(-1)) / 2

    @torch.inference_mode()
    def with_uncertainty(self, images: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Depth and its standard deviation in metres, float32 (H, W), of each of such images, at its size."""
        moments = self.moments(images) * self.factor(images[0])
        return [(depth, spread) for depth, spread in at_size(moments, images[0].shape[:2])]

    def factor(self, image: np.ndarray) -> float:
        """What makes the model's depth of an image (H, W, 3) metres, by `intrinsics`."""
        seen = Sample(image, np.zeros(0), np.zeros(0), "these images", self.intrinsics)
        return metres_of(self.canonical_focal, seen, self.size or (image.shape[0], image.shape[1]))


def at_size(maps: Tensor, size: Size) -> np.ndarray:
    """Maps (B, C, h, w) at another size, (B, C, *size), bilinear."""
    if maps.shape[-2:] != size:
        maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    array: np.ndarray = maps.cpu().numpy()
    return array


def largest(logits: Tensor, size: Size) -> Tensor:
    """The number of the largest of logits (B, C, h, w) at another size, (B, *size): bicubic, as DPT's script does."""
    best = logits.new_full((len(logits), *size), -torch.inf, dtype=torch.float32)
    number = torch.zeros_like(best, dtype=torch.long)
    for start in range(0, logits.shape[1], CHANNELS):
        part = logits[:, start : start + CHANNELS].float()
        if part.shape[-2:] != size:
            part = F.interpolate(part, size=size, mode="bicubic", align_corners=False)
        value, index = part.max(dim=1)
        number = torch.where(value > best, index + start, number)
        best = torch.maximum(value, best)
    return number


def network_image(image: np.ndarray, size: Size | None) -> Tensor:
    """An image (H, W, 3) as a model sees it, (3, h, w) in [0, 1]: at the run's size, resized as in training."""
    return to_tensor(image if size is None else resize_image(image, size))


def protocols_for(model: object, protocols: Sequence[Protocol]) -> list[Protocol]:
    """The protocols as a model's output can be scored: what is relative is aligned with the truth first."""
    return [protocol.affine() for protocol in protocols] if is_relative(model) else list(protocols)


def wait_for(device: torch.device) -> None:
    """Let the device finish its work, so that a clock read now is right."""
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
