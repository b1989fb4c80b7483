import re

import numpy as np
import pytest

from distill.data.files.pairs import Pair
from distill.data.files.reading import DecodeError
from distill.data.nyu.halves import NyuDataset, find_nyu, usual_nyu_split
from distill.data.nyu.labelled import extra, read_h5
from distill.data.survey import survey
from distill.errors import UserError

h5py = pytest.importorskip("h5py")
scipy_io = pytest.importorskip("scipy.io")

HEIGHT, WIDTH, COUNT = 6, 8, 4
KINDS = ("kitchen", "bathroom", "kitchen", "office")
SCENES = ("kitchen_0004", "bathroom_0001", "kitchen_0004a", "office_2")


def write_cells(file, key, texts):
    """A MATLAB cell array of strings as HDF5: references to arrays of characters."""
    cells = [np.array([[ord(letter)] for letter in text], np.uint16) for text in texts]
    written = [file.create_dataset(f"#refs#/{key}{i}", data=cell) for i, cell in enumerate(cells)]
    file[key] = np.array([[cell.ref for cell in written]], dtype=h5py.ref_dtype)


@pytest.fixture
def labelled(tmp_path):
    """A labelled file of four frames, transposed as MATLAB writes them. Frame i is i + 1 metres away."""
    images = np.zeros((COUNT, 3, WIDTH, HEIGHT), np.uint8)
    images[:, 0] = 200  # red
    images[:, 1, 0] = 100  # green in the first column
    filled = np.arange(1, COUNT + 1, dtype=np.float32)[:, None, None] * np.ones((1, WIDTH, HEIGHT), np.float32)
    raw = filled.copy()
    raw[:, 2, 1] = 0  # column 2, row 1
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"], file["rawDepths"], file["depths"] = images, raw, filled
        write_cells(file, "sceneTypes", KINDS)
        write_cells(file, "scenes", SCENES)
    halves = {"trainNdxs": np.array([[3], [1]], np.uint16), "testNdxs": np.array([[2], [4]], np.uint16)}
    scipy_io.savemat(tmp_path / "splits.mat", halves)
    return tmp_path


def test_a_half_of_the_labelled_file_is_read_upright(labelled):
    train, test = NyuDataset(labelled, "train"), NyuDataset(labelled, "test")
    assert [sample.name for sample in train] == ["kitchen 00000", "kitchen 00002"]
    assert [sample.name for sample in test] == ["bathroom 00001", "office 00003"]
    assert [pair.scene for pair in train.pairs] == ["kitchen_0004", "kitchen_0004"]
    sample = test[0]
    assert sample.image.shape == (HEIGHT, WIDTH, 3)
    assert sample.image[:, 0].tolist() == [[200, 100, 0]] * HEIGHT
    assert sample.image[0, 1].tolist() == [200, 0, 0]
    assert sample.depth.dtype == np.float32
    assert np.argwhere(sample.depth == 0).tolist() == [[1, 2]]
    assert sample.depth.max() == 2
    assert sample.intrinsics[0, 0] == 518.8579


def test_filled_depth_can_be_asked_for(labelled):
    dataset = NyuDataset(labelled, "test", truth="filled")
    assert dataset[0].valid.all()
    assert dataset.contents.truth == "filled depth"


def test_whole_frames_get_the_border_of_the_published_copies(tmp_path):
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"], file["rawDepths"] = np.full((1, 3, 640, 480), 9, np.uint8), np.ones((1, 640, 480), np.float32)
    scipy_io.savemat(tmp_path / "splits.mat", {"trainNdxs": [[1]], "testNdxs": [[1]]})
    image = NyuDataset(tmp_path, "test")[0].image
    assert (image[7:474, 7:632] == 9).all()
    assert image.sum() == 9 * 3 * (474 - 7) * (632 - 7)


def test_both_halves_are_recognised_by_default(labelled):
    assert [usual_nyu_split(labelled, part) for part in ("train", "test")] == ["train", "test"]


def test_without_splits_only_the_whole_file_can_be_halved(labelled):
    (labelled / "splits.mat").unlink()
    with pytest.raises(UserError, match=r"labeled.mat holds 4 frames, expected 1449: put its splits.mat beside it"):
        NyuDataset(labelled, "test")


def test_splits_of_another_file_are_refused(labelled):
    scipy_io.savemat(labelled / "splits.mat", {"testNdxs": [[5]]})
    with pytest.raises(UserError, match=r"splits.mat numbers frames up to 5, but .*labeled.mat has 4"):
        NyuDataset(labelled, "test")
    with pytest.raises(UserError, match=r"splits.mat has no 'trainNdxs'"):
        NyuDataset(labelled, "train")
    (labelled / "splits.mat").write_text("not MATLAB")
    with pytest.raises(UserError, match=r"splits.mat has no 'testNdxs', expected NYU's splits.mat"):
        NyuDataset(labelled, "test")


def test_a_cut_or_foreign_labelled_file_is_refused(tmp_path):
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file")
    with pytest.raises(UserError, match="is not a whole HDF5 file"):
        NyuDataset(tmp_path, "test")
    path.unlink()
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((1, 3, 8, 6), np.uint8)
    with pytest.raises(UserError, match="has no rawDepths, expected NYU's labelled file"):
        NyuDataset(tmp_path, "test")


def test_a_depth_is_chosen_in_the_labelled_file_only(tmp_path):
    (tmp_path / "sync").mkdir()
    with pytest.raises(UserError, match=r"data.truth=raw chooses a depth of nyu_depth_v2_labeled.mat"):
        find_nyu(tmp_path, "train", "raw")


