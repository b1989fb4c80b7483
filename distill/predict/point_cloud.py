"""Depth as points in space, in the PLY format that viewers of point clouds read."""

from __future__ import annotations

import math

import numpy as np

from distill.data.files.list_files import Camera

USUAL_ANGLE = 60.0  # degrees from the left edge to the right one, of a camera of which nothing is known
POINT = np.dtype([(axis, "<f4") for axis in "xyz"] + [(colour, "u1") for colour in ("red", "green", "blue")])


def usual_camera(width: int, height: int) -> Camera:
    """(fx, fy, cx, cy) in pixels of a camera with square pixels that sees `USUAL_ANGLE` degrees across."""
    focal_px = width / 2 / math.tan(math.radians(USUAL_ANGLE / 2))
    return focal_px, focal_px, (width - 1) / 2, (height - 1) / 2


def point_cloud(depth: np.ndarray, image: np.ndarray, camera: Camera) -> bytes:
    """A binary PLY file: one coloured point for each pixel whose depth is positive and finite.

    x points right, y down and z forward, in metres: x = (column - cx) / fx * depth, y = (row - cy) / fy * depth.

    Args:
        depth: Metres along the optical axis, (H, W).
        image: RGB, uint8 (H, W, 3).
        camera: (fx, fy, cx, cy) in pixels of this image; the middle of its first pixel is (0, 0).
    """
    fx, fy, cx, cy = camera
    rows, columns = np.nonzero(np.isfinite(depth) & (depth > 0))
    points = np.empty(len(rows), POINT)
    metres = depth[rows, columns]
    points["x"], points["y"], points["z"] = (columns - cx) / fx * metres, (rows - cy) / fy * metres, metres
    points["red"], points["green"], points["blue"] = image[rows, columns].T
    types = {"<f4": "float", "|u1": "uchar"}
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment metres; x right, y down, z forward",
        f"comment camera fx {fx:.6g} fy {fy:.6g} cx {cx:.6g} cy {cy:.6g} pixels",
        f"element vertex {len(points)}",
        *(f"property {types[POINT[name].str]} {name}" for name in POINT.names or ()),
        "end_header",
    ]
    return "\n".join(header).encode() + b"\n" + points.tobytes()
