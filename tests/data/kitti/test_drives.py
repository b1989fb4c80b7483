from dataclasses import replace

import numpy as np
import pytest

from distill.data.files.list_files import default_split
from distill.data.kitti.drives import KittiDataset, kb_crop
from distill.data.kitti.lidar import camera_matrix
from distill.data.survey import check_truth
from distill.errors import UserError

DATE, DRIVE = "2011_09_26", "2011_09_26_drive_0001_sync"
CALIBRATION = """calib_time: 09-Jan-2012 13:57:47
P_rect_02: 721.5 0 609.5 44.8 0 721.6 172.8 0.2 0 0 1 0.002
P_rect_03: 700.5 0 601.5 -339.5 0 700.6 171.8 2.1 0 0 1 0.003
"""


def image_path(frame, camera="02"):
    return f"{DATE}/{DRIVE}/image_{camera}/data/{frame:010d}.png"


def depth_path(frame, camera="02"):
    return f"{DRIVE}/proj_depth/groundtruth/image_{camera}/{frame:010d}.png"


@pytest.fixture
def root(tmp_path, write_image):
    """Frames 5 and 6 of both cameras with 6x8 pixels, calibrated; depth is `frame` metres in the last row."""
    for camera in ("02", "03"):
        for frame in (5, 6):
            raw = np.zeros((6, 8), np.uint16)
            raw[-1] = 256 * frame
            write_image(tmp_path / image_path(frame, camera), np.full((6, 8, 3), frame, np.uint8))
            write_image(tmp_path / "data_depth_annotated" / depth_path(frame, camera), raw)
    (tmp_path / DATE / "calib_cam_to_cam.txt").write_text(CALIBRATION)
    return tmp_path


@pytest.fixture
def write_list(root):
    def write(*lines):
        path = default_split(root, "train")
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write


def test_a_sample_is_image_depth_and_camera(root, write_list):
    dataset = KittiDataset(root, write_list(f"{image_path(5)} {depth_path(5)} 721.5377"))
    sample = dataset[0]
    assert (len(dataset), dataset.max_depth, dataset.without_truth) == (1, 80.0, ())
    assert sample.name == "2011_09_26/2011_09_26_drive_0001_sync 0000000005"
    assert (sample.image == 5).all()
    assert sample.depth.tolist() == [[0.0] * 8] * 5 + [[5.0] * 8]
    assert (sample.valid == (sample.depth > 0)).all()
    assert sample.intrinsics.tolist() == [[721.5, 0, 609.5], [0, 721.6, 172.8], [0, 0, 1]]


def test_the_right_camera_has_its_own_name_and_intrinsics(root, write_list):
    sample = KittiDataset(root, write_list(f"{image_path(5, '03')} {depth_path(5, '03')}"))[0]
    assert sample.name == image_path(5, "03")
    assert sample.intrinsics[0].tolist() == [700.5, 0, 601.5]


# Where toolkits keep the folders of dates, and those of the drives of depth maps.
LAYOUTS = {
    "archives": (".", "data_depth_annotated/train"),
    "flat": (".", "data_depth_annotated"),
    "BTS, in the root": (".", "."),
    "val/ in the root": (".", "val"),
    "NeWCRFs": (".", DATE),
    "NeWCRFs, apart": (".", f"data_depth_annotated/{DATE}"),
    "GLPDepth": ("raw_data", "data_depth_annotated/val"),
    "AdaBins": ("raw", "gts"),
    "AdaBins, sorted": ("raw", "gts/val"),
    "MDE-Toolbox": ("input", "gt_depth"),
    "raw scans only": ("raw", "data_depth_velodyne/train"),
}
LISTS = {
    "BTS": "{image} {depth} 721.5377\n",
    "leading slashes": "/{image} /{depth}\n",
    "GLPDepth": "/raw_data/{image} /data_depth_annotated/train/{depth}\n",
    "monodepth2": f"{DATE}/{DRIVE} {{number}} l\n",
    "images": "{image}\n",
}


