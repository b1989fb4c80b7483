import json
import re

import numpy as np
import pytest

from distill.data.files.intrinsics import NO_CAMERA, Cameras, misfit, read_camera
from distill.errors import UserError

MATRIX = [[7.0, 0, 3.5], [0, 6, 2.5], [0, 0, 1]]
ROWS = [7, 0, 3.5, 0, 6, 2.5, 0, 0, 1]
COLUMNS = [7, 0, 0, 0, 6, 0, 3.5, 2.5, 1]

OF_REALSENSE = {"fx": 7, "fy": 6, "ppx": 3.5, "ppy": 2.5, "width": 8, "height": 6}
FILES = {
    "intrinsics.json": (json.dumps({"fx": 7, "fy": 6, "cx": 3.5, "cy": 2.5}), None),
    "camera_intrinsics.json": (
        json.dumps({"color": OF_REALSENSE}),
        (6, 8),
    ),
    "camera_intrinsic.json": (json.dumps({"width": 8, "height": 6, "intrinsic_matrix": COLUMNS}), (6, 8)),
    "metadata.json": (json.dumps({"w": 8, "h": 6, "K": COLUMNS, "fps": 30}), (6, 8)),
    "intrinsic.json": (json.dumps(MATRIX), None),
    "camera_matrix.yml": (
        f"%YAML:1.0\n---\ncamera_matrix: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n   data: {ROWS}\n",
        None,
    ),
    "intrinsics.txt": ("7 6 3.5 2.5\n", None),
    "intrinsic_color.txt": ("7 0 3.5 0\n0 6 2.5 0\n0 0 1 0\n0 0 0 1\n", None),
    "camera_matrix.csv": ("7,0,3.5\n0,6,2.5\n0,0,1\n", None),
    "camera_info.yaml": (
        f"image_width: 8\nimage_height: 6\ncamera_matrix:\n  data: {ROWS}\n",
        (6, 8),
    ),
    "camera_info.yml": (f"height: 6\nwidth: 8\nk: {ROWS}\n---\nheight: 6\n", (6, 8)),
}


@pytest.mark.parametrize("name", FILES)
def test_a_camera_is_read_of(tmp_path, name):
    text, size = FILES[name]
    (tmp_path / name).write_text(text)
    known = read_camera(tmp_path / name)
    assert known.matrix.tolist() == MATRIX
    assert known.size == size


def test_the_nearest_camera_counts(tmp_path):
    for folder, focal in (("", 5), ("one", 7)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "intrinsics.txt").write_text(f"{focal} {focal} 3 2")
    cameras = Cameras(tmp_path)
    assert [cameras.beside(tmp_path / name / "color").matrix[0, 0] for name in ("one", "two")] == [7, 5]


@pytest.mark.parametrize("root", ["train", "train/rgb", "Test"])
def test_a_half_has_the_camera_above_it(tmp_path, root):
    (tmp_path / root).mkdir(parents=True)
    (tmp_path / "intrinsics.txt").write_text("7 6 3.5 2.5")
    assert Cameras(tmp_path / root).of(str(tmp_path / root / "a.png")).matrix.tolist() == MATRIX
    assert Cameras(tmp_path / "recording").of(str(tmp_path / "recording/a.png")) is NO_CAMERA


def test_of_the_files_of_one_folder_the_one_that_is_understood_counts(tmp_path):
    (tmp_path / "intrinsics.json").write_text("{}")
    fault = Cameras(tmp_path).beside(tmp_path)
    assert fault.matrix is None
    assert "intrinsics.json does not state a camera" in fault.fault
    (tmp_path / "intrinsics.txt").write_text("7 6 3.5 2.5")
    assert Cameras(tmp_path).beside(tmp_path).matrix.tolist() == MATRIX


def test_the_metadata_of_something_else_is_no_camera(tmp_path):
    (tmp_path / "metadata.json").write_text('{"date": "today"}')
    assert Cameras(tmp_path).beside(tmp_path) is NO_CAMERA


ENDLESS = '{"fx": 7, "fy": 6, "cx": 3, "cy": 2, "width": Infinity, "height": 6}'


@pytest.mark.parametrize(
    "text", ["7 6 3.5", "no number", "0 6 3.5 2.5", "7 nan 3 2", ENDLESS, ENDLESS.replace("Infinity", "9" * 400)]
)
def test_what_is_no_camera_is_refused_by_name(tmp_path, text):
    path = tmp_path / ("intrinsics.json" if "{" in text else "intrinsics.txt")
    path.write_text(text)
    with pytest.raises(UserError, match=r"intrinsics.* does not state a camera .* mend or remove it"):
        read_camera(path)


@pytest.mark.parametrize(("stated", "size"), [((12, 16), (6, 8)), (None, (12, 16)), (None, (3, 4))])
def test_intrinsics_of_another_size_do_not_fit(stated, size):
    why = misfit(np.array(MATRIX), stated, size, "a.png")
    assert re.search(r"intrinsics of a.png are .* but the image is .* scale fx, cx", why)


@pytest.mark.parametrize("stated", [(6, 8), None])
def test_intrinsics_of_this_size_fit(stated):
    assert not misfit(np.array(MATRIX), stated, (6, 8), "a.png")


def test_the_camera_of_a_larger_frame_does_not_fit():
    why = misfit(np.array([[1400.0, 0, 960], [0, 1400, 540], [0, 0, 1]]), None, (720, 1280), "a.png")
    assert "centre at 960, 540, but the image is 720x1280" in why
