"""Images with their depth maps: which there are, where they lie, and how a pair is opened."""

from __future__ import annotations

import itertools
import math
import os
import re
import statistics
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from distill.data.files.intrinsics import KnownCamera, misfit
from distill.data.files.known_lists import UNKNOWN
from distill.data.files.labels import Label, StoredLabel
from distill.data.files.probing import probe
from distill.data.files.reading import (
    FLOAT_SCALE,
    USUAL_UNITS,
    DecodeError,
    NotDepth,
    Units,
    read_depth,
    read_image,
    read_mask,
    saturated_share,
)
from distill.errors import UserError

SAME_ASPECT = 0.01  # 1296x968 pictures of ScanNet's have depth of 640x480
FEW_MAPS = 16  # that show what kind of depth all of them are


@dataclass(frozen=True, slots=True)
class Pair:
    """The files of one sample.

    `depth` is None where there is no ground truth, and `index` the number inside a file that holds many samples.
    Depth does not count where `mask` is 0. `intrinsics` is 3x3, in pixels of an image of `camera_size`, which is
    (height, width) where that is stated; `no_camera` says why a file that should state them does not. `scene` is the
    drive or room that it shows: training and test share none. `label` is what a teacher wrote of the image.
    """

    name: str
    image: str
    depth: str | None
    intrinsics: np.ndarray | None = None
    scene: str = ""
    index: int = 0
    mask: str | None = None
    label: StoredLabel | None = None
    camera_size: tuple[int, int] | None = None
    no_camera: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all of them, once each."""
        paths = self.image, self.depth, self.mask, self.label and self.label.path
        return tuple(dict.fromkeys(path for path in paths if path))

    def seen_by(self, known: KnownCamera) -> Pair:
        """The same with a camera that is stated beside its image, unless it has one."""
        if self.intrinsics is not None:
            return self
        return replace(self, intrinsics=known.matrix, camera_size=known.size, no_camera=known.fault)


@dataclass(frozen=True)
class Shapes:
    """What is known of the shapes in an image.

    Attributes:
        edges: Where depth has an edge, bool (H, W), where that is known.
        planes: Where each plane is, bool (H, W), and its unit normal: x right, y forward, z up.
        camera: 3x3 in pixels, which are counted from 1.
    """

    edges: np.ndarray | None
    planes: tuple[tuple[np.ndarray, np.ndarray], ...]
    camera: np.ndarray | None


Identity = tuple[object, ...]
INVERSE = re.compile(r"(?i)(?<![a-z])(disp(arity|arities)?|inv(erse)?.?depth|depth.?inv(erse)?)(?![a-z])")  # no metres
NUMBER = re.compile(r"0*(\d+(?:[a-z](?![a-z]))?)")  # without zeros before it, with one letter behind it

Read = Callable[[Pair], tuple[np.ndarray, np.ndarray]]  # uint8 RGB (H, W, 3) and float32 metres (H, W)


@dataclass(frozen=True)
class PictureReader:
    """Reads pictures and depth maps, of which only what their masks leave counts.

    With `register`, as of one's own recordings, a map of another size but of the image's shape is brought to its size,
    by nearest, and a camera of another size is none.
    """

    units: Units = USUAL_UNITS
    register: bool = False

    def __call__(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        image = read_image(pair.image)
        if pair.depth is None:
            return image, np.zeros(image.shape[:2], np.float32)
        depth = self.fit(pair.depth, read_depth(pair.depth, self.units), pair, image)
        if pair.mask is not None:
            depth = depth * self.fit(pair.mask, read_mask(pair.mask), pair, image)
        return image, depth

    def fit(self, path: str, values: np.ndarray, pair: Pair, image: np.ndarray) -> np.ndarray:
        """A map (H, W) at the size of its image."""
        height, width = image.shape[:2]
        if self.register and values.ndim == 2 and same_shape(values.shape, (height, width)):
            number = values.view(np.uint8) if values.dtype == bool else values
            resized = cv2.resize(number, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
            return np.asarray(resized.view(values.dtype))
        check_size(path, values, pair.image, image)
        return values


def same_shape(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two sizes (height, width) differ and have one aspect, but for what rounding leaves."""
    return one != other and 0 not in one + other and abs(one[0] * other[1] / (one[1] * other[0]) - 1) <= SAME_ASPECT