@pytest.fixture
def fast_depth(tmp_path):
    for name, depth in (("train/kitchen_0004/00001.h5", 3), ("val/official/00002.h5", 4)):
        (tmp_path / name).parent.mkdir(parents=True)
        with h5py.File(tmp_path / name, "w") as file:
            file["rgb"] = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4)
            file["depth"] = np.full((2, 4), depth, np.float32)
    return tmp_path


def test_fast_depth_s_files_are_read(fast_depth):
    (train,), (test,) = NyuDataset(fast_depth, "train"), NyuDataset(fast_depth, "test")
    assert (train.name, test.name) == ("train/kitchen_0004/00001.h5", "val/official/00002.h5")
    assert train.image[0, 1].tolist() == [1, 9, 17]
    assert train.depth.tolist() == [[3] * 4] * 2
    assert test.depth.max() == 4


def test_a_damaged_file_is_named(fast_depth):
    dataset = NyuDataset(fast_depth, "train")
    (fast_depth / "train/kitchen_0004/00001.h5").write_bytes(b"")
    with pytest.raises(DecodeError, match=r"cannot read .*00001.h5"):
        dataset[0]


@pytest.mark.parametrize(
    ("rgb", "said"),
    [
        (
            np.zeros((32, 40, 3), np.uint8),
            r"rgb is uint8 of the shape \(32, 40, 3\), expected uint8 with 3 colours first",
        ),
        (np.zeros((3, 32, 40), np.float32), "rgb is float32"),
        (np.zeros((3, 32, 41), np.uint8), "expected one size"),
    ],
)
def test_frames_of_another_layout_are_refused_before_training(fast_depth, rgb, said):
    path = fast_depth / "train/kitchen_0004/00001.h5"
    with h5py.File(path, "w") as file:
        file["rgb"], file["depth"] = np.ones((3, 32, 40), np.uint8), np.ones((32, 40), np.float32)
    contents = NyuDataset(fast_depth, "train").contents
    assert not survey(contents).wrong
    with h5py.File(path, "w") as file:
        file["rgb"], file["depth"] = rgb, np.ones((32, 40), np.float32)
    (wrong,) = survey(contents).wrong
    assert re.search(rf"00001.h5.* {said}", wrong)


@pytest.mark.parametrize("shape_type", [((COUNT, 4, 6, 3), "u1"), ((COUNT, 3, 6, 4), "f4")])
def test_a_labelled_file_of_other_images_is_refused(labelled, shape_type):
    with h5py.File(labelled / "nyu_depth_v2_labeled.mat", "a") as file:
        del file["images"]
        file.create_dataset("images", *shape_type)
    with pytest.raises(UserError, match=r"images is .*expected uint8 with 3 colours first"):
        NyuDataset(labelled, "test")


def test_a_missing_library_is_named_with_the_extra_that_brings_it():
    with pytest.raises(UserError, match=r"need no_such_library: pip install '.\[nyu\]'"):
        extra("no_such_library.io")


# ------------------------------------------------------------------------------------------------ files from elsewhere


@pytest.mark.parametrize("kind", ["../outside", "/absolute", "{x}", "a\0b", ".", "%s %n", "x y", "a\n"])
@pytest.mark.parametrize("key", ["sceneTypes", "scenes"])
def test_a_room_s_name_is_a_name_and_no_path(labelled, key, kind):
    with h5py.File(labelled / "nyu_depth_v2_labeled.mat", "a") as file:
        del file[key], file["#refs#"]
        write_cells(file, key, [kind] * COUNT)
    with pytest.raises(UserError, match=r"labeled.mat calls a room .*expected letters, digits"):
        NyuDataset(labelled, "test")


@pytest.mark.parametrize("value", [[[1.5]], [["text"]], [[[]]]])
def test_rooms_that_are_no_texts_are_refused(labelled, value):
    with h5py.File(labelled / "nyu_depth_v2_labeled.mat", "a") as file:
        del file["sceneTypes"]
        file["sceneTypes"] = value
    with pytest.raises(UserError, match="no text in its sceneTypes"):
        NyuDataset(labelled, "test")


def external_link(file, name, shape):
    file[name] = h5py.ExternalLink("other.h5", name)


def external_values(file, name, shape):
    file.create_dataset(name, shape, "u1", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def larger_than_memory(file, name, shape):
    file.create_dataset(name, (shape[0], *([2**20] * (len(shape) - 1))), "u1", chunks=(1,) * len(shape))


def a_folder(file, name, shape):
    file.create_group(name)


@pytest.mark.parametrize("spoil", [external_link, external_values, larger_than_memory, a_folder])
@pytest.mark.parametrize("name", ["images", "rawDepths"])
def test_values_that_lie_elsewhere_or_fit_nowhere_are_refused(labelled, spoil, name):
    with h5py.File(labelled / "nyu_depth_v2_labeled.mat", "a") as file:
        shape = file[name].shape
        del file[name]
        spoil(file, name, shape)
    with pytest.raises(UserError, match=f"{name} (lies in another file|has the shape)"):
        NyuDataset(labelled, "test")


def test_a_list_of_frames_that_could_fill_the_memory_is_not_opened(labelled):
    (labelled / "splits.mat").write_bytes(bytes(2**20 + 1))
    with pytest.raises(UserError, match="is 1048577 bytes"):
        NyuDataset(labelled, "test")


def test_a_frame_that_lies_elsewhere_is_not_read(fast_depth):
    path = next(fast_depth.rglob("*.h5"))
    with h5py.File(path, "a") as file:
        del file["depth"]
        external_link(file, "depth", ())
    pair = Pair("frame", str(path), str(path))
    with pytest.raises(DecodeError, match="depth lies in another file"):
        read_h5(pair)
