import random

import numpy as np
import pytest
import torch
from torch import nn

from distill.engine.checkpoint import Checkpoints
from distill.engine.state import Resumable, TrainState, random_states, restore_random_states
from distill.errors import UserError


@pytest.fixture
def make_moment():
    """make_moment(width, teacher): a run that has made one step."""

    def make(width=2, teacher="abc", scale=None):
        module = nn.Linear(width, 1)
        optimizer = torch.optim.AdamW(module.parameters())
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
        module(torch.rand(1, width)).backward()
        optimizer.step()
        scaler = torch.amp.GradScaler("cpu", init_scale=scale) if scale else None
        return Resumable(module, optimizer, schedule, scaler, TrainState(), {"teacher": teacher})

    return make


@pytest.fixture
def kept(tmp_path):
    """kept(moment): what a checkpoint holds of it."""

    def save_and_load(when):
        checkpoints = Checkpoints(tmp_path)
        checkpoints.save(when.state.step, when.capture())
        return checkpoints.load()

    return save_and_load


def test_everything_comes_back(make_moment, kept):
    one, other = make_moment(scale=512.0), make_moment(scale=64.0)
    one.scaler.scale(torch.ones(1))  # which a scaler waits for before it has any state
    one.state = TrainState(7, 0.5, 4, 6, 2, 1, {"a.png", "b.png"})
    one.schedule.step()
    saved = kept(one)
    other.restore(saved)
    assert other.state == one.state
    assert torch.equal(other.method.weight, one.method.weight)
    assert other.schedule.state_dict() == one.schedule.state_dict()
    for mine, theirs in zip(other.optimizer.state.values(), one.optimizer.state.values(), strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in ("exp_avg", "exp_avg_sq", "step"))
    assert other.scaler.get_scale() == 512.0


def test_another_teacher_is_refused_by_its_name(make_moment, kept):
    with pytest.raises(UserError, match=r"started with another teacher \(abc, now xyz\): give the former one"):
        make_moment(teacher="xyz").restore(kept(make_moment()))


def test_what_was_another_when_the_state_was_saved_is_told(make_moment, kept):
    one, other = make_moment(), make_moment()
    one.seen = {"training list": "a", "test files": "b"}
    other.seen = {"training list": "a", "test files": "c", "protocol": "of which an earlier version kept nothing"}
    assert other.restore(kept(one)) == ["test files"]


def test_another_network_is_refused(make_moment, kept):
    with pytest.raises(UserError, match=r"does not fit this run: .*size mismatch for weight"):
        make_moment(width=3).restore(kept(make_moment()))


@pytest.mark.parametrize("change", ["more", "less", "counters"])
def test_a_state_of_other_parts_is_refused(make_moment, kept, change):
    saved = kept(make_moment())
    if change == "more":
        saved["ema"] = {}
    elif change == "less":
        del saved["schedule"]
    else:
        del saved["state"]["best"]
    with pytest.raises(UserError, match=r"not what this version of distill continues from: another wrote it"):
        make_moment().restore(saved)


@pytest.mark.parametrize("key", ["state", "identity", "module", "optimizer", "random"])
@pytest.mark.parametrize("value", [3, [], None, {}, {"step": "x"}])
def test_a_state_of_other_types_is_refused_in_one_line(make_moment, kept, key, value):
    saved = kept(make_moment()) | {key: value}
    with pytest.raises(UserError, match=r"the checkpoint (holds|does not fit)|started with another"):
        make_moment().restore(saved)
    with pytest.raises(UserError, match="the checkpoint holds"):
        make_moment().restore([saved])


@pytest.mark.parametrize(("counter", "value"), [("step", -1), ("step", "x"), ("faults", 3), ("best", [])])
def test_a_counter_that_counts_nothing_is_refused_by_its_name(make_moment, kept, counter, value):
    saved = kept(make_moment())
    saved["state"][counter] = value
    with pytest.raises(UserError, match=f"does not fit this run: .*{counter}"):
        make_moment().restore(saved)


def test_weights_with_nan_are_not_continued(make_moment, kept):
    saved = kept(make_moment())
    saved["module"]["weight"].fill_(torch.nan)
    with pytest.raises(UserError, match="does not fit this run: weight holds NaN"):
        make_moment().restore(saved)


def draw():
    """A few numbers of every generator; an odd count leaves a cached Gaussian behind."""
    gauss = [random.gauss(0, 1) for _ in range(3)]
    return gauss, random.random(), np.random.randn(3).tolist(), torch.randn(3).tolist()  # noqa: NPY002


def test_every_random_generator_continues_where_it_was(tmp_path):
    draw()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"random": random_states()})
    expected = draw()
    draw()
    restore_random_states(checkpoints.load()["random"])
    assert draw() == expected
