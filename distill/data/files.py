"""Reading pictures, depth maps and list files from disk."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from distill.errors import UserError

JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", 0xDA, b"\xff\xd9"
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"  # the end is an empty chunk and its checksum
SPLIT_FORM = "'rgb_path depth_path [focal_px]', depth_path 'None' where there is no ground truth"


class DecodeError(Exception):
    """One file that cannot be read: missing, empty, cut short or not a picture. The rest of its set may be fine."""

    def __init__(self, path: str | os.PathLike[str], why: str):
        super().__init__(str(path), why)
        self.path, self.why = str(path), why

    def __str__(self) -> str:
        return f"cannot read {self.path}: {self.why}"


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """A picture as uint8 RGB (H, W, 3), turned upright where its EXIF tag says so."""
    return cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_depth(path: str | os.PathLike[str], scale: float) -> np.ndarray:
    """A 16-bit depth map as float32 metres (H, W), 0 where nothing was measured.

    Args:
        path: Single-channel 16-bit PNG.
        scale: Units per metre, 256 for KITTI and 1000 for NYU. The division is made in float32.
    """
    raw = _decode(path, cv2.IMREAD_UNCHANGED)
    if raw.dtype != np.uint16 or raw.ndim != 2:
        bits, channels = 8 * raw.dtype.itemsize, 1 if raw.ndim == 2 else raw.shape[2]
        raise UserError(
            f"{path} is a {bits}-bit picture with {channels} channel{'s' * (channels > 1)}, expected a 16-bit "
            f"single-channel depth map: write metres x {scale:g} as a uint16 PNG"
        )
    return raw.astype(np.float32) / np.float32(scale)


def read_pair(image_path: str, depth_path: str, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 3) and its depth (H, W) in metres, as `read_image` and `read_depth` give them."""
    image, depth = read_image(image_path), read_depth(depth_path, scale)
    if image.shape[:2] != depth.shape:
        raise UserError(
            f"depth {depth_path} is {depth.shape[0]}x{depth.shape[1]} but its image {image_path} is "
            f"{image.shape[0]}x{image.shape[1]} (height x width), expected one size: check that they belong together"
        )
    return image, depth


def _decode(path: str | os.PathLike[str], mode: int) -> np.ndarray:
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        raise DecodeError(path, "no such file") from None
    except OSError as error:
        raise DecodeError(path, error.strerror or str(error)) from None
    if not raw:
        raise DecodeError(path, "the file is empty")
    # Before decoding: older OpenCV fills the missing part of a cut file with grey and says nothing.
    if not _is_complete(raw):
        raise DecodeError(path, "the file is cut short")
    try:
        array = cv2.imdecode(np.frombuffer(raw, np.uint8), mode)
    except cv2.error as error:
        raise DecodeError(path, " ".join(str(error).split())) from None
    if array is None:
        raise DecodeError(path, "not a picture, or damaged")
    return array


def _is_complete(raw: bytes) -> bool:
    """Whether a PNG or JPEG file has its end marker. Other formats are left to the decoder."""
    if raw.startswith(PNG_START):
        return raw.rfind(PNG_END) > 0
    if raw.startswith(JPEG_START):
        return raw.find(JPEG_END, _jpeg_scan_start(raw)) > 0
    return True


def _jpeg_scan_start(raw: bytes) -> int:
    """Where the pixels of a JPEG file start: behind its headers, whose thumbnail has an end marker of its own."""
    at = len(JPEG_START)
    while raw[at : at + 1] == b"\xff" and raw[at + 1 : at + 2] != bytes([JPEG_SCAN]):
        at += 2 + int.from_bytes(raw[at + 2 : at + 4], "big")
    return at


SplitLine = tuple[str, str | None, float | None]


