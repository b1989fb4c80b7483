"""From relative depth to metres: a DPT whose weights know no unit is aligned, trained, stopped, saved."""

import os
import signal

import pytest
import torch
from run_files import read_json, records
from safetensors.torch import load_file, save_file

import distill
from distill.cli import main
from distill.engine import alignment
from distill.method import Method
from teachers import SHIPPED

GAIN, OFFSET = 40.0, 3.0  # of the relative output over the shipped network's
FINE_TUNING = ["method.name=supervised", "optim.name=adam", "optim.encoder_lr_share=0.1", "optim.lr=1e-4"]
FINE_TUNING += ["train.steps=2", "train.validate_every=1"]


@pytest.fixture(scope="session")
def relative_weights(tmp_path_factory):
    """dpt_micro's own weights with an output that is scaled and shifted, as if only relative depth had been learnt."""
    state = load_file(SHIPPED["dpt_micro"])
    last = "decoder.fuse.head.conv3."
    state[f"{last}weight"] = GAIN * state[f"{last}weight"]
    state[f"{last}bias"] = GAIN * state[f"{last}bias"] + OFFSET
    path = tmp_path_factory.mktemp("relative") / "dpt_micro.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(scope="module")
def student(relative_weights):
    return f"student={{backbone: dpt_micro, checkpoint: {relative_weights}, align: true}}"


@pytest.fixture(scope="module")
def aligned(trained, student):
    """The folder of a run that aligned its student."""
    return trained(*FINE_TUNING, student)


def test_a_run_aligns_trains_and_saves_what_needs_no_alignment(aligned):
    folder = aligned
    result = read_json(folder / "alignment.json")
    assert result["used"] + result["left_out"] == 8
    assert 0.2 < result["scale"] * GAIN / 0.1 < 5  # dpt_micro's own scale is 0.1, of streets seen at another size
    options = read_json(folder / "student" / "config.json")["options"]
    assert (options["scale"], options["shift"], options["invert"]) == (result["scale"], result["shift"], True)
    (abs_rel,) = [r["metrics"]["abs_rel"] for r in read_json(folder / "results.json")]
    assert abs_rel == pytest.approx(min(r["abs_rel"] for r in records(folder) if r["kind"] == "val"), rel=1e-3)
    depth = distill.load_model(folder)(torch.rand(1, 3, 32, 64))
    assert ((depth > 0) & (depth <= 80)).all()


def test_alignment_brings_relative_depth_close_to_metres(train, aligned, relative_weights):
    unaligned = f"student={{backbone: dpt_micro, checkpoint: {relative_weights}, scale: 1.0, shift: 0.0, invert: true}}"
    before = train(*FINE_TUNING, "train.steps=1", unaligned)
    one, other = (next(r["abs_rel"] for r in records(run) if r["kind"] == "val") for run in (aligned, before))
    assert one < 0.5 * other


def test_a_resumed_run_takes_the_alignment_from_its_folder(
    train, config_file, student, aligned, tmp_path, weights, assert_same, monkeypatch
):
    def consult(*inputs):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*inputs)

    original = Method.consult
    with monkeypatch.context() as patch:
        patch.setattr(Method, "consult", consult)
        command = ["train", str(config_file), *FINE_TUNING, student, "--output", str(tmp_path / "run")]
        assert main(command) == 143
    monkeypatch.setattr(alignment, "fit_samples", None)  # is not called again
    folder = train(*FINE_TUNING, student, "--resume")
    assert_same(weights(folder), weights(aligned))
    configs = [read_json(f / "student" / "config.json")["options"] for f in (folder, aligned)]
    assert configs[0] == configs[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["student={backbone: dpt_micro, align: true}"], "student.align needs student.checkpoint"),
        (
            ["student={backbone: dpt_micro, checkpoint: dpt_micro, align: true, scale: 1.0}"],
            "student.align finds scale, shift and invert; leave student.scale out",
        ),
        (
            ["student={backbone: resnet18, checkpoint: dpt_micro, align: true}"],
            "student.align is for relative weights of a DPT, resnet18 is none; leave it out",
        ),
        (["optim.encoder_lr_share=0"], "optim.encoder_lr_share=0: input should be greater than 0"),
    ],
)
def test_fine_tuning_that_cannot_work_is_refused(refused, config_file, tmp_path, words, message):
    assert message in refused("train", config_file, "method.name=supervised", *words, "--output", tmp_path / "run")


def test_images_without_enough_depth_cannot_align(refused, config_file, tmp_path, student):
    near = student.replace("align: true", "align: true, max_depth: 0.01")
    command = ["train", config_file, *FINE_TUNING, near, "--output", tmp_path / "run"]
    assert "none of 8 training images has 10 pixels of depth between 0.001 and 0.01 m; give images" in refused(*command)
