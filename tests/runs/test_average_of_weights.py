"""A moving average of the student's weights: evaluated and kept in their place, without a say in what they learn."""

import pytest
import torch
from run_files import cut_back, last_state

from distill.engine.checkpoint import Checkpoints

AVERAGED = "method.name=supervised", "train.ema=0.999", "train.checkpoint_every=2"


@pytest.fixture(scope="module")
def averaged(trained):
    """The folder of a run with an average."""
    return trained(*AVERAGED)


def test_the_average_is_kept_and_changes_nothing_that_is_learnt(plain, averaged, weights, assert_same):
    assert_same(last_state(averaged)["module"], last_state(plain)["module"])
    kept, learnt = weights(averaged), weights(plain)
    assert any(not torch.equal(kept[key], learnt[key]) for key in learnt)


def test_the_average_continues_with_its_run(train, averaged, tmp_path, weights, assert_same):
    folder = cut_back(averaged, tmp_path / "run", 2)
    train(*AVERAGED, "--resume")
    assert_same(weights(folder), weights(averaged))
    assert_same(last_state(folder)["average"], last_state(averaged)["average"])


def test_pictures_are_of_the_average(train, monkeypatch):
    shown = []

    def note(method, *_):
        shown.append({key: value.clone() for key, value in method.student.state_dict().items()})
        return []

    monkeypatch.setattr("distill.assembly.validation.method_panels", note)
    last = last_state(train(*AVERAGED))
    prefix = "module."
    average = {key.removeprefix(prefix): value for key, value in last["average"].items()}
    assert all(torch.equal(shown[-1][key], average[key]) for key in shown[-1])
    assert any(not torch.equal(shown[-1][key], last["module"][f"student.{key}"]) for key in shown[-1])


def test_a_run_cannot_begin_to_average_in_its_middle(finished, config_file, refused):
    assert "train.ema" in refused("train", config_file, "train.ema=0.9", "--output", finished, "--resume")


def test_checkpoints_from_before_there_were_averages_continue(train, own_run):
    checkpoints = Checkpoints(own_run / "checkpoints")
    state = checkpoints.load()
    del state["average"]
    checkpoints.save(state["state"]["step"], state)
    (own_run / "done.json").unlink()
    assert train("--resume", output=own_run) == own_run
