import math

import pytest
import torch
from torch.testing import assert_close

from distill.method import average_alignment, fit_affine


@pytest.fixture
def maps():
    """Two random maps x, y of three images, of which half the pixels are valid."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 3, 1, 5, 7, generator=generator, dtype=torch.float64)
    return x, y, torch.rand(3, 1, 5, 7, generator=generator) < 0.5


# ------------------------------------------------------------------------------------------------------------ one image


def test_each_image_gets_the_scale_and_shift_it_was_made_with(maps):
    x, _, valid = maps
    scale, shift = torch.tensor([0.5, 2.0, -3.0]), torch.tensor([1.0, -4.0, 0.25])
    fitted = fit_affine(x, scale.view(3, 1, 1, 1) * x + shift.view(3, 1, 1, 1), valid)
    assert_close(fitted, (scale.double(), shift.double()))


def test_the_fit_is_that_of_a_least_squares_solver(maps):
    x, y, valid = maps
    scale, shift = fit_affine(x, y, valid)
    for i in range(3):
        columns = torch.stack([x[i][valid[i]], torch.ones(int(valid[i].sum()), dtype=x.dtype)], dim=1)
        expected = torch.linalg.lstsq(columns, y[i][valid[i]][:, None]).solution[:, 0]
        assert_close(torch.stack([scale[i], shift[i]]), expected)


def test_a_fit_by_hand():
    # mean x 1, mean y 3; covariance (1 + 0 + 2) / 3, variance 2 / 3
    x, y = torch.tensor([[0.0, 1.0, 2.0], [2.0, 2.0, 5.0]]).view(2, 1, 1, 1, 3)
    scale, shift = fit_affine(x, y, torch.ones_like(x, dtype=torch.bool))
    assert (scale.item(), shift.item()) == pytest.approx((1.5, 1.5))


@pytest.mark.parametrize("junk", [0.0, 1e30, math.nan, math.inf])
def test_what_stands_at_invalid_pixels_does_not_matter(maps, junk):
    x, y, valid = maps
    spoilt = (torch.where(valid, v, junk) for v in (x, y))
    assert_close(fit_affine(*spoilt, valid), fit_affine(x, y, valid))


def test_float32_holds_a_small_signal_on_a_large_offset(maps):
    x, _, valid = maps
    x = (1000 + x).float()
    scale, shift = fit_affine(x, 2e-4 * (x - 1000) + 0.1, valid)
    assert scale.dtype == torch.float32
    assert_close(scale, torch.full((3,), 2e-4), rtol=1e-2, atol=0)
    assert_close(scale * 1000.5 + shift, torch.full((3,), 0.1001), rtol=1e-4, atol=0)


def test_half_precision_is_computed_in_float32(maps):
    x, y, valid = maps
    fitted = fit_affine(x.half(), y.half(), valid)
    assert fitted[0].dtype == torch.float32
    assert_close(fitted, fit_affine(x.half().float(), y.half().float(), valid))


def test_a_constant_map_gives_the_mean_and_no_pixel_gives_nothing(maps):
    _, y, valid = maps
    valid[1] = False
    scale, shift = fit_affine(torch.full_like(y, 0.3), y, valid)
    assert not scale.any()
    assert_close(shift[0], y[0][valid[0]].mean())
    assert shift[1] == 0


# ---------------------------------------------------------------------------------------------------------- a whole set


def test_scale_and_shift_are_averaged():
    fitted = average_alignment([(1.0, 0.1), (2.0, 0.2), (3.0, 0.6)])
    assert (fitted.scale, fitted.shift, fitted.used, fitted.left_out) == pytest.approx((2.0, 0.3, 3, 0))


@pytest.mark.parametrize(
    "outlier", [(-5.0, 9.0), (0.0, 9.0), (math.nan, math.nan), (math.inf, 9.0), (50.0, -9.0), (0.05, 9.0)]
)
def test_a_sample_with_an_absurd_scale_is_left_out_and_counted(outlier):
    fitted = average_alignment([(1.0, 0.1), outlier, (3.0, 0.3), (2.0, 0.5)])
    assert (fitted.scale, fitted.shift, fitted.used, fitted.left_out) == pytest.approx((2.0, 0.3, 3, 1))


@pytest.mark.parametrize("fits", [[], [(-1.0, 0.0)], [(1.0, 0.0), (-1.0, 0.0)]])
def test_a_set_without_a_majority_of_positive_scales_is_refused(fits):
    with pytest.raises(ValueError, match=rf"of {len(fits)} samples have no positive scale"):
        average_alignment(fits)


def test_what_was_left_out_is_reported():
    text = str(average_alignment([(1.0, 0.25), (1.0, 0.25), (-5.0, 9.0)]))
    assert text == "depth = 1 / (1 * output + 0.25), the mean of 2 images; 1 left out, whose scale does not fit"
