import itertools
import os
import signal

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from distill.data import Batch
from distill.engine.loop import MAX_SKIPPED, LoopSettings, Parts, TrainState, run_step, train, valid_pixels
from distill.errors import Interrupted, UserError
from distill.method import StepResult

# A first step that is skipped moves the schedule before the optimizer, which is meant.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")


class Affine(nn.Module):
    """depth = a * image + b with a mean squared error over valid pixels, and another over images."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(0.1))

    def forward(self, image, depth, valid, guide, step):
        gap = self.a * image[:, :1] + self.b - depth
        return StepResult(gap[valid].square().mean(), guide * gap.square().mean(), {"task": gap.detach().mean()})


class Normed(Affine):
    """The same behind a BatchNorm, whose statistics move in the forward pass."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, image, depth, valid, guide, step):
        return super().forward(self.norm(image), depth, valid, guide, step)


class Recorder:
    """A tracker that only remembers."""

    def __init__(self):
        self.records, self.watched = [], []

    def log(self, kind, step, values):
        self.records.append((kind, step, values))


@pytest.fixture
def make_parts():
    """make_parts(module, lr): the objects of a run on the CPU, whose calls are listed in `parts.calls`."""

    def make(module=None, lr=0.1, guide=0.5):
        accelerator = Accelerator()
        module = module or Affine()
        optimizer = torch.optim.AdamW(module.parameters(), lr=lr)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 10)
        module, optimizer = accelerator.prepare(module, optimizer)
        calls, tracker = [], Recorder()
        return Parts(
            accelerator,
            module,
            guide if callable(guide) else lambda batch: guide,
            optimizer,
            schedule,
            save=lambda: calls.append("save"),
            validate=lambda: calls.append("validate"),
            tracker=tracker,
            watch=tracker.watched.append,
        ), calls

    return make


