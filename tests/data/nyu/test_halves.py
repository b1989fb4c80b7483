import numpy as np
import pytest

from distill.data.files.list_files import default_split
from distill.data.files.reading import NotDepth
from distill.data.nyu.halves import NyuDataset, mask_nyu_border, usual_nyu_split
from distill.data.nyu.labelled import TEST_FOLDER
from distill.data.survey import check_truth
from distill.errors import UserError


def line(scene, number, slash=""):
    return f"{slash}{scene}/rgb_{number:05d}.jpg {slash}{scene}/sync_depth_{number:05d}.png 518.8579\n"


@pytest.fixture
def root(tmp_path, write_image):
    """One training and one test frame of 6x8 pixels, depth 2 m apart from one hole, with their lists."""
    raw = np.full((6, 8), 2000, np.uint16)
    raw[0, 0] = 0
    for scene in ("sync/kitchen_0028b", "official_splits/test/bathroom"):
        write_image(tmp_path / scene / "rgb_00045.jpg", np.full((6, 8, 3), 90, np.uint8))
        write_image(tmp_path / scene / "sync_depth_00045.png", raw)
    default_split(tmp_path, "train").write_text(line("kitchen_0028b", 45, slash="/"))
    default_split(tmp_path, "test").write_text(line("bathroom", 45))
    return tmp_path


@pytest.mark.parametrize(
    ("part", "name"),
    [("train", "sync/kitchen_0028b/rgb_00045.jpg"), ("test", "official_splits/test/bathroom/rgb_00045.jpg")],
)
def test_a_sample_is_recognised_by_the_list_of_its_part(root, part, name):
    dataset = NyuDataset(root, default_split(root, part))
    sample = dataset[0]
    assert (len(dataset), dataset.max_depth, sample.name) == (1, 10.0, name)
    assert sample.depth[0, :2].tolist() == [0, 2]
    assert sample.valid.sum() == 47
    assert sample.intrinsics.tolist() == [[518.8579, 0, 325.58], [0, 519.4696, 253.74], [0, 0, 1]]


def test_the_root_may_be_the_folder_of_scenes(root):
    assert NyuDataset(root / "sync", default_split(root, "train"))[0].name == "kitchen_0028b/rgb_00045.jpg"


def test_a_wrong_root_is_refused(root):
    (root / "other").mkdir()
    with pytest.raises(UserError, match=r"other does not have the NYU .* holds nothing, expected sync/ .*; name the"):
        NyuDataset(root / "other", default_split(root / "other", "train"))


def test_missing_frames_are_counted(root):
    split = default_split(root, "train")
    split.write_text(line("kitchen_0028b", 45) + line("kitchen_0028b", 46))
    with pytest.raises(UserError, match=r"1 of 2 lines of .* do not exist: kitchen_0028b/rgb_00046.jpg \(found under"):
        NyuDataset(root, split)


@pytest.mark.parametrize(
    "depth", ["kitchen_0028b/sync_depth_00046.png", "kitchen_0028a/dense/sync_depth_dense_00045.png"]
)
def test_a_list_that_joins_two_frames_is_refused(root, depth):
    split = default_split(root, "train")
    split.write_text(f"kitchen_0028b/rgb_00045.jpg {depth} 518.8579\n")
    with pytest.raises(UserError, match="image and depth are of different frames"):
        NyuDataset(root, split)


def test_a_frame_whose_link_leads_nowhere_is_missing(root, write_image):
    default_split(root, "train").unlink()
    write_image(root / "sync/kitchen_0028b/sync_depth_00046.png", np.ones((6, 8), np.uint16))
    (root / "sync/kitchen_0028b/rgb_00046.jpg").symlink_to("nothing")
    with pytest.raises(UserError, match=r"1 of 2 lines .* do not exist: sync/kitchen_0028b/rgb_00046.jpg"):
        NyuDataset(root, "train")


