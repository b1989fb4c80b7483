"""What the ends of a file show of it without decoding it: whether it is whole, its size, and whether it holds depth."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
from PIL import Image

from distill.data.files import containers, png
from distill.data.files.list_files import LIKE_DEPTH, LIKE_IMAGE
from distill.data.files.reading import (
    ARRAY_START,
    JPEG_END,
    JPEG_START,
    DecodeError,
    decode,
    is_complete,
    jpeg_pixels,
    map_array,
    read_file,
    read_values,
    reason,
    stand_in,
)
from distill.files import check_file

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
DEPTH_SUFFIXES = {".png", ".tif", ".tiff", ".pgm", ".pfm", ".npy", *containers.READERS}
BARE_FLOATS = "ground_truth_depth"  # a folder of ETH3D's, whose numbers without a header are called .JPG
ENDS = 4096  # bytes looked at on either side
THREADS, PORTION = 16, 64  # the threads wait for the disk; each takes a portion of the files at a time

Progress = Callable[[int, int], object]  # files done, of how many


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file.

    `size` is (height, width) in pixels; None of what is neither a picture nor an array. Files of one `mark` begin and
    end with the same bytes, as copies do.
    """

    fault: str | None = None
    size: tuple[int, int] | None = None
    bits: int | None = None
    channels: int | None = None
    mark: bytes | None = field(default=None, compare=False)

    @property
    def like_depth(self) -> bool:
        """Whether it has one channel of 16 bits or more, as depth has and no photograph."""
        return self.channels == 1 and (self.bits or 0) >= 16


def holds_depth(name: str, facts: Facts) -> bool:
    """Whether a file is a depth map and no photograph, by its path below the root, or else by its content."""
    return facts.like_depth or bool(LIKE_DEPTH.search(name) and not LIKE_IMAGE.search(name))


def probe(path: str | os.PathLike[str]) -> Facts:
    """The facts of one file. `fault` says why it cannot be read."""
    try:
        check_file(path)
        with open(path, "rb") as file:
            head = file.read(ENDS)
            file.seek(max(file.seek(0, os.SEEK_END) - ENDS, ENDS))
            tail = file.read()
        if (fault := stand_in(head)) and Path(path).suffix.lower() not in containers.READERS:
            return Facts(fault=fault)
        return replace(_look(path, head, tail), mark=blake2b(head + tail, digest_size=12).digest())
    except OSError as error:
        return Facts(fault=reason(error))
    except DecodeError as error:
        return Facts(fault=error.why)


def probe_all(paths: Iterable[str], progress: Progress | None = None) -> dict[str, Facts]:
    """The facts of many files."""
    unique = list(dict.fromkeys(paths))
    portions = [unique[at : at + PORTION] for at in range(0, len(unique), PORTION)]
    facts: dict[str, Facts] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for some in pool.map(lambda portion: {path: probe(path) for path in portion}, portions):
            facts |= some
            if progress:
                progress(len(facts), len(unique))
    return facts


def _look(path: str | os.PathLike[str], head: bytes, tail: bytes) -> Facts:
    """Size, bits and channels of a picture or array that is whole; nothing of other files, such as a lidar's."""
    if head.startswith(ARRAY_START):
        return _facts_of(map_array(path))
    if head.startswith((png.START, JPEG_START)):
        return _look_at_headers(path, head, tail)
    if Path(path).suffix.lower() in containers.READERS:
        return _facts_of(read_values(path, whole=False)[0])
    if Path(path).suffix.lower() not in IMAGE_SUFFIXES | DEPTH_SUFFIXES or BARE_FLOATS in Path(path).parts:
        return Facts()
    return _facts_of(decode(read_file(path), path, png.GREY16))  # TIFF and the others say nothing of their ends


def _look_at_headers(path: str | os.PathLike[str], head: bytes, tail: bytes) -> Facts:
    """The facts of a PNG or JPEG file, of which Pillow reads the headers alone."""
    end, begin = (png.END, 0) if head.startswith(png.START) else (JPEG_END, jpeg_pixels(head))
    whole = (begin < len(head) and end in tail) or is_complete(read_file(path) if tail else head)
    try:
        with Image.open(path) as picture:
            width, height = picture.size
    except Image.DecompressionBombError as error:
        raise DecodeError(path, str(error)) from None
    except (OSError, SyntaxError, ValueError):
        whole = False
    if not whole:
        raise DecodeError(path, "the file is cut short")
    bits, channels = (16, 1) if picture.mode.startswith("I") else (8, len(picture.getbands()))
    return Facts(size=(height, width), bits=bits, channels=channels)


def _facts_of(array: np.ndarray) -> Facts:
    if array.ndim not in (2, 3):
        return Facts()
    height, width, *channels = array.shape
    return Facts(size=(height, width), bits=8 * array.dtype.itemsize, channels=channels[0] if channels else 1)
