import numpy as np
import pytest
import torch

from distill.assembly.datasets import open_dataset
from distill.config import DataConfig
from distill.data import SURFACES, KittiDataset, NyuDataset, Source, default_split, kb_crop, mask_nyu_border
from distill.data.nyu.labelled import INTRINSICS
from distill.data.scenes.scene_dataset import render

READERS = {"kitti": KittiDataset, "nyu": NyuDataset}
SIZE, TRAIN, TEST = (64, 96), 4, 2  # four frames lie in two drives or rooms
layouts = pytest.mark.parametrize("layout", list(READERS))


@pytest.fixture(scope="module", autouse=True)
def short_drives(tool):
    """Of two frames each, and so are visits to a room."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool, "FRAMES", 2)
        yield


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in the processes that write the frames."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def roots(tool, tmp_path_factory):
    """A small set of each layout."""
    folder = tmp_path_factory.mktemp("scenes")
    for layout in READERS:
        tool.write_set(layout, folder / layout, TRAIN, TEST, seed=3, size=SIZE, workers=1)
    return {layout: folder / layout for layout in READERS}


def read(root, layout, part):
    return READERS[layout](root, default_split(root, part))


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@layouts
@pytest.mark.parametrize("part", ["train", "test"])
def test_the_reader_gives_back_what_was_rendered(tool, roots, layout, part):
    dataset = read(roots[layout], layout, part)
    for number in (0, len(dataset) - 1):
        image, depth, _ = tool.take(tool.WrittenFrame(layout, part, number, 3, SIZE))
        sample = dataset[number]
        assert abs(sample.depth - depth).max() <= 0.5001 / dataset.units[0]
        assert ((sample.depth == 0) == (depth == 0)).all()
        difference = abs(sample.image.astype(int) - image)
        assert difference.mean() < (0.01 if layout == "kitti" else 6)  # NYU's images are JPEG


@layouts
def test_depth_is_the_scene_seen_by_the_recipe_s_camera(tool, layout, monkeypatch):
    seen = []
    monkeypatch.setattr(tool, "render", lambda *a, **k: seen.append(render(*a, **k)) or seen[-1])
    _, depth, _ = tool.take(tool.WrittenFrame(layout, "test", 1, 0, SIZE))
    exact = seen[0].depth.numpy()
    assert ((depth == 0) | (depth == exact)).all()
    assert (seen[0].intrinsics.numpy() == tool.RECIPES[layout].intrinsics(SIZE)).all()
    share = (depth > 0).mean()
    assert 0.02 < share < 0.08 if layout == "kitti" else 0.5 < share < 0.99


@layouts
def test_the_lists_name_every_frame_once(roots, layout):
    named = set()
    for part, count in (("train", TRAIN), ("test", TEST)):
        dataset = read(roots[layout], layout, part)
        assert (len(dataset), dataset.without_truth) == (count, ())
        named |= {path for pair in dataset.pairs for path in (pair.image, pair.depth)}
    pictures = {str(path) for path in roots[layout].rglob("*") if path.suffix in (".png", ".jpg")}
    assert named == pictures
    assert len(named) == 2 * (TRAIN + TEST)


@layouts
def test_no_scene_is_in_training_and_test(roots, layout):
    samples = [sample for part in ("train", "test") for sample in read(roots[layout], layout, part)]
    assert len({sample.image.tobytes() for sample in samples}) == TRAIN + TEST
    assert len({sample.name for sample in samples}) == TRAIN + TEST


def test_files_lie_as_in_kitti(roots):
    drives = "2011_09_26/2011_09_26_drive_0001_sync 0000000000", "2011_09_26/2011_09_26_drive_0002_sync 0000000001"
    pairs = read(roots["kitti"], "kitti", "train").pairs
    assert (pairs[0].name, pairs[-1].name) == drives
    assert default_split(roots["kitti"], "test").read_text().splitlines()[1] == (
        "2011_09_26/2011_09_26_drive_5001_sync/image_02/data/0000000001.png "
        "2011_09_26_drive_5001_sync/proj_depth/groundtruth/image_02/0000000001.png 55.7710"
    )
    assert (roots["kitti"] / "data_depth_annotated" / "2011_09_26_drive_5001_sync" / "proj_depth").is_dir()


def test_files_lie_as_in_nyu(roots):
    assert read(roots["nyu"], "nyu", "train").pairs[-1].name == "sync/room_0002/rgb_00001.jpg"
    assert read(roots["nyu"], "nyu", "test").pairs[0].name == "official_splits/test/room_5001/rgb_00000.jpg"
    assert default_split(roots["nyu"], "test").read_text().splitlines()[0] == (
        "room_5001/rgb_00000.jpg room_5001/sync_depth_00000.png 77.8287"
    )


def test_every_bit_of_the_intrinsics_survives_in_the_calibration(tool, roots):
    expected = tool.RECIPES["kitti"].intrinsics(SIZE)
    assert (read(roots["kitti"], "kitti", "test")[0].intrinsics == expected).all()


def test_cameras_of_full_frames_are_those_of_the_data_sets(tool):
    full = tool.RECIPES["kitti"].intrinsics((375, 1242))
    assert full.tolist() == [[721.5377, 0, 609.5593], [0, 721.5377, 172.854], [0, 0, 1]]
    np.testing.assert_allclose(tool.RECIPES["nyu"].intrinsics((480, 640)), INTRINSICS, rtol=2e-3)


@pytest.mark.parametrize(("layout", "crop"), [("kitti", kb_crop), ("nyu", mask_nyu_border)])
def test_full_frames_fit_what_is_done_to_the_real_ones(tool, tmp_path, layout, crop):
    tool.write_set(layout, tmp_path, train=0, test=1, seed=0, size=None, workers=1)
    sample = crop(read(tmp_path, layout, "test")[0])
    assert sample.valid.mean() > 0.03
    assert default_split(tmp_path, "train").read_text() == ""


def test_depth_that_no_file_can_hold_is_not_measured(tool):
    depth = np.array([[0, 1, 80, 80.01, 300, np.inf, np.nan, -1]], np.float32)
    assert tool.quantise(depth, 256, 80).tolist() == [[0, 256, 20480, 0, 0, 0, 0, 0]]
    assert tool.quantise(depth, 256, 1000).tolist() == [[0, 256, 20480, 20483, 0, 0, 0, 0]]
    assert tool.quantise(depth, 1000, 100).tolist() == [[0, 1000, 0, 0, 0, 0, 0, 0]]


@pytest.fixture
def run(tool, capsys):
    """run(*arguments): exit code and the lines of stderr that are not the progress bar's."""

    def run(*arguments):
        code = tool.main([str(argument) for argument in arguments])
        return code, [line for line in capsys.readouterr().err.splitlines() if line.startswith("make_scenes")]

    return run


