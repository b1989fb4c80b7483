"""Reading what is predicted: images, the frames of videos and cameras, and their ground truth."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, groupby, islice
from pathlib import Path
from threading import Thread
from typing import TypeVar

import cv2
import numpy as np

from distill.data import DecodeError
from distill.data.files.probing import DEPTH_SUFFIXES
from distill.data.files.reading import Units, read_depth, read_image
from distill.errors import UserError
from distill.predict.inputs import ANIMATIONS, KNOWN, Input
from teachers.model import MIN_SIDE

USUAL_RATE = 25.0  # frames a second of a video or camera without one of its own
MOST_RATE, MOST_UNEVEN = 1000.0, 60.0  # frames a second of a film, and of one whose source has no constant rate
LOOKED_AT = 250  # frames, by which a video's rate is known
PATIENCE = 30.0  # seconds that a frame may take
WHOLE = 0.9  # share of a video's promised frames that must be there; what containers promise is an estimate

Answer = TypeVar("Answer")

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # faults are reported in one line of our own


@dataclass(frozen=True)
class Frame:
    """One image to predict, uint8 RGB (H, W, 3); `number` counts the frames of what moves.

    `seconds` is its time since the first frame, and `rate` that of a film which shows every frame in its time.
    """

    source: Input
    image: np.ndarray
    number: int | None = None
    seconds: float = 0.0
    rate: float = USUAL_RATE

    @property
    def name(self) -> str:
        """What its files are called, without a suffix."""
        own = self.source.name.name
        return own if self.number is None else f"{own}_{self.number:06d}"


def within_time(source: Input, act: Callable[[], Answer]) -> Answer:
    """What a call gives that may wait for ever, as of a camera that died: another thread makes it.

    Raises:
        DecodeError: If it takes longer than `PATIENCE`.
    """
    future = Future[Answer]()

    def answer() -> None:
        try:
            future.set_result(act())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=answer, daemon=True).start()
    try:
        return future.result(PATIENCE)
    except TimeoutError:
        raise DecodeError(str(source), f"nothing comes from it for {PATIENCE:g} s") from None


@contextmanager
def opened(source: Input) -> Iterator[cv2.VideoCapture]:
    """A video or camera. OpenCV's own complaints are kept off the screen.

    Raises:
        DecodeError: If it takes too long.
        UserError: If it is a camera that does not open.
    """
    former = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    place = source.place if isinstance(source.place, int) else str(source.place)
    try:
        video = within_time(source, lambda: cv2.VideoCapture(place))
        if isinstance(source.place, int) and not video.isOpened():
            raise UserError(
                f"{source} does not open; connect it, end the program that uses it, or give another camera's number"
            )
        yield video
        video.release()  # not after a fault: what does not answer would not close either
    finally:
        cv2.utils.logging.setLogLevel(former)


@lru_cache
def outlook(source: Input) -> tuple[int, float]:
    """What is known of a video or camera beforehand: how many frames it promises, and the rate of a film of it.

    In that film every frame has its time. The rate is the video's own, unless its frames come unevenly.
    """
    times: list[float] = []
    with opened(source) as video:
        rate, promised = video.get(cv2.CAP_PROP_FPS), max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        rate = rate if 1 <= rate <= MOST_RATE else USUAL_RATE
        if isinstance(source.place, int):
            return 0, rate
        while len(times) < LOOKED_AT and within_time(source, video.grab):
            times.append(video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    gaps = np.diff(times)
    gaps = gaps[gaps > 0]
    even = not gaps.size or np.allclose(gaps, 1 / rate, rtol=0.1)
    return promised, rate if even else float(np.clip(1 / gaps.min(), rate, max(rate, MOST_UNEVEN)))


def expected_frames(sources: Iterable[Input], limit: int | None) -> int | None:
    """How many frames there will be, None if nobody knows.

    Raises:
        UserError: If a camera does not open.
    """
    total: int | None = 0
    for source in sources:
        length: int | None = 1
        if source.moving:
            with suppress(DecodeError):  # it is named in its turn
                known = outlook(source)[0]
                length = limit if isinstance(source.place, int) else min(known, limit or known)
        total = None if total is None or length is None else total + length
    return total


def read_frames(source: Input, limit: int | None = None) -> Iterator[Frame]:
    """The image, or the first `limit` frames of what moves; a camera without a limit never ends.

    Raises:
        DecodeError: If there is none, if it is smaller than networks take, or a video ends early or no longer answers.
    """
    if source.fault:
        raise DecodeError(str(source), source.fault)
    if not source.moving:
        assert not isinstance(source.place, int)
        yield Frame(source, _large_enough(source, _read_picture(source.place)))
        return
    (promised, rate), start = outlook(source), 0.0
    with opened(source) as video:
        for number in count():
            there, image = (False, None) if number == limit else within_time(source, video.read)
            if not there or image is None:
                break
            live = isinstance(source.place, int)
            now = time.monotonic() if live else video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            start = now if number == 0 else start
            image = _large_enough(source, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            yield Frame(source, image, number, now - start, rate)
    if number == 0:
        animation = isinstance(source.place, Path) and source.place.suffix.lower() in ANIMATIONS
        instead = " of this kind of animation; save it as GIF, or as MP4" if animation else ""
        raise DecodeError(str(source), f"no frame of it can be decoded{instead}")
    if number != limit and number < WHOLE * promised:
        raise DecodeError(str(source), f"it ends after {number} of {promised} frames; those were written")


def _read_picture(path: Path) -> np.ndarray:
    """A picture, whatever its file is called."""
    try:
        return read_image(path)
    except DecodeError as error:
        if path.suffix.lower() in KNOWN or "save it as" in error.why:
            raise
        kind = f"{path.suffix or 'a name without suffix'} is no known kind of picture or video"
        raise DecodeError(path, f"{error.why}; {kind}: save it as JPEG, PNG or MP4") from None


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
