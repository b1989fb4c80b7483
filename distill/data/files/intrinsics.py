"""The camera of a recording, as its files state it: JSON, numbers in text, or the camera_info of ROS."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from distill.data.files.disk import PART_FOLDERS
from distill.errors import UserError

NAMES = (
    *(
        f"{prefix}{name}.{suffix}"
        for suffix in ("json", "txt", "yaml", "yml")
        for name in ("intrinsics", "intrinsic", "intrinsic_color", "intrinsics_color", "camera_info", "camera_matrix")
        for prefix in ("", "camera_", "color_", "rgb_")
    ),
    "metadata",  # of Record3D, and with a suffix
    "metadata.json",
    "camera_matrix.csv",  # of Stray Scanner
)
FOLDERS = ("", "intrinsic", "intrinsics")  # ScanNet's has its own
PARTS = ("color", "colour", "rgb", "left", "image", "intrinsics", "intrinsic", "color_intrinsics", "camera")
MATRICES = ("intrinsic_matrix", "camera_matrix", "K", "k", "intrinsics", "matrix")
FOCAL_X, FOCAL_Y = ("fx", "focal_x"), ("fy", "focal_y")
CENTRE_X, CENTRE_Y = ("cx", "ppx"), ("cy", "ppy")
WIDTHS, HEIGHTS = ("width", "image_width", "w"), ("height", "image_height", "h")
OF_OPENCV = re.compile(r"\A%YAML:.*|!!opencv-matrix")  # which is no YAML
OF_ANYTHING = "metadata"  # a name that files without a camera have too
LARGEST = 2**20  # bytes of such a file
OFF_CENTRE = 0.1  # share of a side by which the centre of a whole frame may lie beside its middle

Content = Mapping[str, object]


@dataclass(frozen=True)
class KnownCamera:
    """A camera that a file states: its matrix (3, 3) in pixels, and of which (height, width), where that is stated.

    `units` are those of the depth maps beside it, a metre, where they are stated too. Where a file should state a
    camera and does not, there is no matrix, and `fault` says why.
    """

    matrix: np.ndarray | None
    size: tuple[int, int] | None
    source: str
    units: float | None = None
    fault: str = ""


NO_CAMERA = KnownCamera(None, None, "")


class Cameras:
    """The cameras of the images of a set, by the files beside them or in the nearest folder above, up to its root.

    Above the root it is looked for as long as that is a half or the images of something.
    """

    def __init__(self, root: Path):
        self.top = Path(os.path.abspath(root))
        while self.top.name.lower() in PART_FOLDERS:
            self.top = self.top.parent
        self._known: dict[Path, KnownCamera] = {}

    def of(self, image: str) -> KnownCamera:
        """The camera of an image; `NO_CAMERA` where no file states any."""
        return self.beside(Path(os.path.abspath(image)).parent)

    def beside(self, folder: Path) -> KnownCamera:
        """The camera of the images in a folder, looked up once."""
        if folder not in self._known:
            known = camera_in(folder)
            above = folder != self.top and self.top in folder.parents
            self._known[folder] = self.beside(folder.parent) if known is NO_CAMERA and above else known
        return self._known[folder]


def camera_in(folder: Path) -> KnownCamera:
    """The camera that a file of a folder states; else why one does not that should."""
    fault = NO_CAMERA
    for place in (folder / inner for inner in FOLDERS):
        try:
            there = set(os.listdir(place))  # one look, as every frame may have a folder of its own
        except OSError:
            continue
        for path in (place / name for name in NAMES if name in there):
            try:
                if path.is_file() and (known := read_camera(path)) is not None:
                    return known
            except UserError as error:
                fault = KnownCamera(None, None, str(path), fault=str(error))
    return fault


def read_camera(path: Path) -> KnownCamera | None:
    """What a file says of a camera; None of the metadata of something else.

    Raises:
        UserError: If it says nothing that can be used.
    """
    try:
        raw = path.read_bytes()[: LARGEST + 1]
        if len(raw) > LARGEST:
            raise ValueError("it is of more than 1 MiB")
        text = OF_OPENCV.sub("", raw.decode("utf-8-sig"))
        if path.suffix in (".txt", ".csv"):
            return KnownCamera(matrix_of([float(one) for one in re.split(r"[\s,;]+", text) if one]), None, str(path))
        content = json.loads(text) if path.suffix in (".json", "") else next(yaml.safe_load_all(text), None)
        known = known_in(content, str(path))
        if known is None and path.stem != OF_ANYTHING:
            raise ValueError("it has neither fx, fy, cx, cy nor a matrix called K, camera_matrix or intrinsic_matrix")
    except (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError) as error:
        if path.stem == OF_ANYTHING:
            return None
        why = " ".join(str(error).split())
        raise UserError(
            f"{path} does not state a camera ({why:.200}): expected fx, fy, cx, cy, a 3x3 matrix, or the camera_info "
            "of ROS; mend or remove it"
        ) from None
    return known


def known_in(content: object, source: str) -> KnownCamera | None:
    """The camera in what a JSON or YAML file holds, perhaps in the part that is of the colour images."""
    if isinstance(content, list) and len(values := flat(content)) in (4, 9, 16):
        return KnownCamera(matrix_of(values), None, source)
    if not isinstance(content, dict):
        return None
    numbers = [number_of(content, names) for names in (FOCAL_X, FOCAL_Y, CENTRE_X, CENTRE_Y)]
    values = [one for one in numbers if one is not None]
    if len(values) < 4:
        values = next((some for name in MATRICES if len(some := flat(content.get(name))) in (4, 9, 16)), [])
    if values:
        height, width = number_of(content, HEIGHTS), number_of(content, WIDTHS)
        size = (int(height), int(width)) if height and width else None
        return KnownCamera(matrix_of(values), size, source, units_of(content))
    inner = (known_in(content[part], source) for part in PARTS if part in content)
    return next((one for one in inner if one is not None), None)


def units_of(content: Content) -> float | None:
    """The depth scale that is stated, in units a metre; below 1 it is RealSense's, of metres a unit."""
    scale = number_of(content, ("depth_scale",))
    if scale is None or not 0 < scale < math.inf:
        return None
    return scale if scale >= 1 else round(1 / scale, 2)


