"""Reading pictures and depth maps from disk, and what headers and last bytes show of a file without decoding it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image

from distill.data.files import png
from distill.errors import UserError

JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", 0xDA, b"\xff\xd9"
FLOAT_SCALE, INTEGER_SCALE = 1.0, 1000.0  # units per metre where nothing else is declared
ENDS = 4096  # bytes looked at on either side
THREADS, PORTION = 16, 64  # the threads wait for the disk; each takes a portion of the files at a time

Progress = Callable[[int, int], object]  # files done, of how many


class DecodeError(Exception):
    """One file that cannot be read: missing, empty, cut short or not a picture. The rest of its set may be fine."""

    def __init__(self, path: str | os.PathLike[str], why: str):
        super().__init__(str(path), why)
        self.path, self.why = str(path), why

    def __str__(self) -> str:
        return f"cannot read {self.path}: {self.why}"


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """A picture as uint8 RGB (H, W, 3), turned upright where its EXIF tag says so."""
    return decode(read_file(path), path, png.COLOUR8)


def read_depth(path: str | os.PathLike[str], scale: float | None = None, byte_scale: float | None = None) -> np.ndarray:
    """A depth map as float32 metres (H, W), 0 where nothing was measured.

    Args:
        path: Single-channel 16-bit PNG or TIFF, or floating-point TIFF or NumPy array (.npy).
        scale: Units per metre, 256 for KITTI's and 1000 for NYU's pictures. None is 1 for floating-point files and 1000
            for others. What a PNG says of itself, as those of `distill predict` do, counts more. The division is made
            in float32.
        byte_scale: Units per metre of 8-bit maps, which are refused without it: they are mostly pictures of depth.

    Raises:
        DecodeError: If the file cannot be read.
        UserError: If it is not a depth map.
    """
    if Path(path).suffix == ".npy":
        try:
            raw = np.load(io.BytesIO(read_file(path)), allow_pickle=False).squeeze()  # a pickle would be code
        except (ValueError, EOFError):
            raise DecodeError(path, "not a NumPy array, or cut short") from None
    else:
        content = read_file(path)
        raw, scale = decode(content, path, png.GREY16), png.depth_scale(content) or scale
    raw = raw[..., 0] if raw.ndim == 3 and raw.shape[2] == 1 else raw
    floating = raw.dtype in (np.float32, np.float64, np.float16)
    units = np.float32(scale or (FLOAT_SCALE if floating else INTEGER_SCALE))
    if in_bytes := raw.dtype == np.uint8 and byte_scale is not None:
        units = np.float32(byte_scale)
    if raw.ndim != 2 or not (floating or in_bytes or raw.dtype == np.uint16):
        channels = 1 if raw.ndim == 2 else raw.shape[2]
        raise UserError(
            f"{path} is a {8 * raw.dtype.itemsize}-bit picture with {channels} channel{'s' * (channels > 1)}, expected "
            f"a 16-bit single-channel depth map: write metres x {units:g} as a uint16 PNG"
        )
    if floating:
        raw = np.where(np.isfinite(raw) & (raw > 0), raw, 0)
    return np.divide(raw, units, dtype=np.float32)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The content of a file that is not empty."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise DecodeError(path, reason(error)) from None
    if not raw:
        raise DecodeError(path, "the file is empty")
    return raw


def reason(error: OSError) -> str:
    """Why a file cannot be opened, in a few words."""
    return "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)


def decode(raw: bytes, path: str | os.PathLike[str], kind: tuple[int, int]) -> np.ndarray:
    """The picture that a file's content holds, of any format.

    `png.COLOUR8` gives uint8 RGB (H, W, 3), `png.GREY16` the picture in its own type and number of channels.
    """
    if not is_complete(raw):  # older OpenCV fills what is missing with grey and says nothing
        raise DecodeError(path, "the file is cut short")
    if (values := png.read(raw, kind)) is not None:
        return values
    mode = cv2.IMREAD_COLOR_RGB if kind == png.COLOUR8 else cv2.IMREAD_UNCHANGED
    try:
        array = cv2.imdecode(np.frombuffer(raw, np.uint8), mode)
    except cv2.error as error:
        raise DecodeError(path, " ".join(str(error).split())) from None
    if array is None:
        raise DecodeError(path, "not a picture, or damaged")
    return array


def is_complete(raw: bytes) -> bool:
    """Whether a PNG or JPEG file has its end marker. Other formats are left to the decoder."""
    if raw.startswith(png.START):
        return raw.rfind(png.END) > 0
    if raw.startswith(JPEG_START):
        return raw.find(JPEG_END, jpeg_pixels(raw)) > 0
    return True


def jpeg_pixels(raw: bytes) -> int:
    """Where the pixels of a JPEG file begin, behind headers whose thumbnail has markers of its own, or it was cut."""
    at = len(JPEG_START)
    while raw[at : at + 1] == b"\xff" and raw[at + 1 : at + 2] not in (b"", bytes([JPEG_SCAN])):
        at += 2 + int.from_bytes(raw[at + 2 : at + 4], "big")
    return at


# ------------------------------------------------------------------------------------------------ without decoding


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
