"""Dense Prediction Transformer (arXiv 2103.13413): the whole network and its published sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from teachers.class_names import ADE20K
from teachers.fusion import ClassHead, FusionDecoder, Head
from teachers.model import MIN_SIDE, DepthModel, pad_to_stride, take_image
from teachers.stem import ResNetStem, StemConfig
from teachers.vit import Attention, AttentionFactory, Reassemble, ViT

MOST_CLASSES = 255  # in 8 bits, beside "none"


@dataclass(frozen=True)
class DPTConfig:
    """Everything that decides a DPT's shape and the meaning of its output.

    `hooks` are the tapped blocks, counted from 0: four without a stem, two with one (the stem gives strides 4 and 8).
    `channels` are those of the four reassembled maps. The raw output y becomes 1 / max(scale * y + shift, 1e-8) metres
    where `invert`, and stays y otherwise; `min_depth` and `max_depth` then clamp it, None means no limit. With the
    names of `classes` the output is not depth but one logit for each of them, and the decoder has norms.
    """

    width: int = 768
    heads: int = 12
    hooks: tuple[int, ...] = (8, 11)
    channels: tuple[int, int, int, int] = (256, 512, 768, 768)
    stem: StemConfig | None = field(default_factory=StemConfig)
    grid: int = 24
    features: int = 256
    head_hidden: int = 32
    readout: str = "project"
    non_negative: bool = True
    scale: float = 1.0
    shift: float = 0.0
    invert: bool = False
    min_depth: float | None = None
    max_depth: float | None = None
    resolution_scale: float = 1.0
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wanted = 4 if self.stem is None else 2
        if len(self.hooks) != wanted or list(self.hooks) != sorted(set(self.hooks)) or self.hooks[0] < 0:
            raise ValueError(f"hooks must be {wanted} increasing block numbers from 0, got {tuple(self.hooks)}")
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"heads={self.heads} does not divide the width {self.width}; choose a divisor such as 1")
        if self.invert and self.scale == 0:
            raise ValueError("scale must not be 0 where the output is inverted: one depth would be everywhere")
        if self.classes and (self.invert or self.min_depth is not None or self.max_depth is not None):
            raise ValueError("classes are no depth: leave out invert, min_depth and max_depth")
        if len(self.classes) > MOST_CLASSES:
            raise ValueError(f"{len(self.classes)} classes are more than the {MOST_CLASSES} that a picture can number")
        if not 0 < self.resolution_scale <= 1:
            raise ValueError(f"resolution_scale must lie in (0, 1], got {self.resolution_scale}")
        if self.resolution_scale * self.grid < 1:
            raise ValueError(
                f"resolution_scale={self.resolution_scale} leaves less than one patch of 16 pixels of the "
                f"{16 * self.grid} that the network was made for; choose at least 1/{self.grid}"
            )


class DPTEncoder(nn.Module):
    """image (B, 3, H, W) in [-1, 1], sides multiples of 32 -> four maps at strides 4, 8, 16, 32."""

    def __init__(self, config: DPTConfig, stem: nn.Module | None, attention: AttentionFactory) -> None:
        super().__init__()
        if stem is None and config.stem is not None:
            stem = ResNetStem(config.stem)
        self.stem = stem
        inputs, patch = (config.stem.channels[-1], 1) if config.stem else (3, 16)
        self.vit = ViT(inputs, patch, config.width, config.heads, config.grid, tuple(config.hooks), attention)
        count = len(config.hooks)
        self.reassemble = nn.ModuleList(
            Reassemble(config.width, channels, factor, config.readout)
            for channels, factor in zip(config.channels[-count:], (4, 2, 1, 0.5)[-count:], strict=True)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised image -> its four maps."""
        maps = self.stem(image) if self.stem is not None else [image]
        taps, size = self.vit(maps[-1])
        return maps[:-1] + [part(tokens, size) for part, tokens in zip(self.reassemble, taps, strict=True)]


HEADS: dict[str, Callable[[DPTConfig], Head | ClassHead]] = {
    "depth": lambda config: Head(config.features, config.head_hidden, config.non_negative),
    "classes": lambda config: ClassHead(config.features, len(config.classes)),
}


