import itertools
import os
import signal

import pytest
import torch
from accelerate import Accelerator

from distill.engine.loop import LoopSettings, train
from distill.engine.state import TrainState
from distill.errors import Interrupted, UserError

COLLECTIVES = ("all_reduce", "all_gather_into_tensor", "all_gather_object", "broadcast", "broadcast_object_list")


def test_the_loop_lowers_the_loss_and_ends_at_its_last_step(make_parts, make_batch):
    parts, _ = make_parts()
    state = TrainState()
    train(parts, itertools.repeat(make_batch()), LoopSettings(30, 1, log_every=1), state)
    losses = [values["loss"] for _, _, values in parts.tracker.records]
    assert state.step == 30
    assert losses[-1] < 0.7 * losses[0]


def test_records_validations_and_checkpoints_come_when_due_and_at_the_end(make_parts, make_batch):
    parts, calls = make_parts()
    settings = LoopSettings(5, 2, log_every=2, validate_every=3, checkpoint_every=4)
    train(parts, itertools.repeat(make_batch()), settings, TrainState())
    assert [step for _, step, _ in parts.tracker.records] == [2, 4, 5]
    assert calls == ["validate", "save", "validate", "save"]  # at steps 3, 4, 5, 5
    assert parts.tracker.records[-1][2]["epoch"] == 2.5
    assert parts.tracker.watched == [record for _, _, record in parts.tracker.records]
    assert {"loss", "task", "grad_norm", "lr", "images_per_second"} <= parts.tracker.records[-1][2].keys()


def test_a_checkpoint_is_written_when_the_last_is_old(make_parts, make_batch):
    parts, calls = make_parts()
    train(parts, itertools.repeat(make_batch()), LoopSettings(3, 1, checkpoint_minutes=1e-9), TrainState())
    assert calls == ["save"] * 3


def test_a_clock_that_is_set_while_a_run_goes_on_changes_nothing(make_parts, make_batch, monkeypatch):
    jumps = itertools.cycle([1e9, 0.0, 2e9])
    monkeypatch.setattr("time.time", lambda: next(jumps))
    parts, calls = make_parts()
    train(parts, itertools.repeat(make_batch()), LoopSettings(3, 1, log_every=1), TrainState())
    assert calls == ["save"]
    assert all(values["images_per_second"] > 0 for _, _, values in parts.tracker.records)


def test_processes_meet_once_a_step(make_parts, make_batch, monkeypatch):
    met = []

    def all_gather(everyone, mine):  # of another process, which has twice the pixels
        met.append(mine)
        for place, one in enumerate(everyone):
            one.copy_(mine)
            one[-1] *= place + 1

    parts, _ = make_parts(guide=0.0)
    batch = make_batch()
    whole = parts.learner.module(batch.image, batch.depth, batch.valid, 0.0, 0).pixel_loss
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    for name in COLLECTIVES:
        monkeypatch.setattr(torch.distributed, name, lambda *_, name=name, **__: pytest.fail(f"{name} in a step"))
    monkeypatch.setattr(torch.distributed, "all_gather", all_gather)
    losses, backward = [], Accelerator.backward
    monkeypatch.setattr(Accelerator, "backward", lambda self, loss: losses.append(loss.item()) or backward(self, loss))
    train(parts, itertools.repeat(batch), LoopSettings(3, 1, log_every=9), state := TrainState())
    assert (state.step, len(met)) == (3, 4)  # before each step, and at the end
    assert losses[0] == pytest.approx(2 / 3 * whole.item(), rel=1e-6)  # 10 pixels of 30, times two processes


def test_a_finished_run_does_nothing_more(make_parts):
    parts, calls = make_parts()
    train(parts, [], LoopSettings(5, 1), TrainState(step=5))
    assert calls == []


def signalling(number, at):
    """A guide that sends a signal to this process while it works on a step, counted from 1."""
    asked = itertools.count(1)
    return lambda image: os.kill(os.getpid(), number) or 0.5 if next(asked) == at else 0.5


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("step", [2, 8])
def test_a_signal_ends_the_run_after_its_step_with_the_state_saved(make_parts, make_batch, number, code, step):
    parts, calls = make_parts(guide=signalling(number, step))
    state = TrainState()
    with pytest.raises(Interrupted, match=rf"{signal.Signals(number).name}; the state is saved") as stopped:
        train(parts, itertools.repeat(make_batch()), LoopSettings(8, 1), state)
    assert (stopped.value.code, state.step, calls) == (code, step, ["save"])


