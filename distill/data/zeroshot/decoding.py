"""Depth as each of these data sets stores it: metres along the optical axis, float32, 0 where nothing counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from distill.data.files.pairs import Pair, check_size
from distill.data.files.reading import (
    DecodeError,
    NotDepth,
    Units,
    read_depth,
    read_file,
    read_image,
    read_mask,
    read_values,
)
from distill.data.nyu.labelled import extra

Size = tuple[int, int]
Decode = Callable[[str, Size], np.ndarray]  # a file, and the size of its image

FARTHEST_SUN = 8000  # millimetres, beyond which SUN RGB-D's toolbox has no depth
FOCAL_SHARE = 886.81 / 1024  # of Hypersim's cameras: focal length by the width of the frame


@dataclass(frozen=True)
class PublishedReader:
    """Reads an image, its depth, and the masks outside of which depth does not count.

    `masks` are replacements in the path of the depth map that give a mask's; depth counts where no mask is 0.
    `fits` lets a picture be of another size than its depth: it is brought to that size by area.
    """

    decode: Decode
    masks: tuple[tuple[str, str], ...] = ()
    fits: bool = False

    def __call__(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        image = read_image(pair.image)
        assert pair.depth is not None
        depth = self.decode(pair.depth, image.shape[:2])
        if self.fits and image.shape[:2] != depth.shape:
            image = np.asarray(cv2.resize(image, depth.shape[::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)
        check_size(pair.depth, depth, pair.image, image)
        for path in mask_paths(pair.depth, self.masks):
            mask = read_mask(path)
            check_size(path, mask, pair.image, image)
            depth = depth * mask
        return image, depth


def mask_paths(depth: str, masks: tuple[tuple[str, str], ...]) -> list[str]:
    """Where the masks of a depth map lie."""
    heads = [depth.rpartition(old) for old, _ in masks]
    return [f"{head}{new}{tail}" for (head, _, tail), (_, new) in zip(heads, masks, strict=True)]


def picture(scale: float) -> Decode:
    """Of 16-bit PNGs or floating-point arrays with so many units per metre."""
    return lambda path, size: read_depth(path, Units(usual=scale))


def sun_rgbd(path: str, size: Size) -> np.ndarray:
    """Millimetres turned left by three bits within 16."""
    raw, _ = read_values(path)
    if raw.dtype != np.uint16 or raw.ndim != 2:
        raise NotDepth(path, "is no 16-bit picture of one channel, expected SUN RGB-D's depth")
    millimetres = (raw >> 3) | (raw << 13)
    return np.where(millimetres <= FARTHEST_SUN, millimetres, 0).astype(np.float32) / np.float32(1000)


def eth3d(path: str, size: Size) -> np.ndarray:
    """float32 row by row, without a header, of the size of its distorted picture; infinite where unknown."""
    raw = read_file(path)
    if len(raw) != 4 * size[0] * size[1]:
        raise NotDepth(
            path,
            f"holds {len(raw) // 4} values, but its image is {size[0]}x{size[1]} (height x width): expected the "
            "distorted pictures of dslr_images, of which the depth is",
        )
    depth = np.frombuffer(raw, "<f4").reshape(size)
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)


def hypersim(path: str, size: Size) -> np.ndarray:
    """Distances to the camera's centre; what belongs to no entity, where that is on disk, does not count."""
    distance = _hdf5(path)
    if distance is None:
        raise DecodeError(path, "no such file")
    height, width = distance.shape
    focal = FOCAL_SHARE * width
    x, y = np.arange(width) - width / 2 + 0.5, np.arange(height)[:, None] - height / 2 + 0.5
    depth = distance.astype(np.float64) * focal / np.sqrt(x * x + y * y + focal * focal)
    entity = _hdf5(path.replace("depth_meters", "render_entity_id"))
    known = np.isfinite(depth) & (depth > 0) & (True if entity is None else entity != -1)
    return np.where(known, depth, 0).astype(np.float32)


def _hdf5(path: str) -> np.ndarray | None:
    """The one array of a file of Hypersim; None where there is no file."""
    h5py = extra("h5py")
    try:
        with h5py.File(path, "r") as file:
            return np.asarray(file["dataset"])
    except FileNotFoundError:
        return None
    except (OSError, KeyError) as error:
        raise DecodeError(path, " ".join(str(error).split())) from None
