"""Point clouds, read back without the code that wrote them."""

import math

import numpy as np
import pytest

from distill.predict.writing import POINT, point_cloud, usual_camera


def read_ply(raw):
    header, _, body = raw.partition(b"end_header\n")
    return header.decode().splitlines(), np.frombuffer(body, POINT)


def test_points_lie_where_a_pinhole_camera_saw_them():
    depth = np.array([[2.0, 4.0], [0.0, np.nan]], np.float32)
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    header, points = read_ply(point_cloud(depth, image, (2.0, 4.0, 0.5, 0.5)))
    assert header[:2] == ["ply", "format binary_little_endian 1.0"]
    assert "element vertex 2" in header  # neither the hole nor what is no number
    assert points[0].tolist() == (-0.5, -0.25, 2.0, 0, 1, 2)
    assert points[1].tolist() == (1.0, -0.5, 4.0, 3, 4, 5)


def test_the_usual_camera_sees_60_degrees_across():
    fx, fy, cx, cy = usual_camera(640, 480)
    assert math.degrees(2 * math.atan(320 / fx)) == pytest.approx(60)
    assert (fy, cx, cy) == (fx, 319.5, 239.5)


def test_the_header_says_camera_axes_and_units():
    header, _ = read_ply(point_cloud(np.ones((2, 3)), np.zeros((2, 3, 3), np.uint8), (721.54, 721.54, 609.56, 172.85)))
    assert "comment metres; x right, y down, z forward" in header
    assert "comment camera fx 721.54 fy 721.54 cx 609.56 cy 172.85 pixels" in header