def check_size(path: str, values: np.ndarray, image_path: str, image: np.ndarray) -> None:
    """Refuse a depth map or mask that is of another size than its image."""
    if image.shape[:2] != values.shape[:2]:
        sizes = [f"{height}x{width}" for height, width in (values.shape[:2], image.shape[:2])]
        raise NotDepth(
            path,
            f"is {sizes[0]} but its image {image_path} is {sizes[1]} (height x width), expected one size: check that "
            "they belong together, and resize one (depth by nearest)",
        )


@dataclass(frozen=True)
class Contents:
    """What the lines of a list stand for on this disk."""

    root: Path  # the folder of the whole set
    source: str  # the list file, or in words what takes its place
    layout: str  # how the files lie, in words
    truth: str  # where the depth comes from, in words
    max_depth: float  # cap of the ground truth in metres, which is not applied to the samples
    pairs: tuple[Pair, ...]  # the lines whose files are there; those without ground truth among them
    read: Read  # opens a pair
    list_name: str = UNKNOWN  # what the list is known as
    missing: tuple[str, ...] = ()  # files that lines name and that are not there
    images_only: bool = False  # no ground truth is expected: the images are for a teacher's depth
    numbered: bool = True  # an image and its depth have one number, where their names have any
    left_out: tuple[str, ...] = ()  # what of the files on disk is no part of it, in words
    camera: Callable[[str, tuple[int, int]], np.ndarray | None] | None = None  # by a depth map's file, and its size
    shapes: Callable[[Pair, tuple[int, int]], Shapes] | None = None  # what is known beside the depth, of that size
    numbers: str = ""  # what a pixel's truth is, where that is no depth in metres
    labels: Label | None = None  # one of its labels, which are all by one teacher and of one kind

    @property
    def lines(self) -> int:
        """How many lines the list has."""
        return len(self.pairs) + len(self.missing)

    @property
    def usable(self) -> tuple[Pair, ...]:
        """The pairs that a data set consists of: those with ground truth or a label, or all where none is expected."""
        if self.images_only and self.labels is None:
            return self.pairs
        return tuple(pair for pair in self.pairs if pair.depth is not None or pair.label is not None)

    @property
    def without_truth(self) -> tuple[str, ...]:
        """Names of the frames that are left out for want of ground truth, or of a label."""
        if self.images_only and self.labels is None:
            return ()
        return tuple(pair.name for pair in self.pairs if pair.depth is None and pair.label is None)

    @property
    def units(self) -> tuple[float, bool]:
        """Units per metre of the first depth map that can be read, for messages, and whether it holds floats."""
        if isinstance(read := self.read, PictureReader):
            for pair in self.usable:
                with suppress(DecodeError):
                    return read.units.of(pair.depth or pair.image)
        return FLOAT_SCALE, True

    @property
    def repeated(self) -> tuple[str, ...]:
        """Names of the usable pairs whose image came before, perhaps under another name."""
        first: dict[Identity, Pair] = {}
        return tuple(pair.name for pair in self.usable if first.setdefault(identity(pair), pair) is not pair)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What should be known of it: what is left out or no measurement, and which pairs may be of two frames."""
        odd = [pair for pair in self.usable if self.numbered and of_two_frames(pair, self.root)]
        some = f"{odd[0].image} with {odd[0].depth}" if odd else ""
        such = f"{len(odd)} of {len(self.usable)} lines join an image and depth of different numbers, such as {some}"
        masked = sum(pair.mask is not None for pair in self.usable)
        known = {
            such: bool(odd),
            f"{masked} depth maps have masks: where these are 0, depth does not count": masked > 0,
            f"{self.camera_fault}; these images have no camera, which data.focal alone needs": bool(self.camera_fault),
            f"{self.saturated:.2%} of the pixels of depth hold the largest value of their type, 65535 of 16 bits: no "
            "measurement, left out": self.saturated > 0,
        }
        return (*self.left_out, *(remark for remark, applies in known.items() if applies))

    @cached_property
    def measured(self) -> float:
        """Share of measured pixels, the median of a few depth maps; NaN where none of them can be read."""
        shares: list[float] = []
        for pair in self.few:
            with suppress(DecodeError, UserError):
                shares.append(float((self.read(pair)[1] > 0).mean()))
        return statistics.median(shares) if shares else math.nan

    @cached_property
    def saturated(self) -> float:
        """Share of pixels that hold the largest value of their type, the mean of a few depth maps."""
        shares: list[float] = []
        for pair in self.few if isinstance(self.read, PictureReader) and not self.images_only else ():
            with suppress(DecodeError):
                shares.append(saturated_share(pair.depth or pair.image))
        return statistics.fmean(shares or [0.0])

    def camera_of(self, pair: Pair, size: tuple[int, int]) -> tuple[np.ndarray | None, str]:
        """The camera matrix of an image of a size (height, width); where it has none, why one that is stated is not."""
        if self.camera is not None and pair.depth:
            return self.camera(pair.depth, size), ""
        if pair.intrinsics is None or not (isinstance(self.read, PictureReader) and self.read.register):
            return pair.intrinsics, pair.no_camera
        why = misfit(pair.intrinsics, pair.camera_size, size, pair.image)
        return (None, why) if why else (pair.intrinsics, "")

    @cached_property
    def camera_fault(self) -> str:
        """Why the camera that is stated for images is not theirs, of the first such; empty where all is well."""
        stated = (pair.no_camera for pair in self.usable)
        misfits = (self.camera_of(pair, size)[1] for pair in self.few if (size := probe(pair.image).size))
        return next(filter(None, itertools.chain(stated, misfits)), "")

    @property
    def few(self) -> tuple[Pair, ...]:
        """Some pairs, evenly spaced."""
        return self.usable[:: max(len(self.usable) // FEW_MAPS, 1)][:FEW_MAPS]

    def read_label(self, pair: Pair, image: np.ndarray) -> np.ndarray | None:
        """What a teacher wrote of an image that was read, as of `StoredLabel.read`; None where there is nothing."""
        if pair.label is None:
            return None
        label = pair.label.read()
        check_size(pair.label.path, label, pair.image, image)
        return label

    def first(self, count: int) -> Contents:
        """The first so many usable pairs."""
        return replace(self, pairs=self.usable[:count], missing=())

    def check(self) -> None:
        """Refuse a list of which files are missing, or that has no ground truth at all."""
        if self.missing:
            some = ", ".join(self.missing[:3]) + (", ..." if len(self.missing) > 3 else "")
            raise UserError(
                f"{len(self.missing)} of {self.lines} lines of {self.source} name files that do not exist: {some} "
                f"(found under {self.root}: {self.layout}): add the files or drop the lines"
            )
        if not self.usable:
            raise UserError(
                f"no valid ground truth in the whole set: none of the {self.lines} frames of {self.source} has a "
                "depth map; check the list or folder"
            )


def identity(pair: Pair) -> Identity:
    """What tells two images apart, whatever links lead to them: the file itself, and the number in it."""
    try:
        file = os.stat(pair.image)
    except OSError:
        return pair.image, 0, pair.index
    return file.st_dev, file.st_ino or pair.image, pair.index


def of_two_frames(pair: Pair, root: Path) -> bool:
    """Whether the numbers in the names of an image and its depth, or of their folders, contradict each other."""
    names = [path.removeprefix(str(root)) for path in (pair.image, pair.depth or "")]
    parts = zip(*(os.path.split(os.path.splitext(name)[0]) for name in names), strict=True)
    numbers = [[set(NUMBER.findall(one)) for one in both] for both in parts]
    return any(not (image <= depth or depth <= image) for image, depth in numbers)


def check_metres(root: Path, pairs: Iterable[Pair]) -> None:
    """Refuse depth that is called the inverse of it: its values grow towards the camera, in any unit."""
    for pair in pairs:
        name = (pair.depth or "").removeprefix(f"{root}/")
        if (match := INVERSE.search(name)) and not INVERSE.search(pair.name):
            raise UserError(
                f"{name} of {root} is called {match[0]}, which is no depth: expected metres or units of them; convert "
                "it (focal length x baseline / disparity, 1 / inverse depth), or rename what is depth already"
            )


def name_under(root: Path, path: str) -> str:
    """The path of a file relative to its root, with forward slashes."""
    return Path(os.path.relpath(path, root)).as_posix()