def test_without_lists_every_frame_of_a_half_is_taken(root):
    for part in ("train", "test"):
        default_split(root, part).unlink()
    assert [usual_nyu_split(root, part) for part in ("train", "test")] == ["train", "test"]
    train, test = NyuDataset(root, "train"), NyuDataset(root, "test")
    assert [sample.name for sample in train] == ["sync/kitchen_0028b/rgb_00045.jpg"]
    assert [pair.scene for pair in train.pairs] == ["kitchen_0028"]
    assert [(pair.name, pair.scene) for pair in test.pairs] == [("official_splits/test/bathroom/rgb_00045.jpg", "")]


def test_a_flat_root_is_halved_by_the_names_of_its_scenes(root):
    (root / "sync/kitchen_0028b").rename(root / "kitchen_0028b")
    (root / TEST_FOLDER / "bathroom").rename(root / "bathroom")
    for folder in ("sync", TEST_FOLDER):
        (root / folder).rmdir()
    train, test = NyuDataset(root, default_split(root, "train")), NyuDataset(root, default_split(root, "test"))
    assert (train[0].name, test[0].name) == ("kitchen_0028b/rgb_00045.jpg", "bathroom/rgb_00045.jpg")
    assert [NyuDataset(root, part)[0].name for part in ("train", "test")] == [train[0].name, test[0].name]


@pytest.mark.parametrize("inner", [".", "data"])
def test_dense_depth_s_tables_and_8_bit_maps_are_read(tmp_path, write_image, inner):
    for part, stem, ends, depth in (
        ("train", "data/nyu2_train/kitchen_0028b_out/1", (".jpg", ".png"), np.full((6, 8), 51, np.uint8)),
        ("test", "data/nyu2_test/00045", ("_colors.png", "_depth.png"), np.full((6, 8), 3000, np.uint16)),
    ):
        write_image(tmp_path / (stem + ends[0]), np.zeros((6, 8, 3), np.uint8))
        write_image(tmp_path / (stem + ends[1]), depth)
        (tmp_path / f"data/nyu2_{part}.csv").write_text(f"{stem}{ends[0]},{stem}{ends[1]}\n")
    root = tmp_path / inner
    train, test = (NyuDataset(root, default_split(root, part)) for part in ("train", "test"))
    assert (train[0].depth == 2).all()  # 51 of 255 steps to 10 m
    assert (test[0].depth == 3).all()  # millimetres
    assert train.pairs[0].scene == "kitchen_0028"


def test_8_bit_depth_elsewhere_is_refused(root, write_image):
    write_image(root / "sync/kitchen_0028b/sync_depth_00045.png", np.full((6, 8), 51, np.uint8))
    with pytest.raises(NotDepth, match="is a 8-bit picture with 1 channel, expected a 16-bit"):
        NyuDataset(root, default_split(root, "train"))[0]


def test_the_border_is_masked_and_the_image_stays(make_sample):
    sample = make_sample(480, 640)
    masked = mask_nyu_border(sample)
    inside = np.zeros((480, 640), bool)
    inside[45:472, 43:608] = True
    assert masked.image is sample.image
    assert np.array_equal(masked.depth, np.where(inside, sample.depth, 0))
    assert np.array_equal(masked.valid, sample.valid & inside)
    assert sample.valid[~inside].any()


def test_the_border_of_another_size_is_refused(make_sample):
    with pytest.raises(UserError, match="sample 0 is 240x320, but the border of NYU is known for frames of 480x640"):
        mask_nyu_border(make_sample(240, 320))


@pytest.mark.parametrize(("part", "count"), [("train", 797), ("test", 42)])
def test_real_frames_are_read(sample_data, part, count):
    root = sample_data / "nyu"
    dataset = NyuDataset(root, default_split(root, part))
    check_truth(dataset)
    assert len(dataset) == count
    for index in range(0, count, count // 6):
        sample = dataset[index]
        assert sample.image.shape == (480, 640, 3)
        assert sample.depth.shape == (480, 640)
        assert 0.5 < np.median(sample.depth[sample.valid]) < 10
        assert mask_nyu_border(sample).valid.sum() <= 427 * 565


def test_raw_kinect_depth_has_holes(sample_data):
    root = sample_data / "nyu"
    sample = NyuDataset(root, default_split(root, "train"))[0]
    assert sample.name == "sync/basement_0001a/rgb_00000.jpg"
    assert 0.2 < 1 - sample.valid.mean() < 0.35
