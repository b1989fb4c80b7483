"""The camera of an image of these data sets, where it is known: a 3x3 matrix in pixels of the depth map."""

from __future__ import annotations

import json
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
    line = next(
        (line for line in listed.read_text(encoding="utf-8", errors="replace").splitlines() if line.startswith(start)),
        None,
    )
    return matrix(*numbers_of(line.removeprefix(start), 4, listed)) if line else None


def eth3d(path: str, size: Size) -> np.ndarray | None:
    """`dslr_calibration_jpg/` of the scene, as COLMAP writes it: without the distortion of the lens.

    Corners count from 0 there, and pixels do here.
    """
    depth = Path(path)
    folder = depth.parents[2] / "dslr_calibration_jpg"
    known = {words[0]: words for words in colmap_lines(folder / "cameras.txt")}
    if len(known) > 1:  # a line of ten words for each image
        mine = [one for one in colmap_lines(folder / "images.txt") if Path(one[-1]).name == depth.name and one[8:9]]
        known = {words[8]: known[words[8]] for words in mine if words[8] in known}
    if len(known) != 1:
        return None
    ((_, model, *values),) = known.values()
    width, height, fx, fy, cx, cy = numbers_of(" ".join(values[:6]), 6, folder / "cameras.txt")
    if model not in ("PINHOLE", "THIN_PRISM_FISHEYE"):
        raise DecodeError(folder / "cameras.txt", f"has a camera {model}, expected PINHOLE or THIN_PRISM_FISHEYE")
    x, y = size[1] / width, size[0] / height
    return matrix(fx * x, fy * y, cx * x - 0.5, cy * y - 0.5)


def colmap_lines(path: Path) -> list[list[str]]:
    """The words of every line that is no comment; none without the file."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return [line.split() for line in lines if line.strip() and not line.startswith("#")]


def scannet(path: str, size: Size) -> np.ndarray | None:
    """`intrinsic_depth.txt` of the scene, else that of the colour images: a matrix of 4x4 numbers."""
    scene = Path(path).parents[1]
    for kind, whole in (("depth", (480, 640)), ("color", (968, 1296))):
        for folder in ("intrinsic", ""):
            if numbers := numbers_in(scene / folder / f"intrinsic_{kind}.txt", 16):
                fx, _, cx, _, _, fy, cy, *_ = numbers
                return scaled(*whole, fx, fy, cx, cy)(path, size)
    return None


def ddad(path: str, size: Size) -> np.ndarray | None:
    """The camera that the file's path names, of `calibration/*.json` in a folder above, where these agree."""
    name = re.search(r"CAMERA_\d\d", path)
    above = (folder / "calibration" for folder in Path(path).parents[:4])
    files = sorted(next((folder for folder in above if folder.is_dir()), Path("none")).glob("*.json"))
    known = {one for file in files for one in calibrated(file, name[0])} if name else set()
    return scaled(1216, 1936, *known.pop())(path, size) if len(known) == 1 else None


def calibrated(path: Path, name: str) -> list[tuple[float, float, float, float]]:
    """fx, fy, cx, cy of a camera in a file of TRI's DGP; nothing where that is not in it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        pairs = zip(content["names"], content["intrinsics"], strict=True)
        return [(float(k["fx"]), float(k["fy"]), float(k["cx"]), float(k["cy"])) for one, k in pairs if one == name]
    except (ValueError, KeyError, TypeError):
        raise DecodeError(path, "expected names and intrinsics (fx, fy, cx, cy) of cameras") from None


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
