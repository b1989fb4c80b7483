"""Changing a sample's geometry and colours: resizing, and the random augmentation of training.

Pixel centres lie at whole numbers, as in OpenCV: the image spans -0.5 to W - 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from distill.data.sample import Sample
from distill.errors import UserError


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image (H, W, 3), uint8 or float32, at `size` = (height, width): what every network sees, learning or not.

    Along each axis it is shrunk by the mean over each pixel's area, or enlarged bilinearly. Whoever deploys a student
    beside this framework gets the same from OpenCV's INTER_AREA where both sides shrink.
    """
    smaller = min(size[1], image.shape[1]), min(size[0], image.shape[0])
    for shape, how in ((smaller, cv2.INTER_AREA), ((size[1], size[0]), cv2.INTER_LINEAR)):
        if image.shape[1::-1] != shape:
            image = cv2.resize(image, shape, interpolation=how)
    return image


def resize(sample: Sample, size: tuple[int, int]) -> Sample:
    """Bring a sample to `size` = (height, width). Depth values stay metres and are never mixed.

    With pixel centres at whole numbers, x goes to (x + 0.5) * s - 0.5, and the principal point with it.
    """
    height, width = sample.depth.shape
    if (height, width) == size:
        return sample
    shape, intrinsics, label = (size[1], size[0]), sample.intrinsics, sample.label
    if intrinsics is not None:
        across, down = size[1] / width, size[0] / height
        scaling = np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])
        intrinsics = scaling @ intrinsics
    # NEAREST_EXACT, as plain NEAREST takes the pixel at floor(x / s), half a pixel off the image and the intrinsics.
    return replace(
        sample,
        image=resize_image(sample.image, size),
        depth=cv2.resize(sample.depth, shape, interpolation=cv2.INTER_NEAREST_EXACT),
        valid=cv2.resize(sample.valid.view(np.uint8), shape, interpolation=cv2.INTER_NEAREST_EXACT).view(bool),
        intrinsics=intrinsics,
        label=None if label is None else cv2.resize(label, shape, interpolation=cv2.INTER_NEAREST_EXACT),
    )


def within(sample: Sample, max_depth: float) -> Sample:
    """Take depth that is not nearer than `max_depth` metres out of training: a sky, or what no network here gives."""
    return replace(sample, valid=sample.valid & (sample.depth < max_depth))


def cover(sample: Sample, size: tuple[int, int]) -> Sample:
    """Scale a sample, its proportions kept, until it just covers `size` = (height, width); a crop can do the rest."""
    height, width = sample.depth.shape
    scale = max(size[0] / height, size[1] / width)
    return resize(sample, (max(round(height * scale), size[0]), max(round(width * scale), size[1])))


