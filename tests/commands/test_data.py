import json
import shutil

import cv2
import numpy as np
import pytest

from distill.cli import main

KITTI_DRIVE = "2011_09_26/2011_09_26_drive_0001_sync"
KITTI_DEPTH = "2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000007.png"
GREY = np.full((480, 640, 3), 128, np.uint8)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


@pytest.fixture
def check(tmp_path, capsys):
    """check(data, root, *options): what the command told as (exit code, report, output, error)."""

    def run(data, root, *options):
        file = tmp_path / "report.json"
        words = ["data", "check", "--data", data, "--root", str(root), "--json", str(file), *map(str, options)]
        code = main(words)
        message = capsys.readouterr()
        return code, json.loads(file.read_text()), message.out, message.err

    return run


def test_a_good_folder_is_ready(check, own_streets):
    code, report, out, err = check("folder", own_streets, "--depth-scale", 256)
    assert (code, err, report["ok"], report["problems"]) == (0, "", True, [])
    train, test = report["halves"]["train"], report["halves"]["test"]
    assert (train["lines"], train["usable"], test["usable"]) == (8, 8, 2)
    assert train["sizes"] == {"32x64": 8}
    assert train["depth_bits"] == {"16": 8}
    assert 0 < train["depth"]["nearest"] < train["depth"]["farthest"] < 256
    assert report["shared"] == {"images": 0, "copies": 0, "scenes": []}
    assert out.rstrip().endswith("ready")


def test_missing_files_are_counted_and_named(check, own_streets):
    for i in range(3):
        (own_streets / f"image/train{i}.png").unlink()
    code, report, _, err = check("folder", own_streets, "--depth-scale", 256)
    assert (code, report["ok"]) == (2, False)
    assert report["halves"]["train"]["missing"] == 3
    assert report["halves"]["train"]["missing_first"] == [f"image/train{i}.png" for i in range(3)]
    assert err.startswith("distill: train: 3 of 8 lines of ")
    assert err.count("\n") == 1


def test_everything_that_is_wrong_is_reported_at_once(check, own_streets):
    (own_streets / "image/train0.png").write_bytes(b"")
    write(own_streets / "depth/train1.png", np.zeros((32, 64), np.uint8))
    code, report, _, err = check("folder", own_streets)
    assert code == 2
    message = " ".join(report["problems"])
    assert "1 of 16 files cannot be read" in message
    assert "train1.png is a 8-bit picture" in message
    assert err.rstrip().endswith("more, see the report)")


def test_a_test_half_alone_is_ready_and_said_to_be_alone(check, own_streets):
    (own_streets / "train_files_with_gt.txt").unlink()
    code, report, _, _ = check("folder", own_streets, "--depth-scale", 256)
    assert (code, list(report["halves"])) == (0, ["test"])
    assert any("there is no training half" in note for note in report["notes"])


@pytest.mark.parametrize("part", ["depth", "image"])
def test_files_whose_damage_their_ends_do_not_show_are_not_ready(check, own_streets, part):
    for path in (own_streets / part).iterdir():
        raw = bytearray(path.read_bytes())
        raw[raw.find(b"IDAT") + 20] ^= 0xFF
        path.write_bytes(raw)
    code, report, out, _ = check("folder", own_streets, "--depth-scale", 256)
    assert code == 2
    assert "8 of 16 files cannot be read" in report["problems"][0]
    assert out.rstrip().endswith("not ready")


def test_a_scale_that_does_not_fit_is_reported_with_one_that_does(check, own_streets):
    for path in (own_streets / "depth").iterdir():
        write(path, np.full((32, 64), 20_000, np.uint16))
    _, turned, _, _ = check("folder", own_streets, "--depth-scale", 0.001, "--max-depth", 80)  # metres a unit
    assert "1000 units per metre would fit" in turned["problems"][0]
    code, report, _, _ = check("folder", own_streets, "--depth-scale", 100, "--max-depth", 80)
    assert code == 2
    assert "at 100 units per metre it spans 200 to 200 m" in report["problems"][0]
    assert "between 0.001 and 80 m; 256 units per metre would fit" in report["problems"][0]


def test_values_that_are_no_measurements_are_noted(check, own_streets):
    raw = np.full((32, 64), 2560, np.uint16)
    raw[:8] = 65535
    for path in (own_streets / "depth").iterdir():
        write(path, raw)
    code, report, _, _ = check("folder", own_streets, "--depth-scale", 256)
    assert (code, report["halves"]["train"]["depth"]["farthest"]) == (0, 10)
    assert any("25.00% of the pixels of depth hold the largest value" in note for note in report["notes"])


