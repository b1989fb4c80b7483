"""Scale and shift of a student's depth: fits that know the answer, and the choice between them."""

import numpy as np
import pytest

from distill.evaluation import PROTOCOLS
from distill.inference.calibrating import (
    METRIC,
    RELATIVE,
    MeasuredImage,
    choose_fit,
    cross_validate,
    fit_scale,
    fit_scale_and_shift,
    scores_of,
)

PROTOCOL = PROTOCOLS["folder"]


def images(scale, shift, count=10, noise=0.0, pixels=500, seed=0):
    """Images of which 1 / depth = scale * x + shift, but for some relative noise of the measured depth."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        depth = rng.uniform(2, 60, pixels)
        x, error = (1 / depth - shift) / scale, np.exp(noise * rng.standard_normal(pixels))
        made.append(MeasuredImage(str(number), x, depth * error, np.ones(pixels, bool)))
    return made


def spoiled(one, share=0.1):
    """The same with gross errors of the measurement in some pixels."""
    depth = one.depth.copy()
    depth[: int(share * len(depth))] = 79
    return MeasuredImage(one.name, one.x, depth, one.free)


@pytest.mark.parametrize("change", [lambda one: one, spoiled])
def test_both_numbers_are_found_also_among_gross_outliers(change):
    seen = [change(one) for one in images(0.5, 0.01, noise=0.01)]
    assert fit_scale_and_shift(seen) == pytest.approx((0.5, 0.01), rel=0.02)


@pytest.mark.parametrize("change", [lambda one: one, spoiled])
def test_a_scale_is_found_also_among_gross_outliers(change):
    scale, shift = fit_scale([change(one) for one in images(2.0, 0.0, noise=0.01)])
    assert (scale, shift) == (pytest.approx(2.0, rel=0.01), 0)


def test_what_is_cut_to_a_limit_does_not_move_a_fit():
    seen = []
    for one in images(2.0, 0.0):
        x = np.maximum(one.x, 1 / 40)  # a student that says 40 m at most, which is 20 m
        seen.append(MeasuredImage(one.name, x, one.depth, x > 1.001 / 40))
    assert all(one.free.mean() < 0.6 for one in seen)
    assert fit_scale(seen) == pytest.approx((2.0, 0.0))
    assert fit_scale_and_shift(seen) == pytest.approx((2.0, 0.0), abs=1e-9)


@pytest.mark.parametrize(
    ("scale", "shift", "noise", "expected"),
    [(1.0, 0.0, 0.03, "as it is"), (0.6, 0.0, 0.03, "scale"), (0.6, 0.02, 0.03, "scale and shift")],
)
def test_the_simplest_fit_that_is_not_worse_is_chosen(scale, shift, noise, expected):
    scores = cross_validate(images(scale, shift, noise=noise), METRIC, PROTOCOL)
    assert choose_fit(scores, "abs_rel") == expected
    assert choose_fit(scores, "d1") == expected


def test_a_relative_student_has_to_beat_one_depth_everywhere():
    rng = np.random.default_rng(0)
    nothing = [MeasuredImage("", rng.uniform(1, 2, 500), one.depth, one.free) for one in images(1, 0)]
    assert choose_fit(cross_validate(nothing, RELATIVE, PROTOCOL), "abs_rel") == "one depth everywhere"
    scores = cross_validate(images(3.0, -0.1, noise=0.05), RELATIVE, PROTOCOL)
    assert choose_fit(scores, "abs_rel") == "scale and shift"


def test_no_image_is_scored_by_a_fit_that_saw_it():
    seen = images(1.0, 0.0)
    odd = MeasuredImage("odd", 2 * seen[0].x, seen[0].depth, seen[0].free)
    scores = cross_validate([odd, *seen[1:]], {"scale": fit_scale}, PROTOCOL)["scale"]
    assert scores[0]["abs_rel"] == pytest.approx(0.5)
    assert max(one["abs_rel"] for one in scores[1:]) < 0.01


def test_a_fit_that_turns_near_and_far_around_is_none():
    (one,) = images(1.0, 0.0, count=1)
    reversed_ = MeasuredImage("", one.x.max() - one.x + 0.01, one.depth, one.free)
    fit = fit_scale_and_shift([reversed_])
    assert np.isnan(fit).all()
    assert np.isnan(scores_of([reversed_], fit, PROTOCOL)[0]["abs_rel"])


def test_broken_predictions_count_as_the_nearest_depth():
    (one,) = images(1.0, 0.0, count=1)
    x = one.x.copy()
    x[:5] = np.nan
    (score,) = scores_of([MeasuredImage("", x, one.depth, np.isfinite(x))], (1.0, 0.0), PROTOCOL)
    assert score["abs_rel"] == pytest.approx(5 * (1 - 0.001 / one.depth[:5]).mean() / 500, rel=1e-3)
