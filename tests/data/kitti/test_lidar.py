from pathlib import Path

import cv2
import numpy as np
import pytest

from distill.data.files.reading import DecodeError, NotDepth
from distill.data.kitti.drives import KittiDataset
from distill.data.kitti.lidar import camera_matrix, listed_matrix, project, read_lidar, read_numbers, read_scan
from distill.errors import UserError

DRIVE = "2011_09_26/2011_09_26_drive_0002_sync"
SIZE = (8, 12)
# A camera that looks along the lidar's x axis; pixels are counted from 1.
FOCAL, CENTRE = 4.0, (6.0, 4.0)
CAMERAS = f"""R_rect_00: 1 0 0 0 1 0 0 0 1
S_rect_02: {SIZE[1]:.6e} {SIZE[0]:.6e}
P_rect_02: {FOCAL} 0 {CENTRE[0]} 0 0 {FOCAL} {CENTRE[1]} 0 0 0 1 0
S_rect_03: {SIZE[1]:.6e} {SIZE[0]:.6e}
P_rect_03: {FOCAL} 0 {CENTRE[0]} -8 0 {FOCAL} {CENTRE[1]} 0 0 0 1 0
"""
LIDAR = "R: 0 -1 0 0 0 -1 1 0 0\nT: 0 0 0\n"
# Where the points are, (forward, left, up) in metres, and the pixel (row, column from 0) of each in the left camera.
POINTS = {(10.0, 0.0, 0.0): (3, 5), (8.0, 2.0, -4.0): (5, 4), (4.0, 1.0, -2.0): (5, 4), (-5.0, 0.0, 0.0): None}


def scan_file(root, number=0):
    return root / DRIVE / "velodyne_points/data" / f"{number:010d}.bin"


@pytest.fixture
def root(tmp_path, write_image):
    """Two frames of both cameras with their scans."""
    points = np.float32([[*point, 0.5] for point in POINTS])
    for number in (0, 1):
        for camera in ("02", "03"):
            write_image(tmp_path / DRIVE / f"image_{camera}/data/{number:010d}.png", np.zeros((*SIZE, 3), np.uint8))
        scan_file(tmp_path, number).parent.mkdir(parents=True, exist_ok=True)
        scan_file(tmp_path, number).write_bytes(points.tobytes())
    date = (tmp_path / DRIVE).parent
    (date / "calib_cam_to_cam.txt").write_text(CAMERAS)
    (date / "calib_velo_to_cam.txt").write_text(LIDAR)
    (tmp_path / "list.txt").write_text(f"{DRIVE} 0 l\n{DRIVE} 1 r\n")
    return tmp_path


def test_a_scan_is_seen_through_the_camera_and_the_nearest_point_wins(root):
    dataset = KittiDataset(root, root / "list.txt")
    left, right = dataset
    assert dataset.contents.truth == "single Velodyne scans"
    expected = np.zeros(SIZE, np.float32)
    expected[3, 5], expected[5, 4] = 10, 4
    assert left.depth.dtype == np.float32
    assert left.depth.tolist() == expected.tolist()
    assert left.valid.sum() == 2
    assert left.intrinsics.tolist() == [[FOCAL, 0, CENTRE[0]], [0, FOCAL, CENTRE[1]], [0, 0, 1]]
    # Two metres to the right: 4 * 2 / depth pixels further left.
    assert np.argwhere(right.depth).tolist() == [[3, 4], [5, 2], [5, 3]]


def test_scans_can_be_asked_for_where_annotated_depth_is_there_too(root, write_image):
    annotated = f"data_depth_annotated/{DRIVE.partition('/')[2]}/proj_depth/groundtruth/image_02/0000000000.png"
    write_image(root / annotated, np.full(SIZE, 256, np.uint16))
    (root / "list.txt").write_text(f"{DRIVE} 0 l\n")
    assert KittiDataset(root, root / "list.txt")[0].depth.max() == 1
    assert KittiDataset(root, root / "list.txt", truth="velodyne")[0].depth.max() == 10
    image = f"{DRIVE}/image_02/data/0000000000.png"
    (root / "list.txt").write_text(f"{image} None 700\n")
    assert KittiDataset(root, root / "list.txt", truth="velodyne")[0].depth.max() == 10


