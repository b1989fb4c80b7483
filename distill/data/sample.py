"""One image with its depth, the data sets that yield such samples, and the batches that every loop consumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from distill.data.files.pairs import Contents


@dataclass(frozen=True)
class Sample:
    """An image and what is known of its depth.

    `image` is RGB, (H, W, 3), uint8 as read from disk, or float32 in [0, 1]. `depth` is float32
    (H, W) in metres, 0 where nothing was measured. `valid` is bool (H, W): the pixels that may be learnt from.
    `intrinsics` is the float64 3x3 camera matrix in pixels of `image`, where known. `name` identifies the files.
    `faults` names the files that could not be read and in whose place this sample stands.
    """

    image: np.ndarray
    depth: np.ndarray
    valid: np.ndarray
    name: str
    intrinsics: np.ndarray | None = None
    faults: tuple[str, ...] = ()


class DepthDataset(Protocol):
    """A finite, indexable set of samples."""

    max_depth: float  # cap of its ground truth in metres
    contents: Contents | None = None  # what its list of files stands for; None of a set that is not read from files

    @property
    def without_truth(self) -> tuple[str, ...]:
        """Names of frames that are left out for want of ground truth."""
        return () if self.contents is None else self.contents.without_truth

    @property
    def units(self) -> tuple[float, bool]:
        """Units per metre of the depth maps, for messages, and whether they hold floating-point numbers."""
        return (1.0, True) if self.contents is None else self.contents.units

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sample: ...


class PairDataset(DepthDataset):
    """A `DepthDataset` of the files that a list stands for.

    Raises:
        UserError: If files are missing, or there is no ground truth where some is expected.
    """

    def __init__(self, contents: Contents) -> None:
        contents.check()
        self.contents: Contents = contents
        self.pairs, self.max_depth = contents.usable, contents.max_depth

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Read one pair.

        Raises:
            DecodeError: If one of its files cannot be read.
            UserError: If its depth map is not a depth map, or of another size.
        """
        pair = self.pairs[index]
        image, depth = self.contents.read(pair)
        return Sample(image, depth, valid=depth > 0, name=pair.name, intrinsics=pair.intrinsics)


@dataclass(frozen=True)
class Batch:
    """Samples of one size as tensors: image (B, 3, H, W), depth and valid (B, 1, H, W).

    Images of bytes stay bytes on the way from the loader's processes, a quarter of the weight; `to` makes every image
    float32 in [0, 1].
    """

    image: Tensor
    depth: Tensor
    valid: Tensor
    names: tuple[str, ...]
    faults: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device, ready for a network; copied without waiting where memory is pinned."""
        image, depth, valid = (one.to(device, non_blocking=True) for one in (self.image, self.depth, self.valid))
        divisor = 255 if image.dtype == torch.uint8 else 1
        image = image.to(torch.float32, memory_format=torch.contiguous_format, copy=True).div_(divisor)
        return replace(self, image=image, depth=depth, valid=valid)

    def pin_memory(self) -> Batch:
        """Called by PyTorch's loader when it pins batches for a GPU."""
        return replace(self, **{key: getattr(self, key).pin_memory() for key in ("image", "depth", "valid")})


def to_tensor(image: np.ndarray) -> Tensor:
    """An RGB image (H, W, 3), uint8 or float, as a float32 tensor (3, H, W) in [0, 1]."""
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return tensor.float().div(255) if image.dtype == np.uint8 else tensor.float()


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of equal size into one batch."""
    # PyTorch's own stacking writes into shared memory at once where this is a process that loads.
    images, depths, valid = (
        default_collate([torch.from_numpy(np.ascontiguousarray(one)) for one in maps])
        for maps in zip(*((s.image, s.depth, s.valid) for s in samples), strict=True)
    )
    return Batch(
        image=images.permute(0, 3, 1, 2),
        depth=depths[:, None].float(),
        valid=valid[:, None],
        names=tuple(s.name for s in samples),
        faults=tuple(fault for s in samples for fault in s.faults),
    )