def test_a_scale_is_refused_for_files_of_a_known_one(refused, tmp_path):
    write(tmp_path / "study_0001/rgb_00001.png", np.zeros((480, 640, 3), np.uint8))
    write(tmp_path / "study_0001/sync_depth_00001.png", np.full((480, 640), 999, np.uint16))
    message = refused("data", "check", "--data", "nyu", "--root", tmp_path, "--depth-scale", 100)
    assert "a depth scale of 100 is given for nyu" in message


def test_images_in_both_halves_are_reported(check, own_streets):
    shutil.copy(own_streets / "train_files_with_gt.txt", own_streets / "test_files_with_gt.txt")
    code, report, _, _ = check("folder", own_streets, "--depth-scale", 256)
    assert code == 2
    assert report["shared"]["images"] == 8
    assert "8 test images are training images too" in report["problems"][0]


def test_a_test_image_that_was_copied_into_training_is_reported(check, own_streets):
    shutil.copy(own_streets / "image/test1.png", own_streets / "image/train5.png")
    code, report, _, _ = check("folder", own_streets, "--depth-scale", 256)
    assert (code, report["shared"]["copies"]) == (0, 1)
    (note,) = [note for note in report["notes"] if "1 test images have a copy in training" in note]
    assert note.endswith(f"{own_streets}/image/test1.png is {own_streets}/image/train5.png")


def test_images_of_several_sizes_are_reported_with_the_key_that_helps(check, own_streets):
    write(own_streets / "image/train0.png", np.zeros((40, 64, 3), np.uint8))
    write(own_streets / "depth/train0.png", np.full((40, 64), 999, np.uint16))
    code, report, _, _ = check("folder", own_streets, "--depth-scale", 256)
    assert code == 0
    assert "train: images of 2 sizes cannot form a batch: train with data.size or data.crop" in report["notes"]


@pytest.mark.parametrize(
    ("data", "image", "depth", "expected"),
    [
        ("kitti", f"{KITTI_DRIVE}/image_02/data/0000000007.png", KITTI_DEPTH, "at least 352x1216"),
        ("nyu", "study_0001/rgb_00001.png", "study_0001/sync_depth_00001.png", "480x640"),
    ],
)
def test_frames_of_another_size_stand_in_the_way(check, tmp_path, data, image, depth, expected):
    root = tmp_path / data
    write(root / image, np.zeros((340, 700, 3), np.uint8))
    write(root / "gts" / depth if data == "kitti" else root / depth, np.full((340, 700), 999, np.uint16))
    (root / "list.txt").write_text(f"{image} {depth}\n")
    code, report, _, _ = check(data, root, "--split", "list.txt")
    assert code == 2
    assert f"1 images are not {expected}, such as " in report["problems"][0]
    assert report["problems"][0].endswith(" of 340x700: give whole frames")


def test_lines_that_come_twice_are_reported_and_not_evaluated_on(check, refused, own_streets):
    for part in ("train", "test"):
        file = own_streets / f"{part}_files_with_gt.txt"
        file.write_text(file.read_text() + file.read_text().splitlines()[0] + "\n")
    code, report, _, _ = check("folder", own_streets, "--depth-scale", 256)
    assert code == 2
    assert (report["halves"]["train"]["repeated"], report["halves"]["test"]["repeated"]) == (1, 1)
    assert report["problems"] == [
        "test: 1 lines name an image a second time, such as image/test0.png: drop them",
    ]
    assert "train: 1 lines name an image a second time, such as image/train0.png: these count twice" in report["notes"]
    words = ["evaluate", "dpt_micro:", "--data", "folder", "--root", own_streets, "--depth-scale", 256]
    assert "image/test0.png, which would count twice: drop them" in refused(*words)


def test_images_that_no_network_takes_are_reported_with_the_key_that_helps(check, own_streets):
    for folder, array in (("image", np.zeros((20, 64, 3), np.uint8)), ("depth", np.full((20, 64), 999, np.uint16))):
        for path in (own_streets / folder).iterdir():
            write(path, array)
    _, report, _, _ = check("folder", own_streets, "--depth-scale", 256)
    assert "train: images of 20x64 are smaller than 32: enlarge them with data.size" in report["notes"]


