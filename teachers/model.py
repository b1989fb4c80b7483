"""The contract of every depth model, teacher or student, and what all of them do with an image first."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 32  # of the coarsest map
MIN_SIDE = 32  # pixels of an image both ways, the smallest that any model takes
OVERSHOOT = 0.5  # of bicubic resizing at an edge; normalised images go beyond
MAX_SIDE = 8192  # the largest that is asked for: a mistake is met before it fills the memory

# What values mean: metres, inverse depth up to a scale and a shift that nobody knows, or logits of classes.
Output = Literal["metric", "relative", "classes"]
RELATIVE = "relative inverse depth, larger where it is nearer, without a unit"


class DepthModel(nn.Module):
    """A PyTorch module: image (B, 3, H, W), float RGB in [0, 1], any sides from `MIN_SIDE` -> depth (B, 1, H, W).

    Normalisation is inside the model. It pads at the bottom and right to its stride, and cuts its depth back. A
    module of your own with these methods and attributes may be a teacher or a student without being of this class.

    Attributes:
        feature_channels: Of the four maps that `encode` gives.
        min_depth, max_depth: Limits of the depth in metres; None means that it is not clamped.
        output: What the values mean. It belongs to the weights.
        canonical_focal: Where it is not None, depth is what a camera of that focal length in pixels would measure; that
            of an image is the same times the image's own focal length over this one.
        classes: Where `output` is "classes", their names: `forward` and `decode` give logits (B, classes, H, W).
        has_uncertainty: Whether `with_uncertainty` works.
        licence: Of the weights, as their publisher names it; "" where that is not known.
        revision: Of the weights on the Hub that they were fetched from; "" of all others.
        encoder: What `encode` calls: the part that is compiled, divided among processes or has a learning rate.
        decoder: What `decode` calls, a module of four maps and a size: the ghost runs it with constant weights.
    """

    feature_channels: tuple[int, ...]
    min_depth: float | None
    max_depth: float | None
    output: Output = "metric"
    canonical_focal: float | None = None
    classes: tuple[str, ...] = ()
    has_uncertainty: bool = False
    licence: str = ""
    revision: str = ""
    encoder: nn.Module
    decoder: nn.Module

    def encode(self, image: Tensor) -> list[Tensor]:
        """Four maps at strides 4, 8, 16, 32 of the image that the encoder works on, padded to multiples of 32.

        Raises:
            ValueError: If the image is no RGB batch of floats in [0, 1], or smaller than 32 pixels.
        """
        return self.encoder(pad_to_stride(take_image(image, self.encoder)))

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Depth (B, 1, *size) from the four maps."""
        return self.decoder(features, size)

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in [0, 1] -> depth (B, 1, H, W)."""
        return self.decode(self.encode(image), (image.shape[-2], image.shape[-1]))

    def with_uncertainty(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Depth as `forward` gives it, and its standard deviation in metres, both (B, 1, H, W)."""
        raise NotImplementedError

    def inverse(self, output: Tensor) -> Tensor:
        """What `forward` gave as inverse depth, up to a scale and a shift of a relative model."""
        return output if self.output == "relative" else output.reciprocal()


def output_of(model: object) -> Output:
    """What a model says of itself that its values mean; one that says nothing gives metres."""
    return model.output if isinstance(model, DepthModel) else "metric"


def is_relative(model: object) -> bool:
    """Whether a model says of itself that its output has no unit."""
    return output_of(model) == "relative"


def classes_of(model: object) -> tuple[str, ...]:
    """The names of what a model tells apart; none of a model of depth."""
    return model.classes if isinstance(model, DepthModel) else ()


def relative_inverse(model: object, output: Tensor) -> Tensor:
    """The output of a relative model as inverse depth, larger where it is nearer."""
    return model.inverse(output) if isinstance(model, DepthModel) else output


def take_image(image: Tensor, encoder: nn.Module) -> Tensor:
    """The image in the precision of the encoder's weights.

    Raises:
        ValueError: Unless it is a float RGB batch (B, 3, H, W) in [0, 1] with both sides at least 32.
    """
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"an image batch must be (B, 3, H, W), got {tuple(image.shape)}")
    if min(image.shape[-2:]) < MIN_SIDE:
        raise ValueError(
            f"both sides must be at least {MIN_SIDE} pixels, got {tuple(image.shape[-2:])}; enlarge the image"
        )
    check_pixels(image)
    weight = next((p for p in encoder.parameters() if p.is_floating_point()), image)
    return image.to(weight.dtype)


def check_pixels(image: Tensor) -> None:
    """Raise ValueError unless pixels are floats in [0, 1], with some room for what resizing overshoots.

    Values are looked at where that costs nothing: on a CPU, and not while a graph is traced.
    """
    if not image.is_floating_point():
        raise ValueError(f"pixels must be floats in [0, 1], got {image.dtype}; give image.float() / 255 for bytes")
    if type(image) is not Tensor or image.device.type != "cpu" or not image.numel():
        return
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return
    low, high = (value.item() for value in image.detach().aminmax())
    if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
        raise ValueError(
            f"pixels must lie in [0, 1], got {low:.4g} to {high:.4g}; divide bytes by 255, and leave normalisation to "
            "the network"
        )


def pad_to_stride(image: Tensor) -> Tensor:
    """Repeat the last row and column until both sides are multiples of 32; such images are untouched."""
    bottom, right = -image.shape[-2] % STRIDE, -image.shape[-1] % STRIDE
    return F.pad(image, (0, right, 0, bottom), mode="replicate") if bottom or right else image


def no_autocast(device: str) -> AbstractContextManager[object]:
    """A context without automatic mixed precision, which the meta device does not know."""
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)


def replace_modules(model: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """Put another module in the place of those inside `model` for which `replacement` gives one; returns `model`."""
    for name, child in model.named_children():
        if (other := replacement(child)) is not None:
            setattr(model, name, other)
        else:
            replace_modules(child, replacement)
    return model
