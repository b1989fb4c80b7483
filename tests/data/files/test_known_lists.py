import gzip
import os
from pathlib import Path

import pytest

from distill.data.files.known_lists import check_belongs, frame_key, list_digest, name_images, name_list, nearest_list
from distill.data.files.list_files import read_split
from distill.data.kitti.listing import kitti_eigen_split
from distill.data.nyu.labelled import nyu_labelled_split
from distill.errors import UserError

# The list files that go with the real samples, and what they are.
PUBLIC = {
    "kitti_eigen_train_files_with_gt": "KITTI Eigen training with ground truth, 23158",
    "kitti_eigen_test_files_with_gt": "KITTI Eigen test, 697",
    "monodepth2_eigen_benchmark_test_files": "KITTI Eigen test with ground truth, 652",
    "monodepth2_eigen_test_files": "KITTI Eigen test, 697",
    "monodepth2_eigen_full_train_files": "KITTI Eigen full training, 22600",
    "monodepth2_eigen_full_val_files": "KITTI Eigen full validation, 888",
    "monodepth2_eigen_zhou_train_files": "KITTI Eigen-Zhou training, 21880",
    "monodepth2_eigen_zhou_val_files": "KITTI Eigen-Zhou validation, 4187",
    "nyudepthv2_train_files_with_gt": "NYU BTS training, 24231",
    "nyudepthv2_train_files_with_gt_dense": "NYU dense training, 36253",
    "nyudepthv2_test_files_with_gt": "NYU Eigen test, 654",
}


DRIVE = "2011_09_26/2011_09_26_drive_0002_sync"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (f"raw_data/{DRIVE}/image_03/data/0000000069.jpg", f"{DRIVE} 0000000069"),
        ("official_splits/test/bathroom/rgb_00045.jpg", "bathroom 00045"),
        ("kitchen_0028b/rgb_00045.jpg", "kitchen_0028b 00045"),
        ("image/7.png", None),
    ],
)
def test_a_frame_is_known_by_its_path_whatever_folder_it_lies_in(path, key):
    assert frame_key(path) == key


def test_a_list_is_recognised_in_any_order():
    lines = kitti_eigen_split("test_652")
    assert name_list(reversed(lines)) == "KITTI Eigen test with ground truth, 652"
    assert name_list(lines[1:]) == "unknown"


def test_a_list_with_a_foreign_image_is_unknown():
    assert name_images(["image/7.png"]) == name_images([]) == "unknown"


@pytest.mark.parametrize(("part", "count"), [("train", 795), ("test", 654)])
def test_the_halves_of_the_labelled_frames_are_the_official_ones(part, count):
    numbers = nyu_labelled_split(part)
    assert len(numbers) == count
    assert name_list(map(str, numbers)).endswith(f", {count}")
    assert len({*nyu_labelled_split("train"), *nyu_labelled_split("test")}) == 1449


def test_an_unknown_half_is_refused():
    with pytest.raises(ValueError, match="train, test"):
        nyu_labelled_split("val")


def test_numbers_are_hashed_in_their_own_order():
    assert list_digest(["10", "9"]) != list_digest(["10", "9a"])
    assert list_digest(["9", "10"]) == list_digest(["10", "9"])


@pytest.mark.parametrize("name", PUBLIC)
def test_public_lists_are_recognised(tmp_path, name):
    samples = os.environ.get("DISTILL_SAMPLE_DATA")
    if not samples:
        pytest.skip("DISTILL_SAMPLE_DATA is not set: the public lists are not at hand")
    path = tmp_path / "list.txt"
    path.write_bytes(gzip.decompress((Path(samples) / "splits" / f"{name}.txt.gz").read_bytes()))
    assert name_images(line.image for line in read_split(path)) == PUBLIC[name]


KITTI_LINES = [f"2011_09_26/2011_09_26_drive_0001_sync/image_02/data/{number:010d}.png" for number in range(3)]
NYU_LINES = [f"kitchen_0028b/rgb_{number:05d}.jpg" for number in range(3)]


@pytest.mark.parametrize(("dataset", "images"), [("kitti", NYU_LINES), ("nyu", KITTI_LINES)])
def test_a_list_of_the_other_data_set_is_refused(dataset, images):
    with pytest.raises(UserError, match=rf"l.txt lists frames of .*, but the data set is {dataset.upper()}"):
        check_belongs(dataset, images, "l.txt")


@pytest.mark.parametrize(("dataset", "images"), [("kitti", KITTI_LINES), ("nyu", NYU_LINES), ("kitti", ["a.png"])])
def test_a_list_of_its_own_or_of_no_known_frames_is_not(dataset, images):
    check_belongs(dataset, images, "l.txt")
    check_belongs(dataset, [*images, *NYU_LINES, *KITTI_LINES], "l.txt")
    check_belongs(dataset, [], "l.txt")


def test_the_nearest_list_is_of_the_same_half():
    assert nearest_list("kitti", 600) == "KITTI Eigen test with ground truth, 652"
    assert nearest_list("kitti", 600, "training") == "KITTI TIE-KD training, 21007"
    assert nearest_list("folder", 600) is None
