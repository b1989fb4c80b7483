import numpy as np
import pytest

from distill.data.checking import Half, make_report
from distill.data.files.rgb_depth import FolderDataset, find_folder
from distill.data.nyu.halves import find_nyu
from distill.data.sample import DepthDataset
from distill.data.survey import check_apart, check_files, check_truth, measure, survey, unit_remarks
from distill.data.views import Subset
from distill.errors import UserError

GREY = np.full((4, 6, 3), 128, np.uint8)
TWO_METRES = np.full((4, 6), 2000, np.uint16)


@pytest.fixture
def fill(tmp_path, write_image):
    """fill(names, image, raw): pairs of that image and depth in a folder, which it returns."""

    def run(names, image=GREY, raw=TWO_METRES):
        for name in names:
            write_image(tmp_path / f"image/{name}.png", image)
            write_image(tmp_path / f"depth/{name}.png", raw)
        return tmp_path

    return run


def test_sizes_bits_and_depth_are_counted(fill):
    fill("ab")
    raw = np.repeat(np.uint16([[0, 1000, 3000, 9000]]), 5, axis=0)
    root = fill("c", np.zeros((5, 4, 3), np.uint8), raw)
    progress = []
    seen = survey(find_folder(root, max_depth=8), samples=3, progress=lambda *counts: progress.append(counts))
    assert progress == [(6, 6)]
    assert seen.files == 6
    assert seen.sizes == {(4, 6): 2, (5, 4): 1}
    assert seen.examples == {(4, 6): 0, (5, 4): 2}
    assert seen.bits == {16: 3}
    assert (seen.faults, seen.wrong) == ({}, ())
    depths = seen.depths
    assert (depths.maps, depths.nearest, depths.median, depths.farthest) == (3, 1, 2, 9)
    assert depths.measured == pytest.approx((24 + 24 + 15) / (24 + 24 + 20))
    assert depths.in_range == pytest.approx((24 + 24 + 10) / (24 + 24 + 15))


def test_nothing_measured_has_no_range():
    assert measure([], 8) is None
    assert measure([np.zeros((2, 3), np.float32)], 8) is None


def test_files_that_cannot_be_read_are_named_with_the_reason(fill):
    root = fill("abc")
    (root / "image/a.png").write_bytes(b"")
    cut = root / "depth/b.png"
    cut.write_bytes(cut.read_bytes()[:-5])
    seen = survey(find_folder(root, max_depth=8))
    assert seen.faults == {str(root / "image/a.png"): "the file is empty", str(cut): "the file is cut short"}


@pytest.mark.parametrize(
    ("image", "raw", "why"),
    [
        (GREY, TWO_METRES.astype(np.uint8), "is a 8-bit picture with 1 channel"),
        (GREY, GREY, "is a 8-bit picture with 3 channels"),
        (GREY, TWO_METRES[:3], r"is 3x6 but its image .* is 4x6"),
    ],
)
def test_depth_that_is_none_or_does_not_fit_is_recognised_anywhere(fill, image, raw, why):
    fill("abcdefgh")
    root = fill("e", image, raw)
    dataset = FolderDataset(root, max_depth=8)
    with pytest.raises(UserError, match=why):
        check_files(dataset, max_faults=1)
    check_files(Subset(dataset, 4), max_faults=0)


def test_the_one_map_of_another_size_among_8_bit_maps_is_found(fill):
    root = fill("abcdefgh", raw=np.full((4, 6), 20, np.uint8))
    fill("g", raw=np.full((3, 6), 20, np.uint8))
    with pytest.raises(UserError, match=r"g.png is 3x6 but its image"):
        check_files(FolderDataset(root, max_depth=8, depth_scale=10), max_faults=1)


def test_masks_are_looked_at_like_depth(fill, write_image):
    root = fill("abcdefgh")
    write_image(root / "mask/a.png", np.ones((4, 6), np.uint8)).write_bytes(b"")
    write_image(root / "mask/e.png", np.ones((3, 6), np.uint8))
    seen = survey(find_folder(root, max_depth=8))
    assert seen.faults == {str(root / "mask/a.png"): "the file is empty"}
    assert "mask/e.png is 3x6 but its image" in seen.wrong[0]


