import pytest

from distill.data import kitti_eigen_split
from distill.data.files.known_lists import list_digest

COUNTS = {"test": 697, "test_652": 652, "train": 23158, "trainval": 23488}
DIGESTS = {
    "test": "c174acd4662a12bf15feb5a3f9e798e8a1cca0f12ddfe87442ca44b990639922",
    "test_652": "f71de3701e12684dce90851f5a1a27e8ab65558e0bda9854f5155b3d562b0a37",
    "train": "cd386083c7a7b616129eb3dfc83732a141c555443894124e4a265d54f4f5d96b",
    "trainval": "a0d5ca231d0413de261a5294f357a735e69434c5352b3d6aa487c5600c774501",
}


@pytest.mark.parametrize("part", COUNTS)
def test_a_generated_list_is_the_public_one(part):
    lines = kitti_eigen_split(part)
    assert len(lines) == len(set(lines)) == COUNTS[part]
    assert list_digest(lines) == DIGESTS[part]


def test_lines_name_date_drive_and_frame():
    assert kitti_eigen_split("test")[0] == "2011_09_26/2011_09_26_drive_0002_sync 0000000000"


def test_no_drive_is_both_in_training_and_test():
    def drives(part):
        return {line.split()[0] for line in kitti_eigen_split(part)}

    assert not drives("trainval") & drives("test")


def test_an_unknown_part_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="test_652"):
        kitti_eigen_split("val")
