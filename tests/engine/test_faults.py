import itertools
import json
import math

import pytest
import torch

from distill.engine.faults import MAX_USELESS, step_explained
from distill.engine.loop import LoopSettings, train
from distill.engine.state import TrainState
from distill.errors import UserError

# A first step that is skipped moves the schedule before the optimizer, which is meant.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")


def test_a_run_gives_up_after_too_many_useless_steps_in_a_row(make_parts, spoilt, weights_of):
    parts, _ = make_parts()
    before, state = weights_of(parts.learner), TrainState()
    with pytest.raises(UserError, match=rf"{MAX_USELESS} steps in a row up to step {MAX_USELESS} .*Lower optim.lr"):
        train(parts, itertools.repeat(spoilt()), LoopSettings(100, 1), state)
    assert all(torch.equal(value, before[key]) for key, value in weights_of(parts.learner).items())


def test_useless_steps_in_between_are_counted_and_survived(make_parts, make_batch, spoilt):
    parts, _ = make_parts()
    state = TrainState()
    batches = [spoilt() if i % MAX_USELESS else make_batch() for i in range(3 * MAX_USELESS)]
    train(parts, batches, LoopSettings(len(batches), 1), state)
    assert state.skipped == 3 * (MAX_USELESS - 1)


def test_a_useless_step_is_recorded_with_its_images_and_values(make_parts, make_batch, spoilt):
    parts, _ = make_parts()
    batches = [make_batch(), spoilt(2, seed=7), make_batch()]
    train(parts, batches, LoopSettings(3, 1), TrainState())
    (path,) = parts.faults.folder.iterdir()
    record = json.loads(path.read_text())
    assert path.name == "step-000000002.json"
    assert record["step"] == 2
    assert record["batch"] == [{"process": 0, "images": ["7/0", "7/1"]}]
    assert record["values"]["loss"] == "nan"
    assert float(record["values"]["lr"]) > 0


def test_a_step_without_acclimation_is_recorded_and_reported_once_but_not_skipped(
    make_parts, models, make_batch, capsys
):
    parts, _ = make_parts(models.acclimated())
    parts.learner.method.strength = math.nan
    state = TrainState()
    train(parts, itertools.repeat(make_batch()), LoopSettings(MAX_USELESS + 1, 1), state)
    assert (state.step, state.skipped, state.useless) == (MAX_USELESS + 1, 0, 0)
    assert len(list(parts.faults.folder.iterdir())) == MAX_USELESS + 1
    assert capsys.readouterr().err.count("FAM and LAM had no finite loss") == 1


def test_a_record_that_cannot_be_written_is_reported_and_stops_nothing(make_parts, make_batch, spoilt, capsys):
    parts, _ = make_parts()
    parts.faults.folder.write_text("in the way")
    state = TrainState()
    train(parts, [spoilt(), make_batch()], LoopSettings(2, 1), state)
    assert state.step == 2
    assert "fault of step 1 not recorded" in capsys.readouterr().err


def test_unreadable_samples_are_counted_once_each_and_end_the_run_when_too_many(make_parts, make_batch):
    parts, _ = make_parts(max_unreadable=2)
    state = TrainState()
    batches = [make_batch(faults=("a.png",)), make_batch(faults=("a.png", "b.png")), make_batch(faults=("c.png",))]
    with pytest.raises(UserError, match=r"^3 samples .* the first: a.png, b.png, c.png; repair or remove them"):
        train(parts, batches, LoopSettings(9, 1), state)
    assert state.step == 3


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
)
def test_out_of_memory_is_reported_with_what_to_try(make_batch, error):
    message = r"out of memory.* in step 3: 4 images of 4x6 in one pass are too many; try train\.micro_batch=2"
    with pytest.raises(UserError, match=message), step_explained(make_batch(4), 2):
        raise error


def test_a_run_that_has_no_memory_left_ends_in_words(make_parts, make_batch):
    def guide(batch):
        raise MemoryError

    parts, _ = make_parts(guide=guide)
    with pytest.raises(UserError, match="out of memory in step 1: 4 images of 4x6 in one pass are too many"):
        train(parts, [make_batch()], LoopSettings(1, 1), TrainState())


def test_one_image_cannot_be_split(make_batch):
    with pytest.raises(UserError, match=r"try train.precision=bf16, or a"), step_explained(make_batch(1), 0):
        raise MemoryError


def test_another_error_stays_what_it_is(make_batch):
    with pytest.raises(RuntimeError, match="shapes differ"), step_explained(make_batch(), 0):
        raise RuntimeError("shapes differ")