@pytest.fixture
def lay_out(root):
    """lay_out(dates, drives): moves the dates and the depth maps of the root elsewhere in it."""

    def move(dates, drives):
        (root / dates).mkdir(parents=True, exist_ok=True)
        if dates != ".":
            (root / DATE).rename(root / dates / DATE)
        (root / "moved").mkdir()
        (root / "data_depth_annotated" / DRIVE).rename(root / "moved" / DRIVE)
        for path in sorted((root / "moved").rglob("*.png")):
            target = root / drives / path.relative_to(root / "moved")
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)

    return move


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", LISTS)
def test_every_layout_is_recognised_with_every_list(root, lay_out, write_list, layout, form):
    lay_out(*LAYOUTS[layout])
    lines = [LISTS[form].format(image=image_path(n), depth=depth_path(n), number=n).strip() for n in (5, 6)]
    dataset = KittiDataset(root, write_list(*lines))
    assert [sample.name for sample in dataset] == [f"{DATE}/{DRIVE} {n:010d}" for n in (5, 6)]
    assert [sample.depth.max() for sample in dataset] == [5, 6]
    assert dataset[0].intrinsics[0, 0] == 721.5
    assert dataset.contents.truth == "official annotated depth"


def test_the_layout_is_reported(root, lay_out, write_list):
    lay_out("raw", "gts")
    dataset = KittiDataset(root, write_list(f"{image_path(5)} {depth_path(5)}"))
    assert dataset.contents.layout == "KITTI frames in raw/, depth in gts/"


@pytest.mark.parametrize("folder", ["data_depth_annotated/train", "data_depth_annotated/val", "."])
def test_the_drives_of_one_list_may_lie_in_several_places(root, write_list, folder):
    split = write_list(f"{image_path(5)} /{depth_path(5)}", f"/{image_path(6)} {depth_path(6)}")
    moved = root / folder / depth_path(6)
    moved.parent.mkdir(parents=True)
    (root / "data_depth_annotated" / depth_path(6)).rename(moved)
    assert [sample.depth.max() for sample in KittiDataset(root, split)] == [5, 6]


def test_both_cameras_are_recognised_by_drive_and_frame(root, write_list):
    left, right = KittiDataset(root, write_list(f"{DATE}/{DRIVE} 5 l", f"{DATE}/{DRIVE} 6 r"))
    assert (left.name, right.name) == (f"{DATE}/{DRIVE} 0000000005", image_path(6, "03"))
    assert (right.depth.max(), right.intrinsics[0, 0]) == (6, 700.5)


def test_frames_may_be_kept_as_jpeg(root, write_list, write_image):
    for frame in (5, 6):
        path = root / image_path(frame)
        path.unlink()
        write_image(path.with_suffix(".jpg"), np.full((6, 8, 3), 40 * frame, np.uint8))
    dataset = KittiDataset(root, write_list(f"{DATE}/{DRIVE} 5 l", f"{image_path(6)} {depth_path(6)}"))
    assert [int(sample.image.mean().round()) for sample in dataset] == [200, 240]


def test_a_list_that_says_nothing_of_depth_leaves_out_what_has_none(root, write_list):
    (root / "data_depth_annotated" / depth_path(6)).unlink()
    dataset = KittiDataset(root, write_list(f"{DATE}/{DRIVE} 5 l", f"{DATE}/{DRIVE} 6 l"))
    assert dataset.without_truth == (f"{DATE}/{DRIVE} 0000000006",)
    with pytest.raises(UserError, match=f"1 of 2 lines of .* name files that do not exist: {image_path(7)} "):
        KittiDataset(root, write_list(f"{DATE}/{DRIVE} 5 l", f"{DATE}/{DRIVE} 7 l"))


def test_an_image_with_the_depth_of_another_frame_is_refused(root, write_list):
    with pytest.raises(UserError, match="image and depth are of different frames; correct the list"):
        KittiDataset(root, write_list(f"{image_path(5)} {depth_path(6)}"))
    with pytest.raises(UserError, match="image and depth are of different frames; correct the list"):
        KittiDataset(root, write_list(f"{image_path(5, '03')} {depth_path(5, '02')}"))


def test_without_calibration_there_are_no_intrinsics(root, write_list):
    (root / DATE / "calib_cam_to_cam.txt").unlink()
    assert KittiDataset(root, write_list(f"{image_path(5)} {depth_path(5)} 721.5377"))[0].intrinsics is None


