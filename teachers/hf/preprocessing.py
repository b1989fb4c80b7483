"""What the processor of a class does with a picture before its network, and afterwards with its depth."""

from __future__ import annotations

import math
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from teachers.model import MAX_SIDE
from teachers.weight_files import Json

# Normalisation of a class where its folder has no preprocessor_config.json: mean and deviation of every channel.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,) * 3, (0.5,) * 3)
NONE = ((0.0,) * 3, (1.0,) * 3)
USUAL = {"depth_anything": IMAGENET, "dpt": HALF, "zoedepth": HALF, "glpn": NONE, "tipsv2_dpt": NONE}

TRIED = (48, 80)  # size of pictures on which a processor is tried

Values = tuple[float, ...]


def as_tuple(values: object) -> Values:
    """A JSON list as a tuple; what is none stays, for `Preprocessing.fault` to name."""
    return tuple(values) if isinstance(values, list) else cast(Values, values)


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
        mean: Values
        deviation: Values
        mean, deviation = USUAL.get(kind, NONE)
        if facts.get("do_normalize", True) and "image_mean" in facts:
            mean, deviation = (as_tuple(facts.get(key)) for key in ("image_mean", "image_std"))
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

    def fault(self, facts: Json) -> str | None:
        """What in a processor's file contradicts the network or this class, in words; None where nothing does.

        A black and a white picture show whether it does to pixels what it says.
        """
        sides = facts.get("size")
        numbers = [*sides.values()] if isinstance(sides, dict) else [sides]
        if any(isinstance(side, int | float) and not 0 < side <= MAX_SIDE for side in numbers):
            return f"size is {sides}, expected sides of 1 to {MAX_SIDE}"
        if facts.get("do_center_crop"):  # which pictures of one colour do not show
            return "do_center_crop cuts a part out, of which alone there would be depth"
        if not all(isinstance(values, tuple) and len(values) == 3 for values in (self.mean, self.deviation)):
            return "image_mean and image_std must be three numbers each"
        if 0 in self.deviation:
            return "image_std is 0, by which pixels are divided"
        try:
            black, white = (self(torch.full((1, 3, *TRIED), value)) for value in (0.0, 1.0))
            expected = (1 / torch.tensor(self.deviation)).view(1, -1, 1, 1).expand_as(black)
        except Exception as error:  # whatever another library makes of values that nobody foresaw
            return f"it fails on a picture ({type(error).__name__}: {error})"
        if self.fixed and tuple(black.shape[-2:]) != self.fixed:
            return f"it gives {tuple(black.shape[-2:])}, and the network takes {self.fixed} only"
        if not torch.allclose(white - black, expected, rtol=1e-2):
            return "its pixels are not those of [0, 1], less image_mean, over image_std: look at rescale_factor"
        return None

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