def test_units_that_may_be_wrong_are_remarked_on(fill):
    """Metres as integers, which are read as millimetres; and depth that mostly lies beyond the cap."""
    near = find_folder(fill("ab", raw=np.full((4, 6), 9, np.uint16)), max_depth=8)
    (remark,) = unit_remarks(survey(near), near)
    assert "the farthest of the depth is 0.009 m, of the 8 m that count" in remark
    raw = np.repeat(np.uint16([[2000, 9000, 9000, 9000, 9000, 0]]), 4, 0)
    far = find_folder(fill("ab", raw=raw), max_depth=8)
    assert list(unit_remarks(survey(far), far)) == ["only 20% of the depth lies below 8 m: is the unit right?"]


def test_a_share_of_faults_is_borne(fill):
    root = fill("abcd")
    (root / "image/b.png").write_bytes(b"")
    dataset = FolderDataset(root, max_depth=8)
    assert list(check_files(dataset, max_faults=0.25).faults) == [str(root / "image/b.png")]
    with pytest.raises(
        UserError, match=r"1 of 8 files .* such as .*/image/b.png \(the file is empty\): .*data.max_faults"
    ):
        check_files(dataset, max_faults=0.2)


def test_damage_that_the_ends_do_not_show_is_seen_in_what_is_read(fill):
    root = fill("ab")
    path = root / "depth/a.png"
    raw = bytearray(path.read_bytes())
    raw[raw.find(b"IDAT") + 8] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"1 of 4 files cannot be read .*depth/a.png \(not a picture, or damaged\)"):
        check_files(FolderDataset(root, max_depth=8), max_faults=0.2)


def test_truth_that_cannot_be_used_is_refused_with_the_files(fill):
    root = fill("ab", raw=0 * TWO_METRES)
    with pytest.raises(UserError, match="no valid ground truth in the whole set"):
        check_files(FolderDataset(root, max_depth=8), max_faults=0)


def test_why_there_is_no_truth_is_said(fill):
    root = fill("ab")
    with pytest.raises(UserError, match=r"at 1e\+09 units per metre"):
        check_truth(FolderDataset(root, max_depth=8, depth_scale=1e9))
    with pytest.raises(UserError, match=r"image holds images alone: name the folder above"):
        check_truth(FolderDataset(root / "image", max_depth=8))


def test_an_image_that_is_a_depth_map_is_refused(fill):
    root = fill("ab")
    fill("c", image=TWO_METRES)
    with pytest.raises(UserError, match=r"image/c.png is a depth map \(one channel of 16 bits\), expected an image"):
        check_files(FolderDataset(root, max_depth=8), max_faults=0)
    (root / "list.txt").write_text("depth/a.png depth/a.png\n")
    with pytest.raises(UserError, match=r"depth/a\.png is a depth map"):
        check_files(FolderDataset(root, max_depth=8, split_file=root / "list.txt"), max_faults=0)


def test_halves_that_share_images_are_refused(fill):
    root = fill("abc")
    lists = {"train": "ab", "test": "bc"}
    for part, names in lists.items():
        (root / f"{part}.txt").write_text("".join(f"image/{name}.png depth/{name}.png\n" for name in names))
    train, test = (FolderDataset(root, max_depth=8, split_file=root / f"{part}.txt") for part in lists)
    with pytest.raises(UserError, match=r"1 of 2 test images are training images as well, such as image/b.png: take"):
        check_apart(train, test)
    check_apart(Subset(train, 1), test)


def test_scenes_that_both_halves_show_are_listed(write_image, tmp_path):
    for scene in ("sync/kitchen_0001a", "sync/kitchen_0002", "official_splits/test/kitchen_0001b"):
        write_image(tmp_path / scene / "rgb_00001.jpg", GREY)
        write_image(tmp_path / scene / "sync_depth_00001.png", TWO_METRES)
    halves = {part: find_nyu(tmp_path, part) for part in ("train", "test")}
    report = make_report("nyu", "", [Half(part, "nyu", half, survey(half), 0.01) for part, half in halves.items()])
    assert report["shared"]["scenes"] == ["kitchen_0001"]


def test_a_data_set_that_is_none_of_files_is_left_alone():
    class Numbers(DepthDataset):
        max_depth = 1.0

        def __len__(self):
            return 3

        def __getitem__(self, index):
            raise AssertionError

    assert Subset(Numbers(), 2).contents is None
    assert check_files(Numbers(), 0) is None
    check_apart(Numbers(), Numbers())
