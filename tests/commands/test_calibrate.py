"""`distill calibrate`: a student that is off by known numbers gets them, in its folder, its card and its exports."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch

from distill import load_model
from distill.cli import main
from distill.data import to_tensor
from distill.inference.file_kinds import open_exported
from students import create_student, save_student

SIZE = (32, 64)
RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in range(20)]


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A student of random weights whose depth varies."""
    torch.manual_seed(0)
    model = create_student("test_resnet", pretrained=False, width=16, bins=8, max_depth=40.0).eval()
    with torch.no_grad():
        model.decoder.head.scores.weight.mul_(30)
    folder = tmp_path_factory.mktemp("student") / "student"
    save_student(model, folder, {"data": "folder", "input_size": SIZE, "metrics": {"abs_rel": 0.1}})
    return folder


@pytest.fixture
def folder(student, tmp_path):
    """folder(of): a data set whose depth is this function of the student's, 12 images to train and 8 to test on."""
    model = load_model(student)

    def write(of):
        root = tmp_path / "data"
        for number, picture in enumerate(PICTURES):
            half = root / ("train" if number < 12 else "test")
            for kind in ("images", "depth"):
                (half / kind).mkdir(parents=True, exist_ok=True)
            with torch.no_grad():
                depth = of(model(to_tensor(picture)[None])[0, 0].numpy())
            assert cv2.imwrite(str(half / "images" / f"{number}.png"), picture[..., ::-1])
            assert cv2.imwrite(str(half / "depth" / f"{number}.png"), (depth * 256).round().astype(np.uint16))
        return root

    return write


def words(student, root, output):
    return ["calibrate", str(student), *("--data", "folder", "--root", str(root), "--depth-scale", "256")] + (
        ["--output", str(output)] if output else []
    )


def test_a_student_that_is_off_by_a_factor_is_mended_wherever_it_goes(student, folder, tmp_path):
    root, output = folder(lambda depth: depth / 2), tmp_path / "new"
    assert main(words(student, root, output)) == 0
    image = to_tensor(PICTURES[0])[None]
    with torch.no_grad():
        own, calibrated = load_model(student)(image), load_model(output)(image)
    torch.testing.assert_close(calibrated, own / 2, rtol=0.01, atol=0)
    config = json.loads((output / "config.json").read_text())
    assert config["calibration"]["scale"] == pytest.approx(2, rel=0.01)
    assert config["calibration"]["shift"] == 0
    known = config["metadata"]["calibration"]
    assert (known["fit"], known["images"], known["data"]) == ("scale", 12, "folder")
    assert "8 images that the calibration was not fitted on" in known["measured_on"]
    assert known["before"]["abs_rel"] == pytest.approx(1, rel=0.05)
    assert config["metadata"]["metrics"]["abs_rel"] < 0.02
    card = (output / "README.md").read_text()
    assert "scale fitted to 12 images of own images" in card
    assert "8 images that the calibration was not fitted on" in card
    assert main(["export", str(output), "--output", str(tmp_path / "it.onnx"), "--images", str(root)]) == 0
    torch.testing.assert_close(open_exported(tmp_path / "it.onnx")(image), calibrated, rtol=1e-3, atol=1e-3)


def test_the_data_of_a_run_is_what_its_student_is_calibrated_by(student, folder, tmp_path):
    root, run = folder(lambda depth: depth / 2), tmp_path / "run"
    shutil.copytree(student, run / "student")
    data = f"{{name: folder, root: {root}, depth_scale: 256}}"
    (run / "config.yaml").write_text(f"data: {data}\nmethod: {{name: supervised}}\n")
    assert main(["calibrate", str(run), "--output", str(tmp_path / "new")]) == 0
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["metadata"]["calibration"]["data"] == "folder"
    assert "scale fitted to 12 images of own images" in (tmp_path / "new" / "README.md").read_text()


def test_a_shift_is_found_where_a_scale_is_not_enough(student, folder, tmp_path):
    root = folder(lambda depth: 1 / (0.5 / depth + 0.1))
    assert main(words(student, root, tmp_path / "new")) == 0
    calibration = json.loads((tmp_path / "new/config.json").read_text())["calibration"]
    assert (calibration["scale"], calibration["shift"]) == pytest.approx((0.5, 0.1), rel=0.05)


def test_a_relative_student_becomes_metric(student, folder, tmp_path, refused, config_file):
    relative = shutil.copytree(student, tmp_path / "relative")
    config = json.loads((relative / "config.json").read_text())
    (relative / "config.json").write_text(json.dumps(config | {"output": "relative"}))
    root = folder(lambda depth: 1 / (0.5 / depth + 0.1))
    assert main(words(relative, root, None)) == 0
    made = tmp_path / "relative-calibrated"
    assert load_model(made).output == "metric"
    assert "| one depth everywhere |" in (made / "README.md").read_text()
    assert "relative-calibrated is calibrated" in refused(
        "train", config_file, f"student.checkpoint={made}", "student.backbone=test_resnet", "--output", tmp_path / "run"
    )


def test_what_needs_no_calibration_is_refused_with_the_figures(student, folder, tmp_path, capsys):
    root = folder(lambda depth: depth)
    assert main(words(student, root, tmp_path / "new")) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "does not help" in message
    assert "abs_rel is" in message
    assert "as it is" in message
    assert not any((tmp_path / "new").iterdir())


def test_a_fit_to_other_images_than_those_it_is_for_is_refused(student, folder, tmp_path, capsys):
    root = folder(lambda depth: depth / 2)
    for file in (root / "test/depth").iterdir():
        assert cv2.imwrite(str(file), 2 * cv2.imread(str(file), cv2.IMREAD_UNCHANGED))
    assert main(words(student, root, tmp_path / "new")) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "8 images that the calibration was not fitted on" in message
    assert "before" in message
    assert not any((tmp_path / "new").iterdir())


def test_a_folder_that_nobody_divided_is_measured_on_what_is_left_or_crosswise(student, folder, tmp_path):
    root = folder(lambda depth: depth / 2) / "train"
    for images, measured_on in (("6", "6 images that"), ("12", "12 images, each by a fit to others")):
        output = tmp_path / f"new{images}"
        assert main([*words(student, root, output), "--images", images]) == 0
        known = json.loads((output / "config.json").read_text())["metadata"]["calibration"]
        assert known["images"] == int(images)
        assert measured_on in known["measured_on"]


def test_wrong_input_is_refused(student, folder, tmp_path, refused):
    root = folder(lambda depth: depth / 2)
    assert "is no student" in refused(*words("dpt_micro", root, tmp_path / "new"))
    assert "at least 5" in refused(*words(student, root, tmp_path / "new"), "--images", 3)
    assert "is a folder that is read" in refused(*words(student, root, student))
    assert "has no depth" in refused(*words(student, root / "train" / "images", tmp_path / "new"))
    (tmp_path / "new/config.json").write_text("{}")
    assert "is there already" in refused(*words(student, root, tmp_path / "new"))
