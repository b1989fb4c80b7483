"""What the first and last bytes of a file tell: its size, its bits, and whether it is whole. Nothing is decoded."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from distill.data.files import png
from distill.data.files.reading import (
    JPEG_END,
    JPEG_SCAN,
    JPEG_START,
    DecodeError,
    is_complete,
    jpeg_segments,
    read_file,
    read_image,
)

ENDS = 4096  # bytes looked at on either side
JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that tell the size of the picture
EXIF = 0xE1  # may turn the picture
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
        for portion, found in zip(portions, pool.map(_probe_some, portions), strict=True):
            facts |= zip(portion, found, strict=True)
            if progress:
                progress(len(facts))
    return facts


def _probe_some(paths: list[str]) -> list[Facts]:
    return [probe(path) for path in paths]


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
    if head.startswith(png.START):
        return _png(path, head, tail)
    return _jpeg(path, head, tail) if head.startswith(JPEG_START) else Facts()


def _png(path: str | os.PathLike[str], head: bytes, tail: bytes) -> Facts:
    header = png.read_header(head)
    if header is None or not (png.END in tail or is_complete(read_file(path))):
        return Facts(fault="the file is cut short")
    return Facts(size=(header.height, header.width), bits=header.bits, channels=header.channels)


def _jpeg(path: str | os.PathLike[str], head: bytes, tail: bytes) -> Facts:
    segments = dict(jpeg_segments(head))
    if segments[JPEG_SCAN] >= len(head):  # headers that are longer than what was read
        head = tail = read_file(path)
        segments = dict(jpeg_segments(head))
    if JPEG_END not in tail[segments[JPEG_SCAN] if tail is head else 0 :]:
        raw = read_file(path)
        if not is_complete(raw):
            return Facts(fault="the file is cut short")
    frame = next((at for marker, at in segments.items() if marker in JPEG_FRAMES), None)
    if frame is None or EXIF in segments:
        height, width = read_image(path).shape[:2]
    else:
        height, width = struct.unpack(">HH", head[frame + 5 : frame + 9])
    return Facts(size=(height, width), bits=8, channels=3)
