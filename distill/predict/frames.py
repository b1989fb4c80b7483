"""Reading what is predicted: images, the frames of videos and cameras, and their ground truth."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, groupby, islice
from pathlib import Path

import cv2
import numpy as np

from distill.data import DecodeError
from distill.data.files.probing import DEPTH_SUFFIXES
from distill.data.files.reading import Units, read_depth, read_image
from distill.errors import UserError
from distill.predict.inputs import Input
from teachers.model import MIN_SIDE

USUAL_RATE = 25.0  # frames a second of a video or camera without one of its own
WHOLE = 0.9  # share of a video's promised frames that must be there; what containers promise is an estimate

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # faults are reported in one line of our own


@dataclass(frozen=True)
class Frame:
    """One image to predict, uint8 RGB (H, W, 3); `number` counts the frames of what moves."""

    source: Input
    image: np.ndarray
    number: int | None = None
    rate: float = USUAL_RATE

    @property
    def name(self) -> str:
        """What its files are called, without a suffix."""
        own = self.source.name.name
        return own if self.number is None else f"{own}_{self.number:06d}"


@contextmanager
def opened(source: Input) -> Iterator[cv2.VideoCapture]:
    """A video or camera. OpenCV's own complaints are kept off the screen.

    Raises:
        UserError: If it is a camera that does not open.
    """
    former = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    video = cv2.VideoCapture(source.place if isinstance(source.place, int) else str(source.place))
    try:
        if isinstance(source.place, int) and not video.isOpened():
            raise UserError(
                f"{source} does not open; connect it, end the program that uses it, or give another camera's number"
            )
        yield video
    finally:
        video.release()
        cv2.utils.logging.setLogLevel(former)


def expected_frames(sources: Iterable[Input], limit: int | None) -> int | None:
    """How many frames there will be, None if nobody knows.

    Raises:
        UserError: If a camera does not open.
    """
    total: int | None = 0
    for source in sources:
        length: int | None = 1
        if source.moving:
            with opened(source) as video:
                known = max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
            length = limit if isinstance(source.place, int) else min(known, limit or known)
        total = None if total is None or length is None else total + length
    return total


def read_frames(source: Input, limit: int | None = None) -> Iterator[Frame]:
    """The image, or the first `limit` frames of what moves; a camera without a limit never ends.

    Raises:
        DecodeError: If there is none, if it is smaller than networks take, or a video ends early.
    """
    if not source.moving:
        assert not isinstance(source.place, int)
        yield Frame(source, _large_enough(source, read_image(source.place)))
        return
    with opened(source) as video:
        rate, promised = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
        rate = rate if 1 <= rate <= 1000 else USUAL_RATE
        for number in count():
            there, image = (False, None) if number == limit else video.read()
            if not there or image is None:
                break
            yield Frame(source, _large_enough(source, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), number, rate)
    if number == 0:
        raise DecodeError(str(source), "no frame of it can be decoded")
    if number != limit and number < WHOLE * promised:
        raise DecodeError(str(source), f"it ends after {number} of {promised:.0f} frames; those were written")


def _large_enough(source: Input, image: np.ndarray) -> np.ndarray:
    """The image, unless no network takes one so small."""
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise DecodeError(str(source), f"{height}x{width} (height x width) is less than {MIN_SIDE} pixels; enlarge it")
    return image


def batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    """Neighbours of one shape, at most `size` together."""
    for _, alike in groupby(frames, key=lambda frame: frame.image.shape):
        while batch := list(islice(alike, size)):
            yield batch


@dataclass(frozen=True)
class TruthFolder:
    """Ground truth beside predictions: depth maps NAME.png, .npy, .tif or .tiff.

    `scale` is their units per metre; None where the files state it, or it is the usual one.
    """

    folder: Path
    scale: float | None = None

    def check(self, sources: Sequence[Input]) -> None:
        """Refuse a folder without a map for any image; frames of what moves are looked for when they are there.

        Raises:
            UserError: If there is no map, or no such folder.
        """
        if not self.folder.is_dir():
            raise UserError(f"--truth {self.folder} is no folder; give one of depth maps called like the images")
        still = [source for source in sources if not source.moving]
        if len(still) == len(sources) and not any(self.find(source.name) for source in still):
            raise UserError(
                f"no depth map in {self.folder} belongs to an input; expected {self.folder / still[0].name}.png or .npy"
            )

    def find(self, name: Path) -> Path | None:
        """The file of an image's name, which has no suffix; NYU's `rgb_7` may be `sync_depth_7`."""
        names = dict.fromkeys((name.name, re.sub("^rgb_", "sync_depth_", name.name)))
        paths = (self.folder / name.with_name(one + suffix) for one in names for suffix in sorted(DEPTH_SUFFIXES))
        return next((path for path in paths if path.is_file()), None)

    def read(self, frame: Frame) -> np.ndarray | None:
        """Metres, float32 (H, W), 0 where nothing was measured; None where the frame has no map.

        Raises:
            DecodeError: If its map cannot be read, or is of another size.
        """
        path = self.find(frame.source.name.with_name(frame.name))
        if path is None:
            return None
        depth = read_depth(path, Units(self.scale))
        if depth.shape != frame.image.shape[:2]:
            size, wanted = ("x".join(map(str, size)) for size in (depth.shape, frame.image.shape[:2]))
            raise DecodeError(path, f"it is {size}, but {frame.source} is {wanted} (height x width)")
        return depth