def test_frames_without_a_scan_are_left_out_and_named(root):
    scan_file(root).unlink()
    assert KittiDataset(root, root / "list.txt").without_truth == (f"{DRIVE} 0000000000",)


def test_a_damaged_scan_is_named(root):
    dataset = KittiDataset(root, root / "list.txt")
    for content, why in ((b"", "the file is empty"), (b"123456789", "the file is cut short")):
        scan_file(root).write_bytes(content)
        with pytest.raises(DecodeError, match=f"0000000000.bin: {why}"):
            dataset[0]


def test_an_image_of_another_size_is_refused(root, write_image):
    write_image(root / DRIVE / "image_02/data/0000000000.png", np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(NotDepth, match=r"is 4x6, but scans are projected into whole frames of 8x12"):
        KittiDataset(root, root / "list.txt")[0]


def test_a_missing_calibration_is_refused_with_its_place(root):
    (root / "2011_09_26/calib_velo_to_cam.txt").unlink()
    with pytest.raises(UserError, match=r"no calibration at .*2011_09_26/calib_velo_to_cam.txt"):
        KittiDataset(root, root / "list.txt")[0]


def test_a_calibration_without_a_line_is_refused(root):
    with pytest.raises(UserError, match=r"has no line 'P_rect_02:' with 11 numbers"):
        read_numbers(root / "2011_09_26/calib_cam_to_cam.txt", "P_rect_02", 11)
    assert camera_matrix(root, "02") is None


def test_a_calibration_of_words_is_refused(root):
    (root / "2011_09_26/calib_velo_to_cam.txt").write_text("R: a b c\n")
    with pytest.raises(UserError, match=r"has no line 'R:' with 3 numbers"):
        read_numbers(root / "2011_09_26/calib_velo_to_cam.txt", "R", 3)


def test_a_list_of_nine_numbers_is_a_camera(tmp_path):
    (tmp_path / "1.txt").write_text("7 0 3 0 7 2 0 0 1\n")
    assert listed_matrix(tmp_path / "1.txt").tolist() == [[7, 0, 3], [0, 7, 2], [0, 0, 1]]
    (tmp_path / "2.txt").write_text("7 0 3")
    with pytest.raises(UserError, match="does not hold the 9 numbers of a camera"):
        listed_matrix(tmp_path / "2.txt")


def object_projection(path: Path) -> np.ndarray:
    """Lidar to the left colour camera (3, 4), from the one calibration file of KITTI's object frames."""
    rectify, to_camera = np.eye(4), np.eye(4)
    rectify[:3, :3] = read_numbers(path, "R0_rect", 9).reshape(3, 3)
    to_camera[:3] = read_numbers(path, "Tr_velo_to_cam", 12).reshape(3, 4)
    return read_numbers(path, "P2", 12).reshape(3, 4) @ rectify @ to_camera


@pytest.mark.parametrize("name", ["velodyne/000001", "velodyne_reduced/000008", "velodyne_reduced/000134"])
def test_real_scans_are_projected_as_elsewhere(sample_data, name):
    folder = sample_data / "kitti/object/training"
    number = Path(name).name
    expected = cv2.imread(str(folder / f"depth_2/{number}.png"), cv2.IMREAD_UNCHANGED)
    projection = object_projection(folder / f"calib/{number}.txt")
    depth = project(read_scan(str(folder / f"{name}.bin")), projection, expected.shape)
    stored = (depth * 256).round().astype(np.uint16)
    assert (stored != expected).mean() < 1e-4  # a pixel at x.5 may be rounded the other way
    assert (stored > 0).sum() > 15_000


def test_the_real_calibration_is_that_of_the_object_frames(sample_data):
    projection, size = read_lidar(sample_data / "kitti/2011_09_26", "02")
    expected = object_projection(sample_data / "kitti/object/training/calib/000001.txt")
    assert size == (375, 1242)
    assert np.allclose(projection, expected, rtol=1e-6)
