"""One image with its depth, the data sets that yield such samples, and the batches that every loop consumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from distill.data.files.pairs import Contents, Shapes


@dataclass(frozen=True)
class Sample:
    """An image and what is known of its depth.

    `image` is RGB, (H, W, 3), uint8 as read from disk, or float32 in [0, 1]. `depth` is float32
    (H, W) in metres, 0 where nothing was measured. `valid` is bool (H, W): the pixels that may be learnt from.
    `intrinsics` is the float64 3x3 camera matrix in pixels of `image`, where known; `no_camera` says why the one that
    is stated cannot be used. `name` identifies the files.
    `faults` names the files that could not be read and in whose place this sample stands. `label` is what a teacher has
    written of the image, float32 (H, W), NaN where it said nothing: metres, or where it is `relative`, inverse depth up
    to scale and shift. `shapes` is what is known of edges and planes, where a set has that.
    """

    image: np.ndarray
    depth: np.ndarray
    valid: np.ndarray
    name: str
    intrinsics: np.ndarray | None = None
    faults: tuple[str, ...] = ()
    label: np.ndarray | None = None
    relative: bool = False
    shapes: Shapes | None = None
    canonical: float | None = None  # what its depth in metres was multiplied by, see `to_canonical`
    no_camera: str = ""


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
        label, kind = self.contents.read_label(pair, image), self.contents.labels
        relative = kind is not None and kind.output == "relative"
        contents = self.contents
        intrinsics, why = contents.camera_of(pair, depth.shape)
        shapes = contents.shapes(pair, depth.shape) if contents.shapes else None
        return Sample(
            image,
            depth,
            depth > 0,
            pair.name,
            intrinsics,
            label=label,
            relative=relative,
            shapes=shapes,
            no_camera=why,
        )


@dataclass(frozen=True)
class Batch:
    """Samples of one size as tensors: image (B, 3, H, W), depth, valid and label (B, 1, H, W), relative (B,).

    `label` is None where no image has one, `relative` where none is. `canonical` (B,) is what depth was multiplied by,
    None where it is in metres. Images of bytes stay bytes on the way from the
    loader's processes, a quarter of the weight; `to` makes every image float32 in [0, 1].
    """

    image: Tensor
    depth: Tensor
    valid: Tensor
    names: tuple[str, ...]
    faults: tuple[str, ...] = ()
    label: Tensor | None = None
    relative: Tensor | None = None
    canonical: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device, ready for a network; copied without waiting where memory is pinned."""
        batch = self.each(lambda one: one.to(device, non_blocking=True))
        divisor = 255 if batch.image.dtype == torch.uint8 else 1
        image = batch.image.to(torch.float32, memory_format=torch.contiguous_format, copy=True).div_(divisor)
        return replace(batch, image=image)

    def pin_memory(self) -> Batch:
        """Called by PyTorch's loader when it pins batches for a GPU."""
        return self.each(Tensor.pin_memory)

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with every tensor changed."""
        known = self.label, self.relative, self.canonical
        label, relative, canonical = (None if one is None else change(one) for one in known)
        image, depth, valid = (change(one) for one in (self.image, self.depth, self.valid))
        return replace(self, image=image, depth=depth, valid=valid, label=label, relative=relative, canonical=canonical)


def to_tensor(image: np.ndarray) -> Tensor:
    """An RGB image (H, W, 3), uint8 or float, as a float32 tensor (3, H, W) in [0, 1]."""
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return tensor.float().div(255) if image.dtype == np.uint8 else tensor.float()


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of equal size into one batch."""
    relative = [sample.relative for sample in samples]
    canonical = [sample.canonical for sample in samples if sample.canonical is not None]
    return Batch(
        image=stack([sample.image for sample in samples]).permute(0, 3, 1, 2),
        depth=stack([sample.depth for sample in samples])[:, None].float(),
        valid=stack([sample.valid for sample in samples])[:, None],
        names=tuple(sample.name for sample in samples),
        faults=tuple(fault for sample in samples for fault in sample.faults),
        label=stack_labels(samples),
        relative=torch.tensor(relative) if any(relative) else None,
        canonical=torch.tensor(canonical) if canonical else None,
    )


def stack(maps: Sequence[np.ndarray]) -> Tensor:
    """Arrays of equal size as one tensor, which PyTorch puts into shared memory at once in a process that loads."""
    stacked: Tensor = default_collate([torch.from_numpy(np.ascontiguousarray(one)) for one in maps])
    return stacked


def stack_labels(samples: Sequence[Sample]) -> Tensor | None:
    """The labels (B, 1, H, W) of samples, NaN where one has none; None where none has."""
    if all(sample.label is None for sample in samples):
        return None
    nothing = np.full_like(samples[0].depth, np.nan, dtype=np.float32)
    return stack([nothing if sample.label is None else sample.label for sample in samples])[:, None]
