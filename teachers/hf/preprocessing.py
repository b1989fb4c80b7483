"""What the processor of a class does with a picture before its network, and afterwards with its depth."""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from teachers.weight_files import Json

# Normalisation of a class where its folder has no preprocessor_config.json: mean and deviation of every channel.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,) * 3, (0.5,) * 3)
NONE = ((0.0,) * 3, (1.0,) * 3)
USUAL = {"depth_anything": IMAGENET, "dpt": HALF, "zoedepth": HALF, "glpn": NONE, "tipsv2_dpt": NONE}

Values = tuple[float, ...]


class Processor(Protocol):
    """An image processor of `transformers`: pictures -> a mapping that holds `pixel_values`."""

    def __call__(self, images: list[Tensor], *, return_tensors: str) -> dict[str, Tensor]: ...


class Preprocessing:
    """Image (B, 3, H, W) in [0, 1] -> pixels as the network takes them.

    With a processor, images are resized and padded as it says, and rounded to 8 bits first, as pictures on disk are.
    Where it leaves the size alone they are normalised only, and without a processor also resized to sides that the
    network takes.

    Args:
        processor: That of the folder, None where it has none.
        multiple: Sides must be multiples of it.
        fixed: The one size that the network takes, (H, W); None takes any.
    """

    def __init__(
        self, processor: Processor | None, facts: Json, kind: str, multiple: int, fixed: tuple[int, int] | None
    ) -> None:
        self.processor, self.multiple, self.fixed = processor, multiple, fixed
        self.resizes = processor is not None and (facts.get("do_resize", True) or bool(facts.get("do_pad")))
        self.pads = kind == "zoedepth" and processor is not None and facts.get("do_pad", True)
        mean, deviation = USUAL.get(kind, NONE)
        if facts.get("do_normalize", True) and "image_mean" in facts:
            mean, deviation = tuple(facts["image_mean"]), tuple(facts["image_std"])
        self.mean, self.deviation = mean, deviation

    def __call__(self, image: Tensor) -> Tensor:
        """Pixels (B, 3, h, w) of a batch."""
        if self.processor is None:
            size = self.fixed or tuple(max(1, round(side / self.multiple)) * self.multiple for side in image.shape[-2:])
            if tuple(image.shape[-2:]) != size:
                image = F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
        elif self.resizes:
            pictures = list((image.detach() * 255).round().clamp(0, 255).to(torch.uint8))
            pixels = self.processor(pictures, return_tensors="pt")["pixel_values"]
            if pixels.shape != image.shape:
                return pixels.to(image.device, image.dtype)
        mean, deviation = (image.new_tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.deviation))
        return (image - mean) / deviation

    def margin(self, side: int) -> int:
        """Pixels that ZoeDepth's processor adds at both ends of a side, mirrored."""
        return int(math.sqrt(side / 2) * 3) if self.pads else 0

    def back(self, depth: Tensor, size: tuple[int, int], mode: str) -> Tensor:
        """Depth (B, h, w) of the network at the size of the image, without what was added: (B, 1, *size)."""
        top, left = self.margin(size[0]), self.margin(size[1])
        padded = (size[0] + 2 * top, size[1] + 2 * left)
        depth = depth[:, None].float()
        if tuple(depth.shape[-2:]) != padded:
            depth = F.interpolate(depth, size=padded, mode=mode, align_corners=False)
        return depth[..., top : top + size[0], left : left + size[1]]
