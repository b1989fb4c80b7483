import itertools
import math

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from timm.utils import ModelEmaV3

from distill.data import Batch
from distill.engine.step import run_step

# A first step that is skipped moves the schedule before the optimizer, which is meant.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")


def split(batch, size):
    parts = [torch.split(tensor, size) for tensor in (batch.image, batch.depth, batch.valid)]
    return [Batch(*tensors, batch.names[:size]) for tensors in zip(*parts, strict=True)]


@pytest.mark.parametrize("size", [1, 2])
def test_micro_batches_step_as_the_whole_batch_does(make_learner, make_batch, weights_of, size):
    whole, parts = make_learner(), make_learner()
    expected, _ = run_step(whole, [make_batch()], 0)
    values, _ = run_step(parts, split(make_batch(), size), 0)
    assert values["grad_norm"].item() == pytest.approx(expected["grad_norm"].item(), rel=1e-6)
    for key, value in weights_of(whole).items():
        assert torch.allclose(weights_of(parts)[key], value, rtol=1e-6), key


def test_the_loss_over_pixels_is_weighted_by_those_that_count(make_learner, make_batch, weights_of):
    first, whole = make_learner(guide=0.0), make_learner(guide=0.0)
    first.method.counted = lambda valid, *taught: valid.sum() == 1  # those of the first image, and of no other
    parts = split(make_batch(2), 1)
    run_step(first, parts, 0)
    run_step(whole, parts[:1], 0)
    assert all(torch.equal(value, weights_of(first)[key]) for key, value in weights_of(whole).items())


def test_nothing_moves_in_a_step_without_a_finite_gradient(make_learner, models, make_batch, spoilt, weights_of):
    learner = make_learner(models.normed())
    run_step(learner, [make_batch()], 0)
    before = weights_of(learner)
    moments = [value.clone() for entry in learner.optimizer.state.values() for value in entry.values()]
    values, moved = run_step(learner, [spoilt()], 1)
    assert not any(moved)
    assert not torch.isfinite(values["loss"])
    for key, value in weights_of(learner).items():
        assert torch.equal(value, before[key]), key
    after = [value for entry in learner.optimizer.state.values() for value in entry.values()]
    assert all(torch.equal(one, other) for one, other in zip(after, moments, strict=True))


def test_the_average_follows_steps_that_move_the_student(make_learner, models, make_batch, spoilt):
    learner = make_learner(models.normed())
    learner.method.student = learner.method.norm
    learner.average = ModelEmaV3(learner.method.norm, decay=0.5, use_warmup=True).train()
    values = []
    for step in range(3):
        run_step(learner, [make_batch(seed=step)], step)
        values.append({key: value.clone() for key, value in learner.method.norm.state_dict().items()})
    run_step(learner, [spoilt()], 3)
    shares = 2 ** (-2 / 3), 0.5  # of the second and third step: decay is 1 - n^(-2/3), and no more than 0.5
    for key in ("weight", "running_mean", "running_var"):
        expected = values[0][key]
        for share, value in zip(shares, values[1:], strict=True):
            expected = expected + share * (value[key] - expected)
        assert torch.allclose(learner.average.module.state_dict()[key], expected, rtol=1e-6), key
    assert learner.average.module.num_batches_tracked == 3


def test_a_loss_that_is_no_number_makes_its_gradient_so_and_moves_nothing(make_learner, make_batch, weights_of):
    learner = make_learner()
    learner.module.register_forward_hook(
        lambda *options: setattr(options[-1], "pixel_loss", options[-1].pixel_loss + 1e39)
    )
    before = weights_of(learner)
    values, moved = run_step(learner, [make_batch()], 0)
    assert not any(moved)
    assert not torch.isfinite(values["grad_norm"])  # which is what other processes learn of it
    assert all(torch.equal(value, before[key]) for key, value in weights_of(learner).items())


def test_one_bad_micro_batch_spoils_its_step_only(make_learner, make_batch, spoilt, weights_of):
    learner = make_learner()
    before = weights_of(learner)
    assert not any(run_step(learner, [make_batch(2), spoilt(2)], 0)[1])
    assert all(torch.equal(value, before[key]) for key, value in weights_of(learner).items())
    assert all(run_step(learner, [make_batch(2)] * 2, 1)[1])
    assert all(torch.isfinite(value).all() for value in weights_of(learner).values())


