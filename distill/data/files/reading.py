"""Reading pictures and depth maps from disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from distill.data.files import containers, png
from distill.files import check_file

JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", 0xDA, b"\xff\xd9"
HEIC = {b"ftyp" + brand for brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")}  # after 4 bytes
FLOAT_SCALE, INTEGER_SCALE = 1.0, 1000.0  # units per metre where nothing else is declared
ARRAY_START = b"\x93NUMPY"
STAND_INS = {  # what lies where a file should be, by its first bytes
    b"version https://git-lfs": "a Git LFS pointer: git lfs pull",
    b"/annex/objects/": "a git-annex pointer: git annex get",
    b"<!doctype": "a web page: get the file anew",
    b"<html": "a web page: get the file anew",
    b"<?xml": "XML: get the file anew",
    b"pk\x03\x04": "an archive (.zip or .npz): unpack it, and save an array as .npy",
}

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a `DecodeError` says what there is to say


class DecodeError(Exception):
    """One file that cannot be used: missing, empty, cut short or not a picture. The rest of its set may be fine."""

    def __init__(self, path: str | os.PathLike[str], why: str):
        super().__init__(str(path), why)
        self.path, self.why = str(path), why

    def __str__(self) -> str:
        return f"cannot read {self.path}: {self.why}"


class NotDepth(DecodeError):
    """One file that can be read and is no depth map, not that of its image, or no frame of its data set."""

    def __str__(self) -> str:
        return f"{self.path} {self.why}"


@dataclass(frozen=True)
class Units:
    """Units per metre of depth maps.

    A PNG may state its own, as those of `distill predict` do. Other maps have what is `declared`; where nothing is,
    those of integers have the `usual`, of floating-point numbers 1. 8-bit maps have `in_bytes`, and without it are
    refused: they are mostly pictures of depth.
    """

    declared: float | None = None
    usual: float = INTEGER_SCALE
    in_bytes: float | None = None

    def of(self, path: str | os.PathLike[str]) -> tuple[float, bool]:
        """The units of one file, for messages, and whether it holds floating-point numbers."""
        raw, stated = read_values(path)
        return self.choose(path, raw, stated), raw.dtype.kind == "f"

    def choose(self, path: str | os.PathLike[str], raw: np.ndarray, stated: float | None) -> float:
        """The units of values that were read, with what their file states."""
        if raw.dtype in (np.uint8, np.int8):
            units = self.in_bytes
        else:
            units = stated or self.declared or (FLOAT_SCALE if raw.dtype.kind == "f" else self.usual)
        if units is None or raw.ndim != 2 or raw.dtype.kind not in "fiu":
            channels = 1 if raw.ndim < 3 else raw.shape[2]
            raise NotDepth(
                path,
                f"is a {8 * raw.dtype.itemsize}-bit picture with {channels} channel{'s' * (channels > 1)}, expected a "
                f"16-bit single-channel depth map: write metres x {self.declared or self.usual:g} as a uint16 PNG",
            )
        if self.declared and stated and stated != self.declared:
            raise NotDepth(
                path,
                f"states {stated:g} units per metre itself, but {self.declared:g} are declared: leave the scale out",
            )
        return units


USUAL_UNITS = Units()


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """A picture as uint8 RGB (H, W, 3), as it is stored: depth lies beside that, whatever its EXIF tag would turn."""
    return decode(read_file(path), path, png.COLOUR8)


def read_depth(path: str | os.PathLike[str], units: Units = USUAL_UNITS, *, saturated: bool = False) -> np.ndarray:
    """A depth map as float32 metres (H, W), 0 where nothing was measured.

    Nothing is measured where a value is not positive or not finite, or is the largest of its integer type (65535 of 16
    bits), which cameras and renderers write into holes and skies. The division is made in float32.

    Args:
        path: Single-channel PNG, PGM or TIFF of 16 bits, floating-point TIFF or PFM, NumPy array (.npy), or one of
            `containers.READERS`.
        saturated: Keep the largest value of an integer type: in predictions it is depth so far or farther.

    Raises:
        DecodeError: If the file cannot be read; `NotDepth` if it is no depth map.
    """
    raw, stated = read_values(path)
    scale = np.float32(units.choose(path, raw, stated))
    return np.divide(np.where(is_measured(raw, saturated), raw, 0), scale, dtype=np.float32)


def is_measured(raw: np.ndarray, saturated: bool = False) -> np.ndarray:
    """Which values of a depth map (H, W) as stored are measurements, bool."""
    hole = raw == (np.float32(png.MOST) if raw.dtype.kind == "f" else np.iinfo(raw.dtype).max)
    if raw.dtype.itemsize > 2:  # other numbers may have been made of 16 bits
        hole |= raw == png.MOST
    return np.isfinite(raw) & (raw > 0) & (saturated | ~hole)


def saturated_share(path: str | os.PathLike[str]) -> float:
    """The share of a depth map's pixels that hold the largest value of their type."""
    raw, _ = read_values(path)
    if raw.dtype.kind not in "fiu" or not raw.size:
        return 0.0
    return float((is_measured(raw, saturated=True) & ~is_measured(raw)).mean())


def read_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """A mask as bool (H, W): the pixels that are not 0. Of a colour picture, those of any colour."""
    raw, _ = read_values(path)
    return np.asarray((np.atleast_3d(raw)[..., :3] > 0).any(axis=-1))


def read_values(path: str | os.PathLike[str], *, whole: bool = True) -> tuple[np.ndarray, float | None]:
    """A picture or array as it is stored, (H, W) where it has one channel, and the units per metre that it states.

    Without `whole` its shape and type are meant: the numbers of `containers` may be missing.
    """
    if (read := containers.READERS.get(Path(path).suffix.lower())) is not None:
        try:
            check_file(path)
            return read(path, whole).squeeze(), None
        except FileNotFoundError:
            raise DecodeError(path, "no such file") from None
        except (OSError, ValueError) as error:
            raise DecodeError(path, f"{' '.join(str(error).split())}: expected one array of depth") from None
    content = read_file(path)
    if not content.startswith(ARRAY_START):
        raw = decode(content, path, png.GREY16)
        return (raw[..., 0] if raw.ndim == 3 and raw.shape[2] == 1 else raw), png.depth_scale(content)
    return np.array(map_array(path)), None


def map_array(path: str | os.PathLike[str]) -> np.ndarray:
    """A NumPy file without axes of length 1, mapped: it is no larger than its file, whatever its header claims."""
    try:
        values: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)  # a pickle would be code
    except (ValueError, EOFError, OverflowError, OSError):
        raise DecodeError(path, "not a NumPy array, or cut short") from None
    return values.squeeze()


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The content of a file that is not empty, and no stand-in for what should be there."""
    try:
        check_file(path)
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
        heic = raw[4:12] in HEIC
        raise DecodeError(path, "HEIC cannot be read; save it as JPEG" if heic else "not a picture, or damaged")
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
