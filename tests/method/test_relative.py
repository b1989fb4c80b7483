import math

import pytest
import torch
from torch.testing import assert_close

from distill.method import LOSSES, ssi_loss, ssi_trim_loss
from distill.method.relative import gradient_matching, standardise, trimmed_error

RELATIVE = ("ssi", "ssi_trim", "midas")


@pytest.fixture
def depth():
    return 1 + 40 * torch.rand(2, 1, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def row(*values):
    """One image of a single row, all valid: values and mask."""
    x = torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)
    return x, torch.ones_like(x, dtype=torch.bool)


# ------------------------------------------------------------------------------------------------------- all the losses


@pytest.mark.parametrize("name", RELATIVE)
def test_scale_and_shift_of_the_inverse_prediction_do_not_matter(depth, name):
    pred, valid = depth.flip(-1), depth > 10
    scale, shift = torch.tensor([[2.0, 0.5], [0.1, 3.0]]).view(2, 2, 1, 1, 1)  # another of each image
    assert_close(LOSSES[name](1 / (scale / pred + shift), depth, valid), LOSSES[name](pred, depth, valid))


@pytest.mark.parametrize("name", ["ssi_trim", "midas"])
def test_the_reversed_order_of_depth_is_charged_by_the_robust_losses(depth, name):
    valid = depth > 0
    reversed_order = LOSSES[name](1 / (2 - 1 / depth), depth, valid)
    assert reversed_order > LOSSES[name](depth.flip(-1), depth, valid)


def test_the_reversed_order_of_depth_is_forgiven_by_least_squares(depth):
    assert ssi_loss(1 / (2 - 1 / depth), depth, depth > 0) < 1e-12


@pytest.mark.parametrize("name", RELATIVE)
def test_gradients_are_those_of_the_formula(depth, name):
    pred, valid = depth.flip(-1).requires_grad_(), depth > 10
    assert torch.autograd.gradcheck(lambda p: LOSSES[name](p, depth, valid), pred)


@pytest.mark.parametrize("name", RELATIVE)
@pytest.mark.parametrize("junk", [0.0, -1.0, math.nan, math.inf])
def test_invalid_pixels_neither_count_nor_get_a_gradient(depth, name, junk):
    valid = depth > 10
    clean, spoilt = depth.flip(-1).requires_grad_(), torch.where(valid, depth.flip(-1), junk).requires_grad_()
    expected = LOSSES[name](clean, depth, valid)
    loss = LOSSES[name](spoilt, torch.where(valid, depth, junk), valid)
    expected.backward()
    loss.backward()
    assert_close(loss, expected)
    assert_close(spoilt.grad, clean.grad)
    assert not spoilt.grad[~valid].any()
    assert spoilt.grad[valid].any()


@pytest.mark.parametrize("name", RELATIVE)
def test_an_image_without_a_valid_pixel_changes_nothing(depth, name):
    valid = depth > 10
    pred, alone = depth.flip(-1).requires_grad_(), LOSSES[name](depth.flip(-1)[:1], depth[:1], valid[:1])
    valid[1] = False
    loss = LOSSES[name](pred, depth, valid)
    loss.backward()
    assert_close(loss, alone)
    assert not pred.grad[1].any()


@pytest.mark.parametrize("name", RELATIVE)
@pytest.mark.parametrize("flat", ["pred", "target"])
def test_a_flat_map_has_a_finite_loss_and_gradient(depth, name, flat):
    wall = torch.full_like(depth, 5.0).float()
    pred, target = (wall, depth.float()) if flat == "pred" else (depth.float(), wall)
    loss = LOSSES[name](pred.requires_grad_(), target, depth > 10)
    loss.backward()
    assert loss.isfinite()
    assert pred.grad.abs().max() < 1e3


@pytest.mark.parametrize("name", RELATIVE)
def test_one_valid_pixel_says_nothing(depth, name):
    valid = torch.zeros_like(depth, dtype=torch.bool)
    valid[0, 0, 2, 3] = True
    assert LOSSES[name](depth.flip(-1), depth, valid) == 0


@pytest.mark.parametrize("name", RELATIVE)
def test_half_precision_is_computed_in_float32(depth, name):
    pred, target, valid = depth.flip(-1).half(), depth.half(), depth > 10
    with torch.autocast("cpu", torch.bfloat16):
        loss = LOSSES[name](pred, target, valid)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, LOSSES[name](pred.float(), target.float(), valid))


