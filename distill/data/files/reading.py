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


class DecodeError(Exception):
    """One file that cannot be read: missing, empty, cut short or not a picture. The rest of its set may be fine."""

    def __init__(self, path: str | os.PathLike[str], why: str):
        super().__init__(str(path), why)
        self.path, self.why = str(path), why

    def __str__(self) -> str:
        return f"cannot read {self.path}: {self.why}"


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """A picture as uint8 RGB (H, W, 3), turned upright where its EXIF tag says so."""
    return decode_colours(read_file(path), path)


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
        raw = _load_array(path)
    else:
        content = read_file(path)
        raw, scale = decode_values(content, path), png.depth_scale(content) or scale
    raw = raw[..., 0] if raw.ndim == 3 and raw.shape[2] == 1 else raw
    floating = raw.dtype in (np.float32, np.float64, np.float16)
    units = np.float32(scale or (FLOAT_SCALE if floating else INTEGER_SCALE))
    if raw.dtype == np.uint8 and byte_scale:
        units = np.float32(byte_scale)
    elif raw.dtype != np.uint16 and not floating:
        raise _not_depth(path, raw, units)
    if raw.ndim != 2:
        raise _not_depth(path, raw, units)
    if floating:
        raw = np.where(np.isfinite(raw) & (raw > 0), raw, 0)
    return np.divide(raw, units, dtype=np.float32)


def _not_depth(path: str | os.PathLike[str], raw: np.ndarray, units: np.float32) -> UserError:
    channels = 1 if raw.ndim == 2 else raw.shape[2]
    return UserError(
        f"{path} is a {8 * raw.dtype.itemsize}-bit picture with {channels} channel{'s' * (channels > 1)}, expected a "
        f"16-bit single-channel depth map: write metres x {units:g} as a uint16 PNG"
    )


def _load_array(path: str | os.PathLike[str]) -> np.ndarray:
    try:
        array = np.load(io.BytesIO(read_file(path)), allow_pickle=False)  # a pickle would be code
    except (ValueError, EOFError):
        raise DecodeError(path, "not a NumPy array, or cut short") from None
    return array.squeeze()


def read_pair(
    image_path: str, depth_path: str, scale: float | None = None, byte_scale: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 3) and its depth (H, W) in metres, as `read_image` and `read_depth` give them."""
    image, depth = read_image(image_path), read_depth(depth_path, scale, byte_scale)
    if image.shape[:2] != depth.shape:
        raise UserError(
            f"depth {depth_path} is {depth.shape[0]}x{depth.shape[1]} but its image {image_path} is "
            f"{image.shape[0]}x{image.shape[1]} (height x width), expected one size: check that they belong together"
        )
    return image, depth


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The content of a file that is not empty."""
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        raise DecodeError(path, "no such file") from None
    except OSError as error:
        raise DecodeError(path, error.strerror or str(error)) from None
    if not raw:
        raise DecodeError(path, "the file is empty")
    return raw


def decode_colours(raw: bytes, path: str | os.PathLike[str]) -> np.ndarray:
    """The uint8 RGB picture (H, W, 3) that a file's content holds."""
    check_complete(raw, path)
    fast = png.read(raw, png.COLOUR8)
    return _decode(raw, path, cv2.IMREAD_COLOR_RGB) if fast is None else fast


def decode_values(raw: bytes, path: str | os.PathLike[str]) -> np.ndarray:
    """The picture that a file's content holds, in its own type and number of channels."""
    check_complete(raw, path)
    fast = png.read(raw, png.GREY16)
    return _decode(raw, path, cv2.IMREAD_UNCHANGED) if fast is None else fast


def check_complete(raw: bytes, path: str | os.PathLike[str]) -> None:
    """Refuse a file that was cut, before decoding: older OpenCV fills what is missing with grey and says nothing."""
    if not is_complete(raw):
        raise DecodeError(path, "the file is cut short")


def _decode(raw: bytes, path: str | os.PathLike[str], mode: int) -> np.ndarray:
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
