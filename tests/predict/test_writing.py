"""Point clouds, read back without the code that wrote them."""

import math
from pathlib import Path

import numpy as np
import pytest

from distill.predict.frames import Frame
from distill.predict.inputs import Input
from distill.predict.writing import POINT, Film, Predicted, point_cloud, usual_camera


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


@pytest.fixture
def film(tmp_path):
    """A video in the making, of one frame."""
    depth = np.ones((32, 64), np.float32)
    frame = Frame(Input(tmp_path / "in.mp4", Path("in")), np.zeros((32, 64, 3), np.uint8), 0)
    result = Film(tmp_path / "film.mp4", 5.0, (0.1, 10.0))
    result.add(Predicted(frame, depth, (0.1, 10.0)))
    return result


def test_a_video_takes_its_place_when_it_is_whole(film, tmp_path):
    assert not (tmp_path / "film.mp4").exists()
    film.close()
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_video_that_was_not_written_whole_is_an_error_and_leaves_nothing(film, tmp_path):
    film.frames = 2  # as where the disk was full at the second
    with pytest.raises(OSError, match="not written whole"):
        film.close()
    assert list(tmp_path.iterdir()) == []