def number_of(content: Content, names: Sequence[str]) -> float | None:
    """The number under the first of some names."""
    values = (content[name] for name in names if name in content)
    return next((float(one) for one in values if isinstance(one, int | float) and not isinstance(one, bool)), None)


def flat(value: object) -> list[float]:
    """Numbers in a list, in lists of a list, or under `data` as ROS has them; none of anything else."""
    if isinstance(value, dict):
        return flat(value.get("data"))
    if not isinstance(value, list):
        return []
    rows = [one if isinstance(one, list) else [one] for one in value]
    numbers = [one for row in rows for one in row]
    return [float(one) for one in numbers] if all(isinstance(one, int | float) for one in numbers) else []


def matrix_of(values: Sequence[float]) -> np.ndarray:
    """The matrix (3, 3) of fx, fy, cx, cy, or of 9 or 16 numbers, by rows or, as Open3D and ARKit write, by columns."""
    if len(values) == 4:
        fx, fy, cx, cy = values
    else:
        side = math.isqrt(len(values))
        if side not in (3, 4) or side * side != len(values):
            raise ValueError(f"it holds {len(values)} numbers, expected 4 (fx, fy, cx, cy), 9 or 16 of a matrix")
        matrix = np.array(values, dtype=np.float64).reshape(side, side)[:3, :3]
        matrix = matrix.T if matrix[2, 0] and not matrix[0, 2] else matrix
        fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
    if not (0 < fx < math.inf and 0 < fy < math.inf and math.isfinite(cx) and math.isfinite(cy)):
        raise ValueError(f"fx {fx:g}, fy {fy:g}, cx {cx:g}, cy {cy:g} are of no camera")
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64)


def misfit(matrix: np.ndarray, stated: tuple[int, int] | None, size: tuple[int, int], of_what: str) -> str:
    """Why a camera matrix is of another size (height, width) than the image it is to be of; empty where it fits.

    Its stated size is another, or its centre lies far beside the image's middle.
    """
    height, width = size
    offsets = ((abs(matrix[axis, 2] - side / 2) - 0.5) / side for axis, side in enumerate((width, height)))
    beside = max(offsets) > OFF_CENTRE  # half a pixel more, as the first pixel's centre may be 0
    if (stated is None and not beside) or stated == size:
        return ""
    cause = f"of {stated[0]}x{stated[1]}" if stated else f"of a centre at {matrix[0, 2]:g}, {matrix[1, 2]:g}"
    return (
        f"the intrinsics of {of_what} are {cause}, but the image is {height}x{width} (height x width): scale "
        "fx, cx and fy, cy as the image was, or give those of this size"
    )