def test_a_broken_calibration_is_refused(root, write_list):
    (root / DATE / "calib_cam_to_cam.txt").write_text("P_rect_02: 1 2 3")
    with pytest.raises(UserError, match=r"calib_cam_to_cam.txt has no line 'P_rect_02:' with 12 numbers"):
        KittiDataset(root, write_list(f"{image_path(5)} {depth_path(5)}"))


def test_frames_without_truth_are_left_out_and_named(root, write_list):
    dataset = KittiDataset(root, write_list(f"{image_path(7)} None 721.5", f"{image_path(5)} {depth_path(5)} 721.5"))
    assert len(dataset) == 1
    assert dataset.without_truth == ("2011_09_26/2011_09_26_drive_0001_sync 0000000007",)


def test_a_list_without_any_truth_is_refused(root, write_list):
    split = write_list(f"{image_path(5)} None 721.5")
    with pytest.raises(UserError, match=f"no valid ground truth in the whole set: none of the 1 frames of {split}"):
        KittiDataset(root, split)


def test_missing_files_are_counted_and_the_first_three_named(root, write_list):
    split = write_list(*(f"{image_path(n)} {depth_path(n)}" for n in range(5, 11)))
    first = ", ".join(image_path(n) for n in (7, 8, 9))
    with pytest.raises(UserError, match=f"4 of 6 lines of {split} .* do not exist: {first}, .*: add the files or drop"):
        KittiDataset(root, split)


def test_a_missing_root_list_or_layout_is_refused(root, write_list):
    split = write_list(f"{image_path(5)} {depth_path(5)}")
    with pytest.raises(UserError, match=r"data root .*nowhere does not exist, expected the KITTI folder that holds"):
        KittiDataset(root / "nowhere", split)
    with pytest.raises(UserError, match=r"data root .*\.txt is a file, expected the KITTI folder that holds"):
        KittiDataset(split, split)
    with pytest.raises(UserError, match=r"list file .*test_files_with_gt.txt does not exist"):
        KittiDataset(root, default_split(root, "test"))
    other = root / DATE / DRIVE
    layout = rf"data root {other} does not have the KITTI layout: it holds image_02/, image_03/, expected 2011_"
    with pytest.raises(UserError, match=layout):
        KittiDataset(other, default_split(other, "test"))
    with pytest.raises(UserError, match=rf"{layout}.*; none of the 1 images of {split} is in it"):
        KittiDataset(other, split)


@pytest.mark.parametrize(
    ("size", "top", "left"),
    [
        ((375, 1242), 23, 13),
        ((375, 1243), 23, 13),
        ((370, 1224), 18, 4),
        ((370, 1226), 18, 5),
        ((374, 1238), 22, 11),
        ((376, 1241), 24, 12),
    ],
)
def test_kb_crop_takes_the_bottom_centre(make_sample, size, top, left):
    sample = make_sample(*size)
    cropped = kb_crop(sample)
    window = np.s_[top : top + 352, left : left + 1216]
    for key in ("image", "depth", "valid"):
        assert np.array_equal(getattr(cropped, key), getattr(sample, key)[window])
    assert (sample.intrinsics - cropped.intrinsics).tolist() == [[0, 0, left], [0, 0, top], [0, 0, 0]]
    assert kb_crop(replace(sample, intrinsics=None)).intrinsics is None


def test_kb_crop_refuses_small_frames(make_sample):
    with pytest.raises(UserError, match=r"sample 0 is 352x1215, smaller than the KITTI crop of 352x1216"):
        kb_crop(make_sample(352, 1215))


def test_all_real_frames_are_read(sample_data):
    root = sample_data / "kitti"
    dataset = KittiDataset(root, default_split(root, "train"))
    check_truth(dataset)
    assert len(dataset) == 7
    for sample, frame in zip(dataset, (5, 6, 7, 8, 9, 10, 50), strict=True):
        assert sample.name == f"2011_09_26/2011_09_26_drive_0001_sync {frame:010d}"
        assert sample.image.shape == (375, 1242, 3)
        assert sample.depth.shape == (375, 1242)
        assert 2 < sample.depth[sample.valid].min() < sample.depth.max() < 90
        assert sample.intrinsics.tolist() == [[721.5377, 0, 609.5593], [0, 721.5377, 172.854], [0, 0, 1]]
        assert kb_crop(sample).image.shape == (352, 1216, 3)
    assert camera_matrix(root / DATE, "03")[0, 2] == 609.5593