@pytest.mark.parametrize("name", RELATIVE)
def test_shapes_that_differ_are_refused(depth, name):
    with pytest.raises(ValueError, match="pred, target and valid must share one shape"):
        LOSSES[name](depth, depth[:1], depth > 0)


def test_a_nan_that_counts_is_not_trimmed_away(depth):
    pred = depth.flip(-1).clone()
    pred[0, 0, 0, 0] = math.nan
    assert ssi_trim_loss(pred, depth, depth > 0).isnan()


# -------------------------------------------------------------------------------------------------------- least squares


def test_ssi_by_hand():
    # inverse depths x = 0, 1, 2 and y = 2, 2, 5 (shifted by 1): the fit 1.5 x + 1.5 leaves -0.5, 1, -0.5
    x, valid = row(1, 2, 3)
    y, _ = row(3, 3, 6)
    assert ssi_loss(1 / x, 1 / y, valid).item() == pytest.approx((0.25 + 1 + 0.25) / (2 * 3))


# ------------------------------------------------------------------------------------------------- median and deviation


def test_standardising_passes_over_invalid_pixels():
    x, valid = row(1, 2, 100, 3, math.nan, 4, 9)
    valid[..., [2, 4]] = False
    assert_close(standardise(x, valid), row(-1, -0.5, 0, 0, 0, 0.5, 3)[0])


def test_the_median_of_an_even_number_is_the_lower_one():
    x, valid = row(4, 1, 3, 2)  # median 2, deviations 2, 1, 1, 0
    assert_close(standardise(x, valid), row(2, -1, 1, 0)[0])


def test_the_largest_fifth_of_each_image_does_not_matter():
    gap = torch.arange(1.0, 21.0).view(2, 1, 2, 5)
    valid = torch.ones_like(gap, dtype=torch.bool)
    wild = gap.clone()
    wild[0, 0, 1, 3:], wild[1, 0, 1, 3:] = 1e6, -1e6
    assert trimmed_error(wild, valid) == trimmed_error(gap, valid) == (sum(range(1, 9)) + sum(range(11, 19))) / 40
    wild[0, 0, 0, 0] = 1e6  # one more than a fifth
    assert trimmed_error(wild, valid) > 1e4


def test_outliers_of_the_truth_move_the_robust_loss_less_than_least_squares(depth):
    valid, truth = depth > 0, depth.clone()
    truth[..., 0, 0] = 0.05  # 20 / m where all else is below 1 / m
    pred = depth * (1 + 0.1 * torch.rand(depth.shape, generator=torch.Generator().manual_seed(1), dtype=depth.dtype))
    grown = {name: (LOSSES[name](pred, truth, valid) / LOSSES[name](pred, depth, valid)).item() for name in RELATIVE}
    assert grown["ssi"] > 100 * grown["ssi_trim"]


# ---------------------------------------------------------------------------------------------------- gradient matching


def test_gradient_matching_by_hand():
    gap = torch.tensor([[0.0, 1.0, 3.0], [0.0, 0.0, 0.0], [2.0, 2.0, 5.0]]).view(1, 1, 3, 3)
    valid = torch.ones_like(gap, dtype=torch.bool)
    full = (1 + 2 + 0 + 0 + 0 + 3) + (0 + 1 + 3 + 2 + 2 + 5)  # across, then down
    half = (3 + 3) + (2 + 2)  # of the corners; from the third level on one pixel is left
    assert gradient_matching(gap, valid).item() == pytest.approx(full / 9 + half / 4)


def test_a_difference_needs_both_neighbours():
    gap, valid = row(0, 1, 5, 6)
    valid[..., 2] = False
    # every pixel: 0-1 alone counts, of three valid; every second: 0 alone is valid; then one pixel
    assert gradient_matching(gap, valid).item() == pytest.approx(1 / 3)


def test_midas_adds_half_of_it(depth):
    pred, valid = depth.flip(-1), depth > 10
    gap = standardise(1 / pred, valid) - standardise(1 / depth, valid)
    expected = ssi_trim_loss(pred, depth, valid) + 0.5 * gradient_matching(gap, valid)
    assert_close(LOSSES["midas"](pred, depth, valid), expected)
