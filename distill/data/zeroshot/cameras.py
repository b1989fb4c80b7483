"""The camera of an image of these data sets, where it is known: a 3x3 matrix in pixels of the depth map."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from distill.data.files.reading import DecodeError
from distill.data.zeroshot.decoding import FOCAL_SHARE, Size

Camera = Callable[[str, Size], np.ndarray | None]  # of a depth map's file, and its height and width

KINECTS = {  # of TUM's sequences, by the number in their names
    "1": (517.3, 516.5, 318.6, 255.3),
    "2": (520.9, 521.0, 325.1, 249.7),
    "3": (535.4, 539.2, 320.1, 247.6),
}


def matrix(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    """Focal lengths and centre as a matrix."""
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64)


def scaled(height: int, width: int, fx: float, fy: float, cx: float, cy: float) -> Camera:
    """One camera for all images, given for frames of a size."""

    def camera(path: str, size: Size) -> np.ndarray:
        x, y = size[1] / width, size[0] / height
        return matrix(fx * x, fy * y, cx * x, cy * y)

    return camera


def hypersim(path: str, size: Size) -> np.ndarray:
    """Square pixels, the centre in the middle."""
    focal = FOCAL_SHARE * size[1]
    return matrix(focal, focal, size[1] / 2 - 0.5, size[0] / 2 - 0.5)


def tum(path: str, size: Size) -> np.ndarray | None:
    """The Kinect that recorded a sequence, which its name tells."""
    number = re.search(r"freiburg([123])", path)
    return scaled(480, 640, *KINECTS[number[1]])(path, size) if number else None


def ibims(path: str, size: Size) -> np.ndarray | None:
    """`calib/NAME.txt`: fx, fy, cx, cy, of which pixels are counted from 1."""
    depth = Path(path)
    numbers = numbers_in(depth.parents[1] / "calib" / f"{depth.stem}.txt", 4)
    return matrix(*numbers) if numbers else None


def sun_rgbd(path: str, size: Size) -> np.ndarray | None:
    """`intrinsics/NAME.txt`: the matrix."""
    depth = Path(path)
    numbers = numbers_in(depth.parents[1] / "intrinsics" / f"{depth.stem}.txt", 9)
    return np.array(numbers).reshape(3, 3) if numbers else None


def vkitti2(path: str, size: Size) -> np.ndarray | None:
    """`intrinsic.txt` of the variant: a line for each frame and camera."""
    depth = Path(path)
    frame, number = int(depth.stem.rpartition("_")[2]), int(depth.parent.name.rpartition("_")[2])
    listed = depth.parents[3] / "intrinsic.txt"
    if not listed.is_file():
        return None
    start = f"{frame} {number} "
    line = next((line for line in listed.read_text(encoding="utf-8").splitlines() if line.startswith(start)), None)
    return matrix(*numbers_of(line.removeprefix(start), 4, listed)) if line else None


def numbers_in(path: Path, count: int) -> list[float] | None:
    """The numbers of a text file; None where there is no file.

    Raises:
        DecodeError: If there are more, fewer, or other things.
    """
    return numbers_of(path.read_text(encoding="utf-8", errors="replace"), count, path) if path.is_file() else None


def numbers_of(text: str, count: int, path: Path) -> list[float]:
    """The numbers of a part of a file."""
    try:
        numbers = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise DecodeError(path, f"expected {count} numbers of a camera")
    return numbers
