import numpy as np
import pytest

from distill.data.files.known_lists import name_list
from distill.data.kitti.drives import KittiDataset, find_kitti, kb_crop
from distill.data.kitti.listing import kitti_eigen_split, kitti_lines, usual_kitti_split
from distill.data.opening import Source
from distill.errors import UserError

TEST_DRIVE = "2011_09_26/2011_09_26_drive_0048_sync"  # 22 frames; the first and last five have no official depth
COUNTS = {"test": 697, "test_652": 652, "train": 23158, "trainval": 23488}  # and their numbers of frames
SELECTED = "2011_09_26_drive_0002_sync_{kind}_0000000005_image_02.png"


@pytest.fixture
def eigen_drive(tmp_path, write_image):
    """A root with one test drive of Eigen's, whose frame n is n + 1 metres away."""
    for number in range(22):
        write_image(tmp_path / TEST_DRIVE / f"image_02/data/{number:010d}.png", np.zeros((4, 6, 3), np.uint8))
        if 5 <= number < 17:
            depth = f"proj_depth/groundtruth/image_02/{number:010d}.png"
            folder = tmp_path / "data_depth_annotated/val" / TEST_DRIVE.partition("/")[2]
            write_image(folder / depth, np.full((4, 6), 256 * (number + 1), np.uint16))
    return tmp_path


@pytest.fixture
def selection(tmp_path, write_image):
    """A root with a frame of the benchmark's validation set and two of its test set."""
    folder = tmp_path / "depth_selection/val_selection_cropped"
    write_image(folder / "image" / SELECTED.format(kind="image"), np.full((352, 1216, 3), 9, np.uint8))
    truth = np.full((352, 1216), 512, np.uint16)
    write_image(folder / "groundtruth_depth" / SELECTED.format(kind="groundtruth_depth"), truth)
    matrix = folder / "intrinsics" / SELECTED.format(kind="image").replace(".png", ".txt")
    matrix.parent.mkdir()
    matrix.write_text("721.5 0 596.5 0 721.5 149.8 0 0 1\n")
    for number in (0, 1):
        image = tmp_path / f"depth_selection/test_depth_prediction_anonymous/image/{number:010d}.png"
        write_image(image, np.zeros((352, 1216, 3), np.uint8))
    return tmp_path


@pytest.mark.parametrize("part", COUNTS)
def test_a_generated_list_is_the_public_one(part):
    lines = kitti_eigen_split(part)
    assert len(lines) == len(set(lines)) == COUNTS[part]
    assert name_list(lines).endswith(f", {COUNTS[part]}")


def test_no_drive_is_both_in_training_and_test():
    def drives(part):
        return {line.split()[0] for line in kitti_eigen_split(part)}

    assert not drives("trainval") & drives("test")


def test_an_unknown_part_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="test_652"):
        kitti_eigen_split("val")


@pytest.mark.parametrize("part", COUNTS)
def test_generated_lists_know_which_frames_have_official_depth(part, tmp_path):
    lines, _ = kitti_lines(tmp_path, f"eigen_{part}")
    with_truth = COUNTS[{"test": "test_652", "trainval": "train"}.get(part, part)]
    assert len(lines) == COUNTS[part]
    assert sum(line.depth is not None for line in lines) == with_truth
    assert not any(line.silent for line in lines)


def test_a_test_drive_is_evaluated_on_without_any_list(eigen_drive):
    assert usual_kitti_split(eigen_drive, "test") == "eigen_test"
    contents = find_kitti(eigen_drive, "eigen_test")
    assert contents.list_name == "KITTI Eigen test, 697"
    assert len(contents.usable) == 12
    assert contents.usable[0].name == f"{TEST_DRIVE} 0000000005"
    assert contents.usable[0].scene == TEST_DRIVE
    assert f"{TEST_DRIVE} 0000000000" in contents.without_truth
    with pytest.raises(UserError, match="640 of 697 lines of the list eigen_test name files that do not exist"):
        KittiDataset(eigen_drive, "eigen_test")


def test_a_list_in_the_root_comes_first(eigen_drive):
    (eigen_drive / "test_files_with_gt.txt").touch()
    assert usual_kitti_split(eigen_drive, "test") == eigen_drive / "test_files_with_gt.txt"
    # A set with a test list had a training list once.
    assert usual_kitti_split(eigen_drive, "train") is None


def test_without_test_frames_there_is_no_test_half(tmp_path):
    (tmp_path / "raw" / "2011_09_26/2011_09_26_drive_0001_sync").mkdir(parents=True)
    assert usual_kitti_split(tmp_path, "train") == "eigen_train"
    assert usual_kitti_split(tmp_path, "test") is None
    assert not Source("kitti", tmp_path).has_half("test")
    assert not Source("kitti", tmp_path / "none").has_half("test")


@pytest.mark.parametrize("inner", ["", "depth_selection", "depth_selection/val_selection_cropped"])
def test_the_benchmark_s_validation_set_is_recognised_at_every_level(selection, inner):
    root = selection / inner
    assert usual_kitti_split(root, "test") == "selection_val"
    (sample,) = KittiDataset(root, "selection_val")
    assert sample.name.endswith(SELECTED.format(kind="image"))
    assert (sample.depth == 2).all()
    assert sample.intrinsics[0].tolist() == [721.5, 0, 596.5]
    assert kb_crop(sample).image.shape == (352, 1216, 3)


def test_its_public_list_is_read_as_it_is(selection):
    split = selection / "kitti_official_valid.txt"
    split.write_text(f"depth_selection/val_selection_cropped/image/{SELECTED.format(kind='image')}\n")
    assert KittiDataset(selection, split)[0].valid.all()
    image, depth = split.read_text().strip(), SELECTED.format(kind="groundtruth_depth")
    split.write_text(f"{image} depth_selection/val_selection_cropped/groundtruth_depth/{depth}\n")
    assert KittiDataset(selection, split)[0].valid.all()
    split.write_text(split.read_text().replace("depth_0000000005", "depth_0000000006"))
    with pytest.raises(UserError, match="image and depth are of different frames"):
        KittiDataset(selection, split)


def test_its_test_set_is_images_alone(selection):
    dataset = KittiDataset(selection, "selection_test")
    assert len(dataset) == 2
    assert not dataset[0].valid.any()


def test_a_selection_that_is_not_there_is_refused(eigen_drive):
    with pytest.raises(UserError, match="expected depth_selection/val_selection_cropped/; name the folder"):
        KittiDataset(eigen_drive, "selection_val")


def test_a_split_is_a_file_a_file_of_the_root_or_a_name(eigen_drive):
    image = f"{TEST_DRIVE}/image_02/data/0000000007.png"
    (eigen_drive / "own.txt").write_text(f"{image}\n")
    source = Source("kitti", eigen_drive)
    for split in (eigen_drive / "own.txt", eigen_drive.joinpath("own.txt").relative_to(eigen_drive)):
        assert len(source.find("test", split).usable) == 1
    assert source.find("test", eigen_drive.joinpath("eigen_test").relative_to(eigen_drive)).lines == 697
    with pytest.raises(UserError, match=r"list file .*none.txt does not exist"):
        source.find("test", eigen_drive / "none.txt")


def test_a_depth_of_another_set_is_refused(eigen_drive):
    with pytest.raises(UserError, match=r"truth=filled is no depth of kitti, expected one of: annotated, velodyne"):
        Source("kitti", eigen_drive, truth="filled").find("test")
