"""`distill evaluate --reproduce`: a result holds, does not hold, or is of something else now."""

import json
import shutil

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from distill.cli import main
from distill.commands.evaluate_reproduced import lasting
from distill.evaluation.origin import Options, Origin, Record, compare_records, digest, relative_gap

FOLDER = ["--data", "folder", "--depth-scale", "256"]


@pytest.fixture
def made(own_run, own_streets, tmp_path):
    """A result of a run's student on two streets, which a test may spoil: the file."""
    path = tmp_path / "result.json"
    words = [str(own_run / "student"), *FOLDER, "--root", str(own_streets), "--json", str(path)]
    assert main(["evaluate", *words]) == 0
    return path


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_result_knows_how_it_was_made_and_holds(made, own_run, capsys):
    content = json.loads(made.read_text())
    assert content["origin"]["options"]["depth_scale"] == 256
    assert {"code", "precision", "PyTorch", "device"} <= content["origin"]["environment"].keys()
    assert all(len(image["data"]) == 16 for image in content["per_image"])
    moved = shutil.move(own_run, own_run.with_name("elsewhere"))
    capsys.readouterr()
    assert main(["evaluate", "--reproduce", str(made), "--moved-to", str(moved)]) == 0
    assert "holds, to the last digit" in " ".join(capsys.readouterr().out.split())


def test_figures_that_cannot_be_made_again_are_a_failure_and_named(made, capsys):
    def change(content):
        content["metrics"]["rmse"] *= 1.01
        content["origin"]["environment"]["code"] = "older"

    edit(made, change)
    assert main(["evaluate", str(made), "--reproduce"]) == 1
    message = " ".join(capsys.readouterr().out.split())
    assert "does not hold: rmse was" in message
    assert "code was older" in message
    assert "abs_rel was" not in message


def test_other_weights_or_images_are_named(made, own_run, own_streets, capsys):
    weights = own_run / "student" / "model.safetensors"
    save_file({name: value * 1.5 for name, value in load_file(weights).items()}, weights)
    assert cv2.imwrite(str(own_streets / "image/test0.png"), np.full((32, 64, 3), 9, np.uint8))
    assert main(["evaluate", "--reproduce", str(made)]) == 2
    line = capsys.readouterr().err
    assert "weights was" in line
    assert "1 images hold other data, such as image/test0.png" in line


def test_what_does_not_say_how_it_was_made_is_refused(refused, finished, made):
    assert "how it was made" in refused("evaluate", "--reproduce", finished / "results.json")
    assert "cannot be read" in refused("evaluate", "--reproduce", finished / "absent.json")
    assert "not a file of results" in refused("evaluate", "--reproduce", finished / "config.yaml")
    assert "leave --tta out" in refused("evaluate", "--reproduce", made, "--tta", "flip")
    assert "--reproduce" in refused("evaluate", finished, "--moved-to", finished)
    edit(made, lambda content: content["origin"]["options"].update(protocol="nyu_eigen"))
    assert "nyu_eigen" in refused("evaluate", "--reproduce", made)


def record(metrics, names="ab", fingerprint="f", size=None):
    origin = Origin(model="m", options=Options(), weights="w", environment={"PyTorch": "2"})
    images = [{"name": name, "data": name} for name in names]
    known = {"origin": origin, "input_size": size, "metrics": metrics, "per_image": images}
    return Record(protocol="p", fingerprint=fingerprint, **known)


def test_confidence_is_no_option_of_a_reproduction(refused, made):
    assert "leave --confidence out" in refused("evaluate", made, "--reproduce", "--confidence")


def test_a_model_is_known_from_every_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pt").touch()
    assert lasting("x.pt") == str(tmp_path / "x.pt")
    assert lasting("dpt_hybrid:x.pt") == f"dpt_hybrid:{tmp_path / 'x.pt'}"
    assert [lasting(name) for name in ("hf:owner/name", "dpt_micro")] == ["hf:owner/name", "dpt_micro"]


def test_what_moved_is_named_and_rounding_is_not():
    same = compare_records(record({"rmse": 2.0}), record({"rmse": 2.00001}))
    assert (same.inputs, same.circumstances, same.figures) == ([], [], [])
    assert same.largest == pytest.approx(5e-6)
    other = compare_records(record({"rmse": 2.0}), record({"rmse": 2.1}, "bc", "g", (32, 64)))
    assert other.figures == ["rmse was 2, is 2.1"]
    assert other.inputs == [
        "protocol p was f, is g",
        "input size was None, is (32, 64)",
        "1 images are gone, such as a",
        "1 images are new, such as c",
    ]


def test_a_figure_that_is_no_number_equals_only_such_a_one():
    assert relative_gap(float("nan"), float("nan")) == relative_gap(None, None) == relative_gap(0.0, 0.0) == 0
    assert {relative_gap(1.0, None), relative_gap(float("nan"), 1.0), relative_gap(0.0, 1.0)} == {float("inf")}


def test_a_digest_knows_shape_type_and_content():
    zeros = np.zeros((2, 3), np.uint8)
    assert digest(zeros) == digest(zeros[::-1])
    assert len({digest(zeros), digest(zeros.T), digest(zeros.astype(np.int8)), digest(zeros + 1)}) == 4
