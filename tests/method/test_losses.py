import math
import runpy
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from distill.method import LOSSES, attentive_kd_loss, silog_loss

golden = runpy.run_path(str(Path(__file__).parents[1] / "evaluation/reference/golden_inputs.py"))


@pytest.fixture
def depth():
    return 1 + 40 * torch.rand(2, 1, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def gaps(*values):
    """pred and target whose log-difference is `values`, all valid."""
    g = torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)
    return 5 * g.exp(), torch.full_like(g, 5.0), torch.ones_like(g, dtype=torch.bool)


# -------------------------------------------------------------------------------------------------------- silog, values


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 2.08646997523),  # BTS, NeWCRFs
        ({"alpha": 1.0, "lam": 0.5}, 0.20991224330),  # Depth-Anything-V2
        ({"alpha": 1.0, "lam": 0.5, "sqrt": False}, 0.0440631499),  # Eigen
    ],
)
def test_public_implementations_give_the_same_value(options, expected):
    pred, target, mask = (torch.from_numpy(a) for a in golden["loss_tensors"](1, (2, 1, 12, 16), 0.6))
    assert silog_loss(pred, target, mask, **options).item() == pytest.approx(expected, rel=1e-9)
    assert silog_loss(pred.float(), target.float(), mask, **options).item() == pytest.approx(expected, rel=1e-5)


def test_values_by_hand():
    # gaps 1 and 3: the mean is 2, the mean square 5
    assert silog_loss(*gaps(1, 3)).item() == pytest.approx(10 * math.sqrt(5 - 0.85 * 4))
    assert silog_loss(*gaps(1, 3), alpha=2.0, lam=0.5).item() == pytest.approx(2 * math.sqrt(5 - 0.5 * 4))
    assert LOSSES["eigen"](*gaps(1, 3)).item() == pytest.approx(5 - 0.5 * 4)


def test_a_global_scale_is_forgiven_by_lam_1_and_charged_by_less(depth):
    pred, valid = depth.flip(-1), depth > 0
    assert_close(silog_loss(3 * pred, depth, valid, lam=1.0), silog_loss(pred, depth, valid, lam=1.0))
    assert silog_loss(3 * depth, depth, valid, lam=1.0) < 1e-4
    assert silog_loss(3 * depth, depth, valid).item() == pytest.approx(10 * math.log(3) * math.sqrt(0.15))


def test_it_is_one_value_over_the_pixels_of_the_batch():
    pred, target, valid = gaps(1, 3)
    assert_close(
        silog_loss(pred.view(2, 1, 1, 1), target.view(2, 1, 1, 1), valid.view(2, 1, 1, 1)),
        silog_loss(pred, target, valid),
    )


@pytest.mark.parametrize("sqrt", [True, False])
def test_gradients_are_those_of_the_formula(depth, sqrt):
    pred, valid = depth.flip(-1).requires_grad_(), depth > 10
    assert torch.autograd.gradcheck(lambda p: silog_loss(p, depth, valid, sqrt=sqrt), pred)


# --------------------------------------------------------------------------------------------------------- silog, edges


@pytest.mark.parametrize("junk", [0.0, -1.0, math.nan, math.inf])
def test_what_stands_at_invalid_pixels_does_not_matter(depth, junk):
    valid = depth > 10
    clean, spoilt = depth.flip(-1).requires_grad_(), torch.where(valid, depth.flip(-1), junk).requires_grad_()
    expected = silog_loss(clean[valid], depth[valid], valid[valid], min_depth=2.0)
    loss = silog_loss(spoilt, torch.where(valid, depth, junk), valid, min_depth=2.0)
    expected.backward()
    loss.backward()
    assert_close(loss, expected)
    assert_close(spoilt.grad, clean.grad)


