"""KITTI's calibration files, and depth from single scans of its lidar, projected into a camera by them."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np

from distill.data.files.known_lists import KITTI_FRAME
from distill.data.files.pairs import Pair
from distill.data.files.reading import DecodeError, NotDepth, read_file, read_image
from distill.errors import UserError
from distill.files import read_whole

CAMERAS_FILE, LIDAR_FILE = "calib_cam_to_cam.txt", "calib_velo_to_cam.txt"
POINT_BYTES = 16  # x, y, z in metres and the reflectance, as float32


@lru_cache(maxsize=256)
def camera_matrix(date: Path, camera: str) -> np.ndarray | None:
    """The float64 3x3 matrix of a rectified camera, "02" or "03", in pixels of its full frame; None without a file."""
    path = date / CAMERAS_FILE
    return read_numbers(path, f"P_rect_{camera}", 12).reshape(3, 4)[:, :3] if path.exists() else None


@lru_cache(maxsize=256)
def read_lidar(date: Path, camera: str) -> tuple[np.ndarray, tuple[int, int]]:
    """How points of a date's lidar reach a rectified camera: a projection (3, 4), and the frames' height and width.

    It takes homogeneous lidar coordinates in metres to (u * z, v * z, z), with z the depth in metres and pixels counted
    from 1, as in KITTI's files.

    Raises:
        UserError: If one of the two calibration files is missing or incomplete.
    """
    cameras, lidar = date / CAMERAS_FILE, date / LIDAR_FILE
    to_camera, rectify = np.eye(4), np.eye(4)
    to_camera[:3, :3] = read_numbers(lidar, "R", 9).reshape(3, 3)
    to_camera[:3, 3] = read_numbers(lidar, "T", 3)
    rectify[:3, :3] = read_numbers(cameras, "R_rect_00", 9).reshape(3, 3)  # all cameras share the frame of the first
    projection = read_numbers(cameras, f"P_rect_{camera}", 12).reshape(3, 4)
    width, height = read_numbers(cameras, f"S_rect_{camera}", 2).round().astype(int)
    return projection @ rectify @ to_camera, (int(height), int(width))


def listed_matrix(path: Path) -> np.ndarray | None:
    """The matrix (3, 3) in a file of nine numbers, as lie beside the benchmark's selection; None without a file."""
    if not path.exists():
        return None
    numbers = path.read_text(encoding="utf-8", errors="replace").split()
    try:
        return np.array(numbers, dtype=np.float64).reshape(3, 3)
    except ValueError:
        raise UserError(
            f"{path} does not hold the 9 numbers of a camera matrix: unpack it again, or remove it"
        ) from None


def read_numbers(path: Path, key: str, count: int) -> np.ndarray:
    """The float64 numbers of the line `key: ...` of a calibration file."""
    try:
        text = read_whole(path).decode("utf-8", "replace")
    except OSError:
        raise UserError(f"no calibration at {path}: unpack the date's calibration beside its drives") from None
    for line in text.splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == key and len(numbers.split()) == count:
            with suppress(ValueError):
                return np.array(numbers.split(), dtype=np.float64)
    raise UserError(
        f"{path} has no line '{key}:' with {count} numbers: unpack the date's calibration again, or remove it"
    )


class ScanReader:
    """Reads an image and the depth of the scan that was made with it."""

    def __call__(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        image = read_image(pair.image)
        if pair.depth is None:
            return image, np.zeros(image.shape[:2], np.float32)
        frame = KITTI_FRAME.search(Path(pair.image).as_posix())
        assert frame
        projection, whole = read_lidar(Path(pair.image).parents[3], frame["camera"])
        if image.shape[:2] != whole:
            sizes = [f"{height}x{width}" for height, width in (image.shape[:2], whole)]
            raise NotDepth(
                pair.image, f"is {sizes[0]}, but scans are projected into whole frames of {sizes[1]}: unpack it"
            )
        return image, project(read_scan(pair.depth), projection, whole)


def read_scan(path: str) -> np.ndarray:
    """The points (N, 3) of a scan in metres, float32; x points forward."""
    raw = read_file(path)
    if len(raw) % POINT_BYTES:
        raise DecodeError(path, "the file is cut short")
    return np.frombuffer(raw, np.float32).reshape(-1, 4)[:, :3]


def project(points: np.ndarray, projection: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Depth (H, W) in metres along the optical axis, float32; where several points meet, the nearest.

    Points (N, 3) behind the lidar are left out, as in KITTI's development kit, whose pixels are counted from 1.
    """
    ahead = points[points[:, 0] >= 0].astype(np.float64)
    across, down, depth = projection[:, :3] @ ahead.T + projection[:, 3:]
    inside = depth > 0
    across, down, depth = across[inside], down[inside], depth[inside]
    columns, rows = (across / depth).round().astype(int) - 1, (down / depth).round().astype(int) - 1
    seen = (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
    rows, columns, depth = rows[seen], columns[seen], depth[seen]
    far_first = np.argsort(-depth, kind="stable")  # the last value written to a pixel stays
    image = np.zeros(size, np.float32)
    image[rows[far_first], columns[far_first]] = depth[far_first]
    return image
