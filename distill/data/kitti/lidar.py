"""Depth from single scans of KITTI's lidar, projected into a camera by the date's calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distill.data.files.known_lists import KITTI_FRAME
from distill.data.files.pairs import Pair
from distill.data.files.reading import DecodeError, read_file, read_image
from distill.data.kitti.calibration import read_lidar
from distill.errors import UserError

POINT_BYTES = 16  # x, y, z in metres and the reflectance, as float32


class ScanReader:
    """Reads an image and the depth of the scan that was made with it."""

    def __call__(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        image = read_image(pair.image)
        if pair.depth is None:
            return image, np.zeros(image.shape[:2], np.float32)
        frame = KITTI_FRAME.search(Path(pair.image).as_posix())
        assert frame
        lidar = read_lidar(Path(pair.image).parents[3], frame["camera"])
        if image.shape[:2] != lidar.size:
            given, whole = (f"{size[0]}x{size[1]}" for size in (image.shape, lidar.size))
            raise UserError(f"{pair.image} is {given}, but scans are projected into whole frames of {whole}: unpack it")
        return image, project(read_scan(pair.depth), lidar.projection, lidar.size)


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