def test_a_state_that_could_not_be_saved_is_not_reported_as_saved(make_parts, make_batch):
    parts, _ = make_parts(guide=signalling(signal.SIGTERM, 1))
    parts.save = lambda: False
    with pytest.raises(Interrupted, match="the state could not be saved"):
        train(parts, itertools.repeat(make_batch()), LoopSettings(8, 1), TrainState())


def test_a_request_to_save_saves_once_and_the_run_goes_on(make_parts, make_batch):
    parts, calls = make_parts(guide=signalling(signal.SIGUSR1, 2))
    state = TrainState()
    train(parts, itertools.repeat(make_batch()), LoopSettings(4, 1), state)
    assert (state.step, calls) == (4, ["save", "save"])


def test_a_validation_that_a_signal_cut_short_is_due_again_when_the_run_goes_on(make_parts, make_batch):
    parts, calls = make_parts()
    state, settings = TrainState(), LoopSettings(4, 1, validate_every=2)

    def cut_short(interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupted()

    whole, parts.validate = parts.validate, cut_short
    with pytest.raises(Interrupted):
        train(parts, itertools.repeat(make_batch()), settings, state)
    assert (state.step, calls) == (2, ["save"])
    parts.validate = lambda interrupted: whole(interrupted) or setattr(state, "validated", state.step)
    train(parts, itertools.repeat(make_batch()), settings, state)
    assert calls == ["save", "validate", "validate", "save"]  # at steps 2, 2, 4, 4


# ------------------------------------------------------------------------------------------------ what ends a run early


def failing(make_batch, steps, error):
    """Batches of so many steps, and then a fault."""
    yield from [make_batch()] * steps
    raise error


def test_a_fault_of_the_data_ends_the_run_with_the_state_saved(make_parts, make_batch):
    parts, calls = make_parts()
    state = TrainState()
    with pytest.raises(UserError, match=r"no depth map\. The state of step 3 is saved: .*--resume"):
        train(parts, failing(make_batch, 3, UserError("x.png is no depth map")), LoopSettings(9, 1), state)
    assert (state.step, calls) == (3, ["save"])


def test_a_fault_before_the_first_step_has_nothing_to_save(make_parts, make_batch):
    parts, calls = make_parts()
    with pytest.raises(UserError, match=r"no depth map$"):
        train(parts, failing(make_batch, 0, UserError("x.png is no depth map")), LoopSettings(9, 1), TrainState())
    assert calls == []


def test_whatever_breaks_in_a_validation_ends_the_run_with_the_state_saved(make_parts, make_batch, capsys):
    def validate(interrupted):
        raise RuntimeError("shapes differ")

    parts, calls = make_parts()
    parts.validate = validate
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(parts, itertools.repeat(make_batch()), LoopSettings(9, 1, validate_every=4), TrainState())
    assert calls == ["save"]
    assert "The state of step 4 is saved" in capsys.readouterr().err


def test_what_could_not_be_saved_is_reported_as_that(make_parts, make_batch):
    parts, _ = make_parts()
    parts.save = lambda: False
    with pytest.raises(UserError, match="The state of step 3 could not be saved"):
        train(parts, failing(make_batch, 3, UserError("x.png is no depth map")), LoopSettings(9, 1), TrainState())


@pytest.mark.parametrize("attempts", [2, 1000])
def test_the_end_of_a_run_waits_for_room_as_long_as_its_steps_took(make_parts, make_batch, monkeypatch, attempts):
    clock, tries = itertools.count(), []
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    parts, _ = make_parts()
    parts.save = lambda: tries.append(1) or len(tries) > attempts
    saved = train(parts, itertools.repeat(make_batch()), LoopSettings(9, 1, checkpoint_minutes=1e9), TrainState())
    assert saved == (attempts == 2)
    assert 2 < len(tries) < 100


def test_a_signal_ends_the_waiting_for_room(make_parts, make_batch, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: os.kill(os.getpid(), signal.SIGTERM))
    parts, _ = make_parts()
    parts.save = lambda: False
    with pytest.raises(Interrupted, match="the state could not be saved"):
        train(parts, itertools.repeat(make_batch()), LoopSettings(2, 1), TrainState())