def read_split(path: str | os.PathLike[str]) -> list[SplitLine]:
    """The lines of a list file as (image path, depth path or None, focal length in pixels or None).

    The form is that of the BTS lists, `rgb depth focal`: the focal length may be left out, leading slashes go, blank
    lines are ignored and a depth of `None` is a frame without ground truth.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"list file {path} does not exist, expected lines of {SPLIT_FORM}") from None
    except (OSError, UnicodeDecodeError):
        raise UserError(f"list file {path} is not readable text, expected lines of {SPLIT_FORM}") from None
    numbered = enumerate(text.splitlines(), start=1)
    return [_parse_line(line, f"{path}:{number}") for number, line in numbered if line.strip()]


def _parse_line(line: str, where: str) -> SplitLine:
    fields = line.split()
    focal = _focal(fields[2]) if len(fields) == 3 else None
    if len(fields) not in (2, 3) or (len(fields) == 3 and focal is None) or fields[0] == "None":
        raise UserError(f"{where}: '{line.strip()}' is not a line of a list file, expected {SPLIT_FORM}")
    image, depth = fields[0].lstrip("/"), fields[1].lstrip("/")
    return image, None if depth == "None" else depth, focal


def _focal(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def default_split(root: str | os.PathLike[str], part: Literal["train", "test"]) -> Path:
    """The list file that a data set is looked up by when none is named."""
    return Path(root) / f"{part}_files_with_gt.txt"


@dataclass(frozen=True)
class Layout:
    """How a data set lies on disk. Folders are relative to its root (or absolute), in the order they are tried."""

    name: str
    images: tuple[str, ...]
    depths: tuple[str, ...]
    signs: tuple[str, ...]  # patterns of which at least one is expected in the root


@dataclass(frozen=True)
class ListedFiles:
    """What one line of a list file stands for: paths that exist, `depth` None where there is no ground truth."""

    image: str
    depth: str | None


def find_listed(
    root: Path, split_file: Path, layout: Layout, *, depth_root: Path | None = None, skip_missing_depth: bool = False
) -> list[ListedFiles]:
    """Find the files of every line, and refuse a set of which some are missing.

    Depth maps are looked for in `depth_root`, by default the root. With `skip_missing_depth`, one that is not on disk
    counts as a frame without ground truth.
    """
    depth_root = depth_root or root
    for folder in (root, depth_root):
        check_root(folder, layout)
    if not split_file.exists() and not any(any(root.glob(sign)) for sign in layout.signs):
        raise wrong_layout(root, layout)
    lines = read_split(split_file)
    find_image, find_depth = Finder(root, layout.images), Finder(depth_root, layout.depths)
    found, missing = [], []
    for image, depth, _ in lines:
        image_path, depth_path = find_image(image), find_depth(depth) if depth else None
        if depth and image_path is None:
            missing.append(image)
        elif depth and depth_path is None and not skip_missing_depth:
            missing.append(depth)
        found.append(ListedFiles(image_path or str(root / image), depth_path))
    if missing and find_image.hits == 0:
        raise wrong_layout(root, layout, f"; none of the {len(lines)} images of {split_file} is in it")
    if missing:
        raise UserError(
            f"{len(missing)} of {len(lines)} lines of {split_file} name files that do not exist: "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''} (images looked for under {root}, depth "
            f"under {depth_root}): add the files or drop the lines"
        )
    return found


class Finder:
    """Finds a listed file under the first of several folders that has it, trying the latest success first."""

    def __init__(self, root: Path, folders: Sequence[str]):
        self.folders = [os.path.join(root, folder) for folder in folders]
        self.hits = 0

    def __call__(self, relative: str) -> str | None:
        for place, folder in enumerate(self.folders):
            path = os.path.join(folder, relative)
            if os.path.exists(path):
                self.folders.insert(0, self.folders.pop(place))
                self.hits += 1
                return path
        return None


def check_root(root: Path, layout: Layout) -> None:
    """Refuse a root that is no folder."""
    if not root.is_dir():
        state = "is a file" if root.exists() else "does not exist"
        raise UserError(f"data root {root} {state}, expected the {layout.name} folder that holds {_any_of(layout)}")


def wrong_layout(root: Path, layout: Layout, also: str = "") -> UserError:
    """The refusal of a root in which nothing is where it should be."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir())
    holds = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nothing"
    return UserError(
        f"data root {root} does not have the {layout.name} layout: it holds {holds}, expected {_any_of(layout)}"
        f"{also}; name the folder that holds them"
    )


def _any_of(layout: Layout) -> str:
    return " or ".join(layout.signs)
