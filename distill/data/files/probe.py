"""What headers and last bytes show of a file: its size, its bits, and whether it is whole. No pixel is decoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from PIL import ExifTags, Image

from distill.data.files import png
from distill.data.files.reading import JPEG_END, JPEG_START, DecodeError, is_complete, jpeg_pixels, read_file

ENDS = 4096  # bytes looked at on either side
THREADS, PORTION = 16, 64  # the threads wait for the disk; each takes a portion of the files at a time


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file.

    `size` is (height, width) in pixels; None where the format does not tell quickly. Files of one `mark` begin and end
    with the same bytes, as copies do.
    """

    fault: str | None = None
    size: tuple[int, int] | None = None
    bits: int | None = None
    channels: int | None = None
    mark: bytes | None = field(default=None, compare=False)


def probe(path: str | os.PathLike[str]) -> Facts:
    """The facts of one file. `fault` says why it cannot be read."""
    try:
        head, tail = _ends(path)
        if not head:
            return Facts(fault="the file is empty")
        return replace(_look(path, head, tail), mark=blake2b(head + tail, digest_size=12).digest())
    except DecodeError as error:
        return Facts(fault=error.why)


def probe_all(paths: Iterable[str], progress: Callable[[int], object] | None = None) -> dict[str, Facts]:
    """The facts of many files. `progress` is called with the number of files done."""
    unique = list(dict.fromkeys(paths))
    portions = [unique[at : at + PORTION] for at in range(0, len(unique), PORTION)]
    facts: dict[str, Facts] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for portion, facts_of_it in zip(
            portions, pool.map(lambda some: [probe(path) for path in some], portions), strict=True
        ):
            facts |= zip(portion, facts_of_it, strict=True)
            if progress:
                progress(len(facts))
    return facts


def _ends(path: str | os.PathLike[str]) -> tuple[bytes, bytes]:
    try:
        with open(path, "rb") as file:
            head = file.read(ENDS)
            length = file.seek(0, os.SEEK_END)
            if length <= ENDS:
                return head, head
            file.seek(max(length - ENDS, ENDS))
            return head, file.read()
    except FileNotFoundError:
        raise DecodeError(path, "no such file") from None
    except OSError as error:
        raise DecodeError(path, error.strerror or str(error)) from None


def _look(path: str | os.PathLike[str], head: bytes, tail: bytes) -> Facts:
    """Size, bits and channels of a PNG or JPEG file that is whole; Pillow reads its headers alone."""
    if not head.startswith((png.START, JPEG_START)):
        return Facts()
    end, begin = (png.END, 0) if head.startswith(png.START) else (JPEG_END, jpeg_pixels(head))
    if tail is head:
        whole = is_complete(head)
    else:
        whole = (begin < len(head) and end in tail) or is_complete(read_file(path))
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
