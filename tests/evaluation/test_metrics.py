"""The nine metrics of one image: values by hand, invariances, edges."""

import math

import numpy as np
import pytest
import torch

from distill.evaluation import LOWER_IS_BETTER, METRICS, depth_metrics, mean_absolute_error

FACTORS = (0.1, 0.5, 0.999, 1.0, 1.25, 3.7, 10.0)


def everywhere(depth):
    return np.ones(np.shape(depth), bool)


def depths(seed, size=50):
    return np.random.default_rng(seed).uniform(0.5, 60, size)


def test_two_pixels_by_hand():
    pred, target = np.array([2.0, 3.0]), np.array([1.0, 4.0])
    g = math.log(2), math.log(3 / 4)
    expected = {
        "d1": 0,  # ratios 2 and 4/3
        "d2": 0.5,  # below 1.5625
        "d3": 0.5,  # below 1.953125
        "abs_rel": (1 + 1 / 4) / 2,
        "sq_rel": (1 + 1 / 4) / 2,
        "rmse": 1,
        "rmse_log": math.sqrt((g[0] ** 2 + g[1] ** 2) / 2),
        "log10": (math.log10(2) + math.log10(4 / 3)) / 2,
        "silog": 100 * abs(g[0] - g[1]) / 2,  # the deviation of two numbers
    }
    metrics = depth_metrics(pred, target, everywhere(pred))
    assert metrics == pytest.approx(expected, rel=1e-12)
    assert tuple(metrics) == METRICS
    assert mean_absolute_error(pred, target, everywhere(pred)) == 1


def test_a_perfect_prediction_is_perfect_exactly():
    depth = depths(0)
    metrics = depth_metrics(depth, depth, everywhere(depth))
    assert [metrics[name] for name in METRICS] == [1, 1, 1, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("power", "name"), [(1, "d1"), (2, "d2"), (3, "d3")])
def test_a_ratio_on_the_threshold_fails(power, name):
    target = np.array([4.0, 4.0 * 1.25**power, 1.0, 1.0])  # over and under it
    pred = np.array([4.0 * 1.25**power, 4.0, 1.25**power, np.nextafter(1.25**power, 0)])
    assert depth_metrics(pred, target, everywhere(pred))[name] == 0.25


def test_only_valid_pixels_count():
    target = np.array([[5.0, 0.0], [7.0, np.nan]])
    pred = np.array([[6.0, np.inf], [8.0, np.nan]])
    valid = np.array([[True, False], [True, False]])
    assert depth_metrics(pred, target, valid) == depth_metrics(pred[:, 0], target[:, 0], valid[:, 0])


def test_no_valid_pixel_is_nan_everywhere():
    depth = depths(1)
    metrics = depth_metrics(depth, depth, ~everywhere(depth))
    assert tuple(metrics) == METRICS
    assert all(math.isnan(value) for value in metrics.values())
    assert math.isnan(mean_absolute_error(depth, depth, ~everywhere(depth)))


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\), \(3, 2\), \(2, 3\)"):
        depth_metrics(np.ones((2, 3)), np.ones((3, 2)), np.ones((2, 3)))


@pytest.mark.parametrize("bad", [-5.0, -0.0, 0.0, math.nan, math.inf, -math.inf])
def test_a_bad_prediction_is_within_no_threshold(bad):
    metrics = depth_metrics(np.array([5.0, bad]), np.array([5.0, 5.0]), np.array([True, True]))
    assert [metrics[name] for name in ("d1", "d2", "d3")] == [0.5, 0.5, 0.5]
    assert not any(metrics[name] == 0 for name in LOWER_IS_BETTER - {"mae"})


@pytest.mark.filterwarnings("error")
def test_tensors_arrays_and_views_of_any_layout_agree():
    pred, target = depths(2, (6, 8)).astype(np.float32), depths(3, (6, 8)).astype(np.float32)
    valid = target > 5
    expected = depth_metrics(pred, target, valid)
    assert depth_metrics(torch.from_numpy(pred), target, torch.from_numpy(valid)) == expected
    assert depth_metrics(torch.from_numpy(pred).requires_grad_(), torch.from_numpy(target), valid) == expected
    mirrored = depth_metrics(pred[:, ::-1], target[:, ::-1], valid[:, ::-1])
    assert mirrored == pytest.approx(expected, rel=1e-12)
    pred.flags.writeable = False
    assert depth_metrics(pred, target, valid.astype(np.uint8)) == expected


@pytest.mark.parametrize("factor", FACTORS)
def test_scaling_the_truth_has_a_known_error(factor):
    target = depths(0)
    metrics = depth_metrics(factor * target, target, everywhere(target))
    assert metrics["abs_rel"] == pytest.approx(abs(factor - 1), rel=1e-9, abs=1e-12)
    assert metrics["rmse_log"] == pytest.approx(abs(math.log(factor)), rel=1e-9, abs=1e-12)
    assert metrics["log10"] == pytest.approx(abs(math.log10(factor)), rel=1e-9, abs=1e-12)
    assert 0 <= metrics["silog"] < 1e-10


@pytest.mark.parametrize("factor", FACTORS)
def test_silog_does_not_see_scale_and_no_relative_metric_sees_units(factor):
    pred, target = depths(0), depths(1)
    plain = depth_metrics(pred, target, everywhere(pred))
    scaled = depth_metrics(factor * pred, target, everywhere(pred))
    assert scaled["silog"] == pytest.approx(plain["silog"], rel=1e-9)
    units = depth_metrics(factor * pred, factor * target, everywhere(pred))
    for name in ("abs_rel", "rmse_log", "log10", "silog"):
        assert units[name] == pytest.approx(plain[name], rel=1e-9)
    for name in ("sq_rel", "rmse"):
        assert units[name] == pytest.approx(factor * plain[name], rel=1e-9)


def test_lower_is_better_is_everything_but_the_thresholds():
    assert {"d1", "d2", "d3"} == set(METRICS) - LOWER_IS_BETTER
    assert "mae" in LOWER_IS_BETTER
