"""Runs whose teacher is a network of `transformers`, from a recipe to an exported student."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from run_files import cut_back, read_json

from distill.cli import main
from distill.config.loading import inform_once

pytest.importorskip("transformers", reason="needs the package transformers")

from tests.teachers.hf.tiny_networks import save  # needs the package too

RECIPE = str(Path(__file__).parents[2] / "configs" / "folder.yaml")
SMALL = [
    "data.size=[32,64]",
    "data.workers=0",
    "student.backbone=test_efficientnet",
    "student.pretrained=false",
    "student.width=8",
    "student.bins=8",
    "student.lg_conv=false",
    "train.batch_size=2",
    "train.steps=2",
    "train.checkpoint_every=1",
    "eval.pictures=0",
]


@pytest.fixture
def depth_anything(tmp_path):
    """The folder of a tiny Depth Anything, relative."""
    folder = tmp_path / "Depth-Anything-V2-Large-hf"
    save(folder, "depth_anything")
    return folder


def test_a_recipe_for_a_dpt_takes_a_relative_teacher_in_one_key(streets, depth_anything, tmp_path, capsys):
    inform_once.cache_clear()
    words = [RECIPE, f"data.root={streets}", "data.depth_scale=256", f"teacher.name=hf:{depth_anything}", *SMALL]
    run = tmp_path / "run"
    assert main(["train", *words, "--output", str(run)]) == 0
    text = capsys.readouterr()
    assert "teacher.checkpoint, teacher.scale, teacher.shift, teacher.invert: dropped" in text.out + text.err
    assert "cc-by-nc-4.0" in text.out + text.err
    facts = json.loads((run / "student" / "config.json").read_text())
    assert facts["metadata"]["teacher_licence"] == "cc-by-nc-4.0"
    assert "cc-by-nc-4.0" in (run / "student" / "README.md").read_text()
    evaluate = ["evaluate", str(run), "--data", "folder", "--root", str(streets), "--depth-scale", "256"]
    assert main([*evaluate, "--json", str(tmp_path / "result.json")]) == 0
    assert read_json(tmp_path / "result.json")["images"] == 2
    assert main(["export", str(run), "--output", str(tmp_path / "student.onnx"), "--size", "32x64"]) == 0


def test_photographs_and_a_relative_teacher_make_a_relative_student(depth_anything, tmp_path):
    root, run = tmp_path / "photographs", tmp_path / "run"
    root.mkdir()
    generator = np.random.default_rng(0)
    for number in range(4):
        assert cv2.imwrite(str(root / f"{number}.png"), generator.integers(0, 256, (40, 80, 3), np.uint8))
    words = [RECIPE, f"data.root={root}", f"teacher.name=hf:{depth_anything}", "method.name=output", *SMALL]
    assert main(["train", *words, "--output", str(run)]) == 0
    assert json.loads((run / "student" / "config.json").read_text())["output"] == "relative"
    assert main(["predict", str(run), str(root), "--output", str(tmp_path / "predictions")]) == 0


def test_a_run_with_a_network_of_the_hub_goes_on_bit_for_bit(
    streets, depth_anything, tmp_path, monkeypatch, weights, assert_same
):
    """As the Hub's cache has it: its revision is the name of the folder."""
    folder = tmp_path / "models--owner--name" / "snapshots" / "0123abcd"
    shutil.copytree(depth_anything, folder)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
    words = [RECIPE, f"data.root={streets}", "data.depth_scale=256", "teacher.name=hf:owner/name", *SMALL]
    whole = tmp_path / "whole"
    assert main(["train", *words, "--output", str(whole)]) == 0
    parts = cut_back(whole, tmp_path / "parts", 1)
    assert main(["train", *words, "--output", str(parts), "--resume"]) == 0
    assert_same(weights(whole), weights(parts))
    metadata = json.loads((whole / "student" / "config.json").read_text())["metadata"]
    assert metadata["teacher_revision"] == "0123abcd"
    assert "0123abcd" in (whole / "student" / "README.md").read_text()


def test_a_network_without_maps_is_refused_as_a_teacher(streets, tmp_path, capsys):
    (tmp_path / "own_flat_teacher.py").write_text("def none(): return 3")
    words = [RECIPE, f"data.root={streets}", "data.depth_scale=256", "teacher.name=no_such_module:none", *SMALL]
    assert main(["train", *words, "--output", str(tmp_path / "run")]) == 2
    assert "no module no_such_module" in capsys.readouterr().err