def settings(root, layout="kitti", seed=3):
    size = f"{SIZE[0]}x{SIZE[1]}"
    words = ("--layout", layout, "--train", TRAIN, "--test", TEST, "--seed", seed, "--size", size, "--workers", 2)
    return *words, "--output", root


@layouts
def test_running_again_gives_identical_bytes(roots, run, layout):
    before = contents(roots[layout])
    default_split(roots[layout], "train").unlink()  # as if it had been interrupted
    assert run(*settings(roots[layout], layout)) == (0, [])
    assert contents(roots[layout]) == before


def test_scenes_of_other_settings_are_not_mixed(roots, run):
    before = contents(roots["kitti"])
    code, (line,) = run(*settings(roots["kitti"], seed=4))
    assert code == 2
    assert '"seed": 3' in line
    assert '"seed": 4' in line
    assert line.endswith("name another --output, or remove that folder")
    assert contents(roots["kitti"]) == before


def test_a_folder_of_something_else_is_refused_in_one_line(run, tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    code, (line,) = run(*settings(tmp_path, "nyu"))
    assert code == 2
    assert f"{tmp_path} already holds thesis.tex, expected a new or empty folder: name another --output" in line
    assert contents(tmp_path) == {"thesis.tex": b"all of it"}


def test_an_output_that_is_a_file_is_refused(tmp_path, run):
    (tmp_path / "file").write_text("")
    code, (line,) = run(*settings(tmp_path / "file"))
    assert code == 2
    assert line.endswith("choose another --output")


@pytest.mark.parametrize("wrong", [("--size", "375"), ("--size", "31x64"), ("--train", "-1"), ("--test", "99981")])
def test_impossible_numbers_are_refused(tool, tmp_path, capsys, wrong):
    with pytest.raises(SystemExit, match="2"):
        tool.main(["--layout", "nyu", "--output", str(tmp_path), *wrong])
    assert f"got '{wrong[1]}'" in capsys.readouterr().err


@pytest.mark.parametrize(("layout", "kind"), [("streets", "road"), ("rooms", "room")])
def test_a_folder_has_the_class_of_every_pixel_beside_its_depth(tool, tmp_path, layout, kind):
    tool.write_set(layout, tmp_path, train=2, test=1, seed=3, size=(32, 64), workers=1)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")}
    halves = [("training", "00000"), ("training", "00001"), ("validation", "00000")]
    assert names == {f"{one}/{half}/{n}.png" for one in ("images", "depth", "annotations") for half, n in halves}
    depth = Source("folder", tmp_path, depth_scale=1000).find("train")
    classes = Source("folder", tmp_path, classes=len(SURFACES[kind])).find("train")
    assert [pair.name for pair in classes.pairs] == ["00000", "00001"]
    assert len(depth.pairs) == 2
    _, _, surface = tool.take(tool.WrittenFrame(layout, "train", 1, 3, (32, 64)))
    assert (classes.read(classes.pairs[1])[1] == surface).all()


def test_a_longer_focal_length_shows_less_and_is_beside_the_images(tool, tmp_path):
    tool.write_set("streets", tmp_path, train=1, test=1, seed=3, size=(32, 64), workers=1, zoom=2.0)
    wide = tool.RECIPES["streets"].intrinsics((32, 64))
    (sample,) = open_dataset(DataConfig(name="folder", root=str(tmp_path), depth_scale=256, max_depth=80), "test")
    assert sample.intrinsics[0, 0] == sample.intrinsics[1, 1] == 2 * wide[0, 0]
    assert (sample.intrinsics[:, 2] == wide[:, 2]).all()


def test_nyu_s_one_camera_is_not_zoomed(run, tmp_path):
    code, (line,) = run("--layout", "nyu", "--output", tmp_path, "--zoom", 2)
    assert code == 2
    assert "--layout rooms" in line