def make_batch(count=4, seed=0, faults=()):
    """Random images and depth; image i has i + 1 valid pixels."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(count, 3, 4, 6, generator=generator)
    depth = torch.rand(count, 1, 4, 6, generator=generator)
    valid = torch.arange(24).view(1, 1, 4, 6) < torch.arange(1, count + 1).view(-1, 1, 1, 1)
    return Batch(image, depth, valid, tuple(f"{seed}/{i}" for i in range(count)), faults)


def split(batch, size):
    parts = [torch.split(tensor, size) for tensor in (batch.image, batch.depth, batch.valid)]
    return [Batch(*tensors, batch.names[:size]) for tensors in zip(*parts, strict=True)]


def spoilt(batch):
    batch.image[0, 0, 0, 0] = float("nan")
    return batch


def weights(parts):
    return {key: value.clone() for key, value in parts.module.state_dict().items()}


@pytest.mark.parametrize("size", [1, 2])
def test_micro_batches_step_as_the_whole_batch_does(make_parts, size):
    whole, parts = make_parts()[0], make_parts()[0]
    expected, _ = run_step(whole, [make_batch()], LoopSettings(10, 1), TrainState())
    values, _ = run_step(parts, split(make_batch(), size), LoopSettings(10, 1, 4 // size), TrainState())
    assert values["grad_norm"].item() == pytest.approx(expected["grad_norm"].item(), rel=1e-6)
    for key, value in weights(whole).items():
        assert torch.allclose(weights(parts)[key], value, rtol=1e-6), key


def test_an_image_without_truth_weighs_as_much_as_one_that_is_all_known():
    valid = torch.zeros(3, 1, 4, 6, dtype=torch.bool)
    valid[0, 0, 0, :5] = True
    valid[1] = True
    assert valid_pixels(valid) == 5 + 24 + 24


def test_the_loop_lowers_the_loss_and_ends_at_its_last_step(make_parts):
    parts, _ = make_parts()
    state = TrainState()
    train(parts, itertools.repeat(make_batch()), LoopSettings(30, 1, log_every=1), state)
    losses = [values["loss"] for _, _, values in parts.tracker.records]
    assert state.step == 30
    assert losses[-1] < 0.7 * losses[0]


def test_records_validations_and_checkpoints_come_when_due_and_at_the_end(make_parts):
    parts, calls = make_parts()
    settings = LoopSettings(5, 2, log_every=2, validate_every=3, checkpoint_every=4)
    train(parts, itertools.repeat(make_batch()), settings, TrainState())
    assert [step for _, step, _ in parts.tracker.records] == [2, 4, 5]
    assert calls == ["validate", "save", "validate", "save"]  # at steps 3, 4, 5, 5
    assert parts.tracker.records[-1][2]["epoch"] == 2.5
    assert parts.tracker.watched == [record for _, _, record in parts.tracker.records]
    assert {"loss", "task", "grad_norm", "lr", "images_per_second"} <= parts.tracker.records[-1][2].keys()


def test_a_checkpoint_is_written_when_the_last_is_old(make_parts):
    parts, calls = make_parts()
    train(parts, itertools.repeat(make_batch()), LoopSettings(3, 1, checkpoint_minutes=1e-9), TrainState())
    assert calls == ["save"] * 3


def test_a_finished_run_does_nothing_more(make_parts):
    parts, calls = make_parts()
    train(parts, [], LoopSettings(5, 1), TrainState(step=5))
    assert calls == []


def test_nothing_moves_in_a_step_without_a_finite_gradient(make_parts):
    parts, _ = make_parts(Normed())
    state, settings = TrainState(), LoopSettings(10, 1)
    run_step(parts, [make_batch()], settings, state)
    before = weights(parts)
    moments = [value.clone() for entry in parts.optimizer.state.values() for value in entry.values()]
    values, moved = run_step(parts, [spoilt(make_batch())], settings, state)
    assert not moved
    assert not torch.isfinite(values["loss"])
    assert state.skipped == 1
    for key, value in weights(parts).items():
        assert torch.equal(value, before[key]), key
    after = [value for entry in parts.optimizer.state.values() for value in entry.values()]
    assert all(torch.equal(one, other) for one, other in zip(after, moments, strict=True))


def test_one_bad_micro_batch_spoils_its_step_only(make_parts):
    parts, _ = make_parts()
    before, state = weights(parts), TrainState()
    bad = [make_batch(2), spoilt(make_batch(2))]
    assert not run_step(parts, bad, LoopSettings(10, 1, 2), state)[1]
    assert all(torch.equal(value, before[key]) for key, value in weights(parts).items())
    assert run_step(parts, [make_batch(2)] * 2, LoopSettings(10, 1, 2), state)[1]
    assert all(torch.isfinite(value).all() for value in weights(parts).values())


def test_a_run_gives_up_after_too_many_useless_steps_in_a_row(make_parts):
    parts, _ = make_parts()
    before, state = weights(parts), TrainState()
    with pytest.raises(UserError, match=rf"{MAX_SKIPPED} steps in a row up to step {MAX_SKIPPED} .*Lower optim.lr"):
        train(parts, itertools.repeat(spoilt(make_batch())), LoopSettings(100, 1), state)
    assert all(torch.equal(value, before[key]) for key, value in weights(parts).items())


def test_useless_steps_in_between_are_counted_and_survived(make_parts):
    parts, _ = make_parts()
    state = TrainState()
    batches = [spoilt(make_batch()) if i % MAX_SKIPPED else make_batch() for i in range(3 * MAX_SKIPPED)]
    train(parts, batches, LoopSettings(len(batches), 1), state)
    assert state.skipped == 3 * (MAX_SKIPPED - 1)


def test_a_long_gradient_is_cut(make_parts):
    parts, _ = make_parts()
    moved = []
    inner = parts.optimizer.optimizer
    inner.register_step_pre_hook(lambda *_: moved.extend(p.grad.clone() for p in parts.module.parameters()))
    values, _ = run_step(parts, [make_batch()], LoopSettings(10, 1, clip=1e-3), TrainState())
    assert values["grad_norm"] > 1e-2  # the norm before it was cut
    assert torch.stack(moved).norm().item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_after_its_step_with_the_state_saved(make_parts, number, code):
    def guide(batch):
        if batch.names[0].startswith("2/"):
            os.kill(os.getpid(), number)
        return 0.5

    parts, calls = make_parts(guide=guide)
    state = TrainState()
    with pytest.raises(Interrupted, match=signal.Signals(number).name) as stopped:
        train(parts, (make_batch(seed=step) for step in range(1, 9)), LoopSettings(8, 1), state)
    assert (stopped.value.code, state.step, calls) == (code, 2, ["save"])


def test_a_signal_in_the_last_step_lets_the_run_finish(make_parts):
    parts, calls = make_parts(guide=lambda batch: os.kill(os.getpid(), signal.SIGTERM) or 0.5)
    train(parts, [make_batch()], LoopSettings(1, 1), TrainState())
    assert calls == ["save"]


def test_unreadable_samples_are_counted_once_each_and_end_the_run_when_too_many(make_parts):
    parts, _ = make_parts()
    state = TrainState()
    batches = [make_batch(faults=("a.png",)), make_batch(faults=("a.png", "b.png")), make_batch(faults=("c.png",))]
    with pytest.raises(UserError, match=r"^3 samples .* the first: a.png, b.png, c.png; repair or remove them"):
        train(parts, batches, LoopSettings(9, 1, max_faults=2), state)
    assert state.step == 3