@dataclass(frozen=True)
class Window:
    """The part of a frame that becomes the sample, in pixels: a crop of the rotated frame, perhaps mirrored."""

    top: int
    left: int
    height: int
    width: int
    angle_deg: float = 0.0  # counter-clockwise, about the centre of the whole frame
    mirrored: bool = False

    def cut(self, sample: Sample) -> Sample:
        """The sample seen through this window: image, depth, valid, label and intrinsics move together."""
        label = sample.label
        return replace(
            sample,
            image=self._warp(sample.image, cv2.INTER_LINEAR),
            depth=self._warp(sample.depth, cv2.INTER_NEAREST),
            valid=self._warp(sample.valid.view(np.uint8), cv2.INTER_NEAREST).view(bool),
            intrinsics=self._move(sample.intrinsics),
            label=None if label is None else self._warp(label, cv2.INTER_NEAREST, np.nan),
        )

    def _warp(self, array: np.ndarray, interpolation: int, empty: float = 0) -> np.ndarray:
        """Rotate, crop and mirror (H, W) or (H, W, 3) in one step that computes the crop's pixels only."""
        if self.angle_deg == 0:
            part = array[self.top : self.top + self.height, self.left : self.left + self.width]
            return np.ascontiguousarray(part[:, ::-1]) if self.mirrored else part
        height, width = array.shape[:2]
        from_rotated = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -self.angle_deg, 1.0)
        step, start = (-1.0, self.left + self.width - 1) if self.mirrored else (1.0, self.left)
        from_crop = np.array([[step, 0, start], [0, 1, self.top], [0, 0, 1]])
        matrix, size, flags = from_rotated @ from_crop, (self.width, self.height), interpolation | cv2.WARP_INVERSE_MAP
        if array.ndim == 2:
            return cv2.warpAffine(array, matrix, size, flags=flags, borderValue=empty)
        four = cv2.cvtColor(array, cv2.COLOR_RGB2RGBA)  # which OpenCV warps in half of the time of three channels
        return cv2.cvtColor(cv2.warpAffine(four, matrix, size, flags=flags, borderValue=0), cv2.COLOR_RGBA2RGB)

    def _move(self, intrinsics: np.ndarray | None) -> np.ndarray | None:
        """The camera of the crop.

        The rotation is left out: about the principal point it would be a roll of the camera, which changes neither
        this matrix nor any depth. The image's centre is some pixels from there, which at 2.5 degrees is below one.
        """
        if intrinsics is None:
            return None
        moved = intrinsics - np.array([[0, 0, self.left], [0, 0, self.top], [0, 0, 0]])
        if self.mirrored:
            moved[0, 2] = self.width - 1 - moved[0, 2]
        return moved


@dataclass(frozen=True)
class Augmentation:
    """The random changes of training, in the order rotate, crop, mirror, colour."""

    crop: tuple[int, int] | None = None  # (height, width); None keeps the whole image
    rotate_deg: float = 0.0  # up to so many degrees either way, to the same size, the corners empty
    flip: float = 0.5  # probability of mirroring left and right
    colour: float = 0.5  # probability of changing gamma, brightness and the gain of each channel
    brightness: float = 0.1  # multiplied by 1 - brightness to 1 + brightness: 0.1 for KITTI, 0.25 for NYU

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """A changed copy; its image is of the type that it was."""
        return self.repaint(self.move(sample, rng), rng)

    def move(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The copy seen through a random window."""
        return self._draw_window(sample, rng).cut(sample)

    def repaint(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The copy in other colours, perhaps."""
        coloured = rng.random() < self.colour
        return replace(sample, image=self._recolour(sample.image, rng)) if coloured else sample

    def _draw_window(self, sample: Sample, rng: np.random.Generator) -> Window:
        height, width = sample.depth.shape
        crop_height, crop_width = self.crop or (height, width)
        if crop_height > height or crop_width > width:
            raise UserError(
                f"a crop of {crop_height}x{crop_width} does not fit into {sample.name} of {height}x{width} "
                f"(height x width): choose a crop of at most {height}x{width}, or larger images"
            )
        angle_deg = rng.uniform(-self.rotate_deg, self.rotate_deg) if self.rotate_deg else 0.0
        left = int(rng.integers(width - crop_width + 1))
        top = int(rng.integers(height - crop_height + 1))
        return Window(top, left, crop_height, crop_width, angle_deg, mirrored=bool(rng.random() < self.flip))

    def _recolour(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        gamma = rng.uniform(0.9, 1.1)
        brightness = rng.uniform(1 - self.brightness, 1 + self.brightness)
        gain = np.float32(brightness * rng.uniform(0.9, 1.1, size=3))
        if image.dtype != np.uint8:
            return ((image ** np.float32(gamma)) * gain).clip(0, 1)
        # 256 values per channel are all there are: a table is several times faster than a power per pixel.
        table = ((np.arange(256, dtype=np.float32)[:, None] / 255) ** np.float32(gamma) * gain).clip(0, 1)
        return cv2.LUT(np.ascontiguousarray(image), np.rint(255 * table).astype(np.uint8)[None])