@pytest.mark.parametrize("name", LOSSES)
def test_an_empty_mask_gives_about_0_and_no_gradient(depth, name):
    pred = (2 * depth).requires_grad_()
    loss = LOSSES[name](pred, torch.zeros_like(depth), torch.zeros_like(depth, dtype=torch.bool))
    loss.backward()
    assert abs(loss.item()) < 1e-4
    assert not pred.grad.any()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_perfect_prediction_gives_about_0_and_a_finite_gradient(depth, name, dtype):
    pred = depth.to(dtype).requires_grad_()
    loss = LOSSES[name](pred, depth.to(dtype), depth > 0)
    loss.backward()
    assert abs(loss.item()) < 1e-4
    assert torch.isfinite(pred.grad).all()


def test_a_scaled_prediction_under_lam_1_has_a_finite_gradient(depth):
    pred = (2 * depth).float().requires_grad_()
    silog_loss(pred, depth.float(), depth > 0, lam=1.0).backward()
    assert torch.isfinite(pred.grad).all()


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-9])
def test_predictions_below_the_least_depth_count_as_it(depth, value):
    pred = depth.flip(-1).clone()
    pred[0, 0, 0, 0] = value
    floored = pred.clone()
    floored[0, 0, 0, 0] = 1e-3
    loss = silog_loss(pred.requires_grad_(), depth, depth > 0)
    loss.backward()
    assert_close(loss, silog_loss(floored, depth, depth > 0))
    assert torch.isfinite(pred.grad).all()


# --------------------------------------------------------------------------------------------------------- silog, types


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_are_computed_in_float32(depth, dtype):
    pred, target = depth.flip(-1).to(dtype), depth.to(dtype)
    loss = silog_loss(pred, target, depth > 0)
    assert loss.dtype == torch.float32
    assert_close(loss, silog_loss(pred.float(), target.float(), depth > 0))


def test_autocast_does_not_lower_the_precision(depth):
    pred, target, valid = depth.flip(-1).float(), depth.float(), depth > 0
    with torch.autocast("cpu", torch.bfloat16):
        loss = silog_loss(pred, target, valid)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, silog_loss(pred, target, valid))


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_shapes_that_differ_are_refused(depth, broken):
    inputs = [depth, depth, depth > 0]
    inputs[broken] = inputs[broken][:, 0]
    with pytest.raises(ValueError, match=r"pred, target and valid must share one shape, got \[\(2, "):
        silog_loss(*inputs)


# --------------------------------------------------------------------------------------------------------- attentive kd


def maps(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 2)


def test_attentive_kd_by_hand():
    f, z = maps(3, 1), maps(1, 4)  # squared gaps 4 and 9
    assert attentive_kd_loss(f, z).item() == pytest.approx((4 + 9) / 2)
    attention = torch.tensor([1.5, 0.5]).view(1, 1, 1, 2)
    assert attentive_kd_loss(f, z, attention).item() == pytest.approx((1.5**2 * 4 + 0.5**2 * 9) / 2)


def test_only_the_student_learns_from_it():
    f, z = maps(3, 1).requires_grad_(), maps(1, 4).requires_grad_()
    attention = torch.tensor([1.5, 0.5]).view(1, 1, 1, 2).requires_grad_()
    attentive_kd_loss(f, z, attention).backward()
    assert z.grad is None
    assert attention.grad is None
    assert_close(f.grad.flatten(), torch.tensor([1.5**2 * 2, 0.5**2 * -3]))  # 2 A^2 (F - Z) / n


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_distance_of_half_precision_maps_does_not_overflow(dtype):
    loss = attentive_kd_loss(maps(600, 0).to(dtype), maps(0, 0).to(dtype), torch.ones(1, 1, 1, 2, dtype=dtype))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(600**2 / 2)


def test_maps_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"features are \(1, 1, 1, 2\), acclimated \(1, 2, 1, 2\): they must be equal"):
        attentive_kd_loss(maps(1, 2), maps(1, 2, 3, 4))


def test_normalised_distillation_is_2_minus_twice_the_correlation():
    generator = torch.Generator().manual_seed(0)
    f, z = (torch.randn(3, 2, 5, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    rows = [torch.stack([x[:, c].flatten() for x in (f, z)]) for c in range(2)]
    expected = 2 - 2 * sum(torch.corrcoef(pair)[0, 1] for pair in rows) / 2
    assert attentive_kd_loss(f, z, normalise=True).item() == pytest.approx(expected.item(), rel=1e-3)
