"""Reading pictures and depth maps from disk."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np

from distill.data.files import png
from distill.errors import UserError

JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", 0xDA, b"\xff\xd9"
FLOAT_SCALE, INTEGER_SCALE = 1.0, 1000.0  # units per metre where nothing else is declared
ARRAY_START = b"\x93NUMPY"
STAND_INS = {  # what lies where a file should be, by its first bytes
    b"version https://git-lfs": "a Git LFS pointer: git lfs pull",
    b"/annex/objects/": "a git-annex pointer: git annex get",
    b"<!doctype": "a web page: get the file anew",
    b"<html": "a web page: get the file anew",
    b"<?xml": "XML: get the file anew",
}

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a `DecodeError` says what there is to say


class DecodeError(Exception):
    """One file that cannot be read: missing, empty, cut short or not a picture. The rest of its set may be fine."""

    def __init__(self, path: str | os.PathLike[str], why: str):
        super().__init__(str(path), why)
        self.path, self.why = str(path), why

    def __str__(self) -> str:
        return f"cannot read {self.path}: {self.why}"


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """A picture as uint8 RGB (H, W, 3), as it is stored: depth lies beside that, whatever its EXIF tag would turn."""
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
    content = read_file(path)
    if content.startswith(ARRAY_START):
        try:
            raw = np.load(io.BytesIO(content), allow_pickle=False).squeeze()  # a pickle would be code
        except (ValueError, EOFError):
            raise DecodeError(path, "not a NumPy array, or cut short") from None
    else:
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
    """The content of a file that is not empty, and no stand-in for what should be there."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise DecodeError(path, reason(error)) from None
    if fault := stand_in(raw):
        raise DecodeError(path, fault)
    return raw


def stand_in(raw: bytes) -> str | None:
    """What a file is that begins so, where it is nothing that could be read."""
    if not raw:
        return "the file is empty"
    begin = raw[:64].lstrip().lower()
    return next((what for start, what in STAND_INS.items() if begin.startswith(start)), None)


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
        array = cv2.imdecode(np.frombuffer(raw, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
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