class DPTDecoder(nn.Module):
    """Four maps -> depth (B, 1, H, W) in metres, clamped to the limits, or logits of classes, at the image's size."""

    def __init__(self, config: DPTConfig) -> None:
        super().__init__()
        self.config = config
        make_head = partial(HEADS["classes" if config.classes else "depth"], config)
        self.fuse = FusionDecoder(config.channels, config.features, make_head, norm=bool(config.classes))

    def to_depth(self, raw: Tensor) -> Tensor:
        """The raw output as depth in metres (at least float32 where inverted: half precision cannot hold 1e-8)."""
        config = self.config
        if config.invert:
            raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
            raw = 1.0 / (config.scale * raw + config.shift).clamp(min=1e-8)
        if config.min_depth is not None or config.max_depth is not None:
            raw = raw.clamp(min=config.min_depth, max=config.max_depth)
        return raw

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Four maps -> depth (B, 1, *size), or logits (B, classes, *size)."""
        inner = inner_size(size, self.config.resolution_scale)
        depth = self.to_depth(self.fuse(features)[..., : inner[0], : inner[1]])
        return depth if inner == tuple(size) else F.interpolate(depth, size=size, mode="bilinear", align_corners=False)


def inner_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """The size that the encoder works on, before padding."""
    if scale == 1:
        return size
    if torch.jit.is_tracing():  # sides are tensors then, which cannot be rounded
        size = int(size[0]), int(size[1])
    return max(MIN_SIDE, round(size[0] * scale)), max(MIN_SIDE, round(size[1] * scale))


def shrink(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with antialiasing; in exported graphs as two products, exactly.

    Runtimes have no such operation, or weigh the pixels of a wide filter otherwise, by up to 0.1 % of the depth.
    """
    if not (torch.jit.is_tracing() or torch.compiler.is_exporting()):
        return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
    down, across = (antialiasing(int(side), new, image) for side, new in zip(image.shape[-2:], size, strict=True))
    return down @ image @ across.T


def antialiasing(inputs: int, outputs: int, like: Tensor) -> Tensor:
    """The weights (outputs, inputs) by which one axis is resized: triangles that reach from one pixel to the next."""
    step = inputs / outputs
    centres = step * (np.arange(outputs)[:, None] + 0.5)
    weights = np.maximum(0, 1 - np.abs(np.arange(inputs) + 0.5 - centres) / max(step, 1))
    weights /= weights.sum(axis=1, keepdims=True)
    return torch.tensor(weights.tolist(), dtype=like.dtype, device=like.device)  # a constant of the graph, so


class DPT(DepthModel):
    """The whole network.

    Args:
        config: Its shape and the meaning of its output.
        stem: Another stem with the three maps of `config.stem`: normalised image -> `config.stem.channels` channels at
            strides 4, 8 and 16.
        attention: Makes each block's attention.
    """

    encoder: DPTEncoder
    decoder: DPTDecoder

    def __init__(
        self, config: DPTConfig, *, stem: nn.Module | None = None, attention: AttentionFactory = Attention
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = DPTEncoder(config, stem, attention)
        self.decoder = DPTDecoder(config)
        self.feature_channels = tuple(config.channels)
        self.min_depth, self.max_depth = config.min_depth, config.max_depth
        self.classes = config.classes
        # Without a conversion the raw output has no known unit.
        self.output = "classes" if config.classes else "metric" if config.invert else "relative"

    def encode(self, image: Tensor) -> list[Tensor]:
        """Four maps at strides 4, 8, 16, 32 of the image the encoder works on."""
        image = take_image(image, self.encoder)
        if self.config.resolution_scale != 1:
            size = inner_size((image.shape[-2], image.shape[-1]), self.config.resolution_scale)
            wide = image.to(torch.promote_types(image.dtype, torch.float32))  # a CPU has no other antialiasing
            image = shrink(wide, size).to(image.dtype)
        return self.encoder((pad_to_stride(image) - 0.5) / 0.5)


DPT_CONFIGS: dict[str, DPTConfig] = {
    "dpt_hybrid": DPTConfig(),
    "dpt_base": DPTConfig(stem=None, hooks=(2, 5, 8, 11), channels=(96, 192, 384, 768)),
    "dpt_large": DPTConfig(stem=None, width=1024, heads=16, hooks=(5, 11, 17, 23), channels=(256, 512, 1024, 1024)),
    "dpt_micro": DPTConfig(
        width=160,
        heads=5,
        hooks=(3, 5),
        channels=(64, 128, 160, 160),
        stem=StemConfig(layers=(2, 2, 2), channels=(64, 128, 256), width=32, groups=16),
        grid=12,
        features=64,
        head_hidden=16,
        scale=0.1,
        shift=0.0125,
        invert=True,
        min_depth=1e-3,
        max_depth=80.0,
    ),
}
DPT_CONFIGS |= {
    f"{name}_ade20k": replace(DPT_CONFIGS[name], classes=ADE20K) for name in ("dpt_hybrid", "dpt_large")
}  # after those of depth, to which an encoder alone is said to belong


def init_output(model: DPT, depth: float) -> None:
    """Start training from a constant depth in metres, so that the last rectification is not dead at birth."""
    config, last = model.config, model.decoder.fuse.head.conv3
    with torch.no_grad():
        last.weight.mul_(0.1)
        start = (1 / depth - config.shift) / config.scale if config.invert else depth
        nn.init.constant_(last.bias, start)  # type: ignore[arg-type]
