"""Runs on recordings of one's own camera: what is held out, what a folder is taken for, focal lengths."""

import numpy as np
import pytest
from run_files import SHORT, read_json

from distill.cli import main
from distill.inference.exported import OnnxModel


@pytest.fixture
def undivided(own_streets):
    """The streets without lists: eight of one name, two of another."""
    for listed in own_streets.glob("*.txt"):
        listed.unlink()
    return own_streets


def test_a_run_on_an_undivided_folder_ends_with_an_honest_number(train, undivided, capsys, tmp_path):
    folder = train(f"data.root={undivided}", "data.hold_out=0.2", "method.name=supervised", "teacher=null", SHORT)
    shown = " ".join(capsys.readouterr().err.split())
    assert "held out: the end of a recording, 2 of 10 images" in shown
    assert "7 training images" in shown
    assert "of the worst images: image/train" in shown
    assert "next: use it: distill predict" in shown
    assert "read as pairs of the same name, 256 units a metre" in shown
    assert "Read as pairs of the same name, 256 units a metre" in (folder / "report.html").read_text()
    (student,) = read_json(folder / "results.json")
    assert [image["name"] for image in student["per_image"]] == ["image/train6.png", "image/train7.png"]
    assert main(["evaluate", str(folder), "--json", str(tmp_path / "again.json")]) == 0
    assert read_json(tmp_path / "again.json")["metrics"] == pytest.approx(student["metrics"], rel=1e-3)


def test_a_test_half_wins_over_a_held_out_share(train, streets):
    folder = train("data.hold_out=0.2", "method.name=supervised", "teacher=null", SHORT)
    assert read_json(folder / "results.json")[0]["images"] == 2


def test_few_photographs_are_all_trained_on(train, undivided, capsys):
    photographs = [f"data.root={undivided / 'image'}", "data.depth_scale=null", "method.name=output"]
    train(*photographs, "data.hold_out=0.01", SHORT)
    shown = " ".join(capsys.readouterr().err.split())
    assert "data.hold_out=0.01 of 10 photographs leaves none on one side: nothing is held out" in shown
    assert "on 10 photographs trained on" in shown


def test_a_hold_out_that_leaves_nothing_ends_a_run_before_it_begins(config_file, undivided, refused, tmp_path):
    words = [f"data.root={undivided}", "data.hold_out=0.01"]
    assert "data.hold_out=0.01" in refused("train", config_file, *words, "--output", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_run_on_canonical_depth_is_used_with_each_cameras_own(train, streets, refused, tmp_path):
    learn = ["data.focal=canonical", "method.name=output"]
    folder = train(*learn, "data.camera=[60, 60, 32, 16]", SHORT)
    student = read_json(folder / "student" / "config.json")
    assert (student["canonical_focal"], student["options"]["max_depth"]) == (1000, pytest.approx(80 * 1000 / 60))
    image, out = str(streets / "image" / "test0.png"), str(tmp_path / "out")
    depths = []
    for focal in ("60", "120"):
        camera = ["--intrinsics", focal, focal, "32", "16"]
        assert main(["predict", str(folder), image, "--npy", "--output", f"{out}{focal}", *camera]) == 0
        depths.append(np.load(f"{out}{focal}/test0.npy"))
    assert np.allclose(depths[1], 2 * depths[0])
    assert "give --intrinsics" in refused("predict", folder, image, "--output", out)
    wrong = ["--intrinsics", "60", "60", "320", "160"]
    assert "intrinsics" in refused("predict", folder, image, "--output", out, *wrong)
    assert "--focal-px" in refused("export", folder, "--output", tmp_path / "a.onnx", "--size", "32x64")
    assert main(["export", str(folder), "--output", f"{out}.onnx", "--size", "32x64", "--focal-px", "60"]) == 0
    assert OnnxModel(tmp_path / "out.onnx").facts["focal_px"] == "60.0"
    assert main(["predict", f"{out}.onnx", image, "--npy", "--output", f"{out}-file"]) == 0
    assert np.allclose(np.load(f"{out}-file/test0.npy"), depths[0], rtol=1e-3)


def test_canonical_depth_of_an_unknown_camera_is_refused_before_the_run(config_file, refused, tmp_path):
    message = refused("train", config_file, "data.focal=canonical", "--output", tmp_path / "none")
    assert "focal length of" in message
    assert "data.camera" in message