def test_depth_that_is_all_near_is_reported(check, own_streets):
    code, report, _, _ = check("folder", own_streets, "--depth-scale", 65535)
    assert code == 0
    assert any("of the 80 m that count: does the file hold the units" in note for note in report["notes"])


def test_one_list_is_looked_at_alone(check, own_streets):
    code, report, _, _ = check("folder", own_streets, "--depth-scale", 256, "--split", "test_files_with_gt.txt")
    assert code == 0
    assert list(report["halves"]) == ["split"]


def test_frames_of_kitti_s_test_drives_are_noticed_in_training(check, tmp_path):
    root = tmp_path / "kitti"
    drive = "2011_09_26_drive_0048_sync"
    write(root / "2011_09_26" / drive / "image_02/data/0000000007.png", np.zeros((375, 1242, 3), np.uint8))
    write(root / "gts" / drive / "proj_depth/groundtruth/image_02/0000000007.png", np.full((375, 1242), 999, np.uint16))
    (root / "train_files.txt").write_text(f"2011_09_26/{drive} 7 l\n")
    code, report, _, _ = check("kitti", root, "--split", "train_files.txt")
    assert code == 0
    half = report["halves"]["split"]
    assert half["layout"] == "KITTI frames in the root, depth in gts/"
    assert half["truth"] == "official annotated depth"
    assert any("100% of the pixels are measured: this is dense depth" in note for note in report["notes"])
    assert half["list"] == "unknown"
    assert any("is no public list" in note for note in report["notes"])
    code, report, _, err = check("kitti", root)
    assert code == 2
    assert any("1 of its frames are from the drives of Eigen's test" in note for note in report["notes"])
    assert "640 of 697" not in err
    assert "lines of the list eigen_test name files that do not exist" in err


def test_a_root_without_data_is_refused_in_one_line(refused, tmp_path):
    assert "does not have the KITTI layout" in refused("data", "check", "--data", "kitti", "--root", tmp_path)
    assert "does not exist" in refused("data", "check", "--data", "nyu", "--root", tmp_path / "none")
    assert "no depth of folder" in refused("data", "check", "--data", "folder", "--root", tmp_path, "--truth", "raw")


@pytest.fixture
def labelled(tmp_path):
    """NYU's labelled file with three frames of the real size."""
    h5py, scipy_io = pytest.importorskip("h5py"), pytest.importorskip("scipy.io")
    root = tmp_path / "labelled"
    root.mkdir()
    depth = np.float32([1.0004, 2.0009, 3.0])[:, None, None] * np.ones((3, 640, 480), np.float32)
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"], file["rawDepths"] = np.full((3, 3, 640, 480), 128, np.uint8), depth
        cells = [file.create_dataset(f"kind{i}", data=np.uint16([[ord(c)] for c in "study"])) for i in range(3)]
        file["sceneTypes"] = np.array([[cell.ref for cell in cells]], dtype=h5py.ref_dtype)
    scipy_io.savemat(root / "splits.mat", {"trainNdxs": [[1], [3]], "testNdxs": [[2]]})
    return root


def test_prepared_pictures_are_read_as_the_labelled_file_is(labelled, tmp_path, check):
    from distill.data import NyuDataset

    output = tmp_path / "pictures"
    assert main(["data", "prepare", "--root", str(labelled), "--output", str(output)]) == 0
    assert (output / "test_files_with_gt.txt").read_text() == (
        "study/rgb_00001.jpg study/sync_depth_00001.png 518.8579\n"
    )
    for part in ("train", "test"):
        written, original = NyuDataset(output, output / f"{part}_files_with_gt.txt"), NyuDataset(labelled, part)
        assert len(written) == len(original)
        for one, other in zip(written, original, strict=True):
            assert np.abs(one.image.astype(int) - other.image)[20:460, 20:620].max() <= 1
            assert (one.depth == np.floor(other.depth * 1000).astype(np.float32) / np.float32(1000)).all()
    code, report, _, _ = check("nyu", output)
    assert (code, report["problems"]) == (0, [])


def test_preparing_needs_the_labelled_file_and_an_empty_folder(refused, labelled, tmp_path):
    message = refused("data", "prepare", "--root", tmp_path, "--output", tmp_path / "new")
    assert "has no nyu_depth_v2_labeled.mat" in message
    message = refused("data", "prepare", "--root", labelled, "--output", labelled)
    assert "already holds something, expected a new or empty folder" in message
