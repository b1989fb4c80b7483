"""A run whose student is a pruned DPT: where its weights come from, and what is refused."""

import json
from pathlib import Path

import pytest
import torch

import distill
from distill.cli import main
from distill.config import load_config
from students import create_student

PRUNED = "student={backbone: dpt_micro, heads: 1, hooks: [0, 1], attention: performer, random_features: 16, "


def test_a_run_says_and_keeps_which_weights_its_student_inherited(train, micro_weights, capsys):
    student = f"{PRUNED} resolution_scale: 0.5, checkpoint: {micro_weights}}}"
    folder = train(student, "method.name=supervised", "train.steps=1")
    report = json.loads((folder / "inheritance.json").read_text())
    assert report["source"] == str(micro_weights)
    assert {key.split(".")[3] for key in report["dropped"]} == {"2", "3", "4", "5"}
    assert report["new"] == []
    message = " ".join(capsys.readouterr().err.split())
    assert f"tensors inherited from {micro_weights}" in message
    assert "attention is split into 1 instead of 5 heads" in message
    assert distill.load_model(folder).config.scale == 0.1


def test_a_student_that_inherits_nothing_leaves_no_report(finished):
    assert not (finished / "inheritance.json").exists()


def test_two_runs_of_one_seed_draw_the_same_random_features(config_file, tmp_path, weights, assert_same):
    words = [f"{PRUNED} checkpoint: dpt_micro}}", "method.name=supervised", "train.steps=1", "train.validate_every=1"]
    once, twice = tmp_path / "once", tmp_path / "twice"
    for output in (once, twice):
        assert main(["train", str(config_file), *words, "--output", str(output)]) == 0
    assert_same(weights(once), weights(twice))


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "configs" / "pruned_dpt").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_shipped_configuration_names_a_student_that_there_is(path):
    student = load_config(path).student
    options = {key: value for key, value in student.options().items() if key not in ("checkpoint", "pretrained")}
    with torch.device("meta"):
        assert len(create_student(student.backbone, **options).encoder.vit.blocks) in (2, 12)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["student.lg_conv=true"],
            "dpt_micro has no option lg_conv, which is a CNN's; its options are heads, hooks",
        ),
        (["student.backbone=test_resnet"], "test_resnet has no option heads, which is a DPT's; its options are"),
        (["student.hooks=[3, 6]"], "hooks=(3, 6): dpt_micro has blocks 0 to 5 only"),
        (["student.hooks=[1, 0]"], "hooks must be 2 increasing block numbers from 0, got (1, 0)"),
        (["student.heads=3"], "heads=3 does not divide the width 160"),
        (["student.attention=linear"], "student.attention='linear': expected one of standard, performer"),
        (["student.stem=resnet18"], "student.stem='resnet18': expected one of resnet50, efficientnet_b0"),
        (["student.random_features=0"], "student.random_features=0: input should be greater than 0"),
        (["student.attention=standard"], "random_features needs attention='performer'"),
        (["student.resolution_scale=1.5"], "student.resolution_scale=1.5: input should be less than or equal to 1"),
        (["student.resolution_scale=0.05"], "resolution_scale=0.05 leaves less than one patch of 16 pixels"),
        (["student.checkpoint=absent.pt"], "student.checkpoint: nothing at absent.pt; give the path of the parent's"),
        (["student.checkpoint=RUN"], "is a test_efficientnet, but the student is to be pruned from a dpt_micro"),
        (["student.checkpoint=RUN/student/model.safetensors"], "is a test_efficientnet, but the student is to be"),
        (["student.backbone=dpt_hybrid", "student.checkpoint=MICRO"], "give scale, shift and invert (DPT's KITTI"),
        (
            ["student.backbone=dpt_base", "student.checkpoint=MICRO", "student.invert=false"],
            "hooks must be 4 increasing",
        ),
        (["student.pretrained=true"], "there are no ImageNet weights for dpt_micro by name; use pretrained=false"),
    ],
)
def test_options_that_do_not_fit_are_refused(refused, config_file, finished, micro_weights, tmp_path, words, message):
    words = [word.replace("RUN", str(finished)).replace("MICRO", str(micro_weights)) for word in words]
    assert message in refused("train", config_file, f"{PRUNED}}}", *words, "--output", tmp_path / "run")
