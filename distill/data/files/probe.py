"""What headers and last bytes show of a file: its size, its bits, and whether it is whole. No pixel is decoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from PIL import ExifTags, Image

from distill.data.files import png
from distill.data.files.reading import JPEG_END, JPEG_START, DecodeError, is_complete, jpeg_pixels, read_file, reason

ENDS = 4096  # bytes looked at on either side
THREADS, PORTION = 16, 64  # the threads wait for the disk; each takes a portion of the files at a time

Progress = Callable[[int, int], object]  # files done, of how many


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file.

    `size` is (height, width) in pixels; None of other formats than PNG and JPEG. Files of one `mark` begin and end with
    the same bytes, as copies do.
    """

    fault: str | None = None
    size: tuple[int, int] | None = None
    bits: int | None = None
    channels: int | None = None
    mark: bytes | None = field(default=None, compare=False)


def probe(path: str | os.PathLike[str]) -> Facts:
    """The facts of one file. `fault` says why it cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(ENDS)
            file.seek(max(file.seek(0, os.SEEK_END) - ENDS, ENDS))
            tail = file.read()
        if not head:
            return Facts(fault="the file is empty")
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
    """Size, bits and channels of a PNG or JPEG file that is whole; Pillow reads its headers alone."""
    if not head.startswith((png.START, JPEG_START)):
        return Facts()
    end, begin = (png.END, 0) if head.startswith(png.START) else (JPEG_END, jpeg_pixels(head))
    whole = (begin < len(head) and end in tail) or is_complete(read_file(path) if tail else head)
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(ExifTags.Base.Orientation, 1) > 4
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        whole = False
    if not whole:
        return Facts(fault="the file is cut short")
    bits, channels = (16, 1) if picture.mode.startswith("I") else (8, len(picture.getbands()))
    return Facts(size=(width, height) if turned else (height, width), bits=bits, channels=channels)