@pytest.fixture
def with_scaler(monkeypatch):
    """with_scaler(learner): as under fp16, which Accelerate refuses on a CPU and PyTorch does not; the scaler."""

    def prepare(learner):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        monkeypatch.setattr(Accelerator, "mixed_precision", "fp16")
        learner.accelerator.native_amp, learner.accelerator.scaler = True, scaler
        learner.optimizer = AcceleratedOptimizer(learner.optimizer.optimizer, device_placement=False, scaler=scaler)
        learner.accelerator._optimizers = [learner.optimizer]
        return scaler

    return prepare


def test_a_scaler_of_losses_learns_from_a_step_that_is_skipped(
    make_learner, make_batch, spoilt, weights_of, with_scaler
):
    learner = make_learner()
    scaler = with_scaler(learner)
    assert all(run_step(learner, [make_batch()], 0)[1])
    before = weights_of(learner)
    assert not any(run_step(learner, [spoilt()], 1)[1])
    assert scaler.get_scale() == 512.0
    assert all(torch.equal(value, before[key]) for key, value in weights_of(learner).items())
    assert all(run_step(learner, [make_batch()], 2)[1])


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("strength", [math.nan, math.inf])
def test_the_student_learns_on_where_acclimation_cannot(
    make_learner, models, make_batch, weights_of, with_scaler, scaled, strength
):
    learner, sound = make_learner(models.acclimated(), clip=0.1), make_learner(clip=0.1)
    learner.method.strength = strength
    scaler = with_scaler(learner) if scaled else None
    values, moved = run_step(learner, [make_batch()], 0)
    run_step(sound, [make_batch()], 0)
    assert moved == (True, False)
    assert not torch.isfinite(values["loss"])
    after = weights_of(learner)
    assert after.pop("fam") == 3.0
    assert all(torch.allclose(value, weights_of(sound)[key], rtol=1e-6) for key, value in after.items())
    assert scaler is None or scaler.get_scale() == 512.0


def test_acclimation_learns_on_where_the_student_cannot(make_learner, models, make_batch, spoilt, weights_of):
    learner = make_learner(models.acclimated())
    before = weights_of(learner)
    assert run_step(learner, [spoilt()], 0)[1] == (False, True)
    after = weights_of(learner)
    assert after["fam"] < before["fam"]
    assert (after["a"], after["b"]) == (before["a"], before["b"])


def test_each_part_is_clipped_by_its_own_gradient(make_learner, models, make_batch):
    gradients = {}
    for strength in (1.0, 1e6):
        learner = make_learner(models.acclimated(), clip=0.1)
        learner.method.strength = strength
        learner.optimizer.optimizer.register_step_pre_hook(
            lambda *_, to=strength, of=learner: gradients.update(
                {to: {key: value.grad.clone() for key, value in of.module.named_parameters()}}
            )
        )
        values, _ = run_step(learner, [make_batch()], 0)
        assert values["grad_norm_fam"] == pytest.approx(6 * strength)
    assert gradients[1.0]["a"] == gradients[1e6]["a"]
    assert gradients[1e6]["fam"].item() == pytest.approx(0.1, rel=1e-3)


def test_a_step_that_fails_midway_leaves_the_state_of_before(make_learner, models, make_batch, weights_of):
    def guide(image):
        if next(asked) == 2:
            raise MemoryError
        return 0.5

    asked = itertools.count()
    learner = make_learner(models.normed(), guide=guide)
    run_step(learner, [make_batch()], 0)
    before = weights_of(learner)
    with pytest.raises(MemoryError):
        run_step(learner, [make_batch(), make_batch()], 1)
    assert all(torch.equal(value, before[key]) for key, value in weights_of(learner).items())
    assert all(parameter.grad is None for parameter in learner.module.parameters())


def test_a_long_gradient_is_cut(make_learner, make_batch):
    learner = make_learner(clip=1e-3)
    moved = []
    inner = learner.optimizer.optimizer
    inner.register_step_pre_hook(lambda *_: moved.extend(p.grad.clone() for p in learner.module.parameters()))
    values, _ = run_step(learner, [make_batch()], 0)
    assert values["grad_norm"] > 1e-2  # the norm before it was cut
    assert torch.stack(moved).norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_what_a_network_draws_depends_on_the_step_and_not_on_what_was_drawn_before(make_learner, models, make_batch):
    losses = []
    for step in (3, 3, 4):
        torch.rand(len(losses))
        losses.append(run_step(make_learner(models.drawing()), [make_batch()], step)[0]["loss"].item())
    assert losses[0] == losses[1] != losses[2]


def test_micro_batches_of_one_step_draw_differently(make_learner, models, make_batch):
    learner = make_learner(models.drawing())
    seen = []
    learner.module.register_forward_hook(lambda *options: seen.append(options[-1].pixel_loss.item()))
    run_step(learner, [make_batch()] * 2, 0)
    assert seen[0] != seen[1]
