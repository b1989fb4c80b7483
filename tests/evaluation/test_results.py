import json
import os

import numpy as np
import pytest

from distill.errors import UserError
from distill.evaluation import MEASURES, bootstrap_over_sets, paired_bootstrap, student_result

METRICS = dict.fromkeys(MEASURES, 0.1)
RESULT = {"protocol": "nyu_eigen", "fingerprint": "abc", "metrics": METRICS, "per_image": [{"name": "a", **METRICS}]}
OF_A_RUN = [{**RESULT, "role": "teacher", "metrics": dict.fromkeys(MEASURES, 0.01)}, {**RESULT, "role": "student"}]


def write(path, content):
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("content", [RESULT, OF_A_RUN])
def test_a_models_result_is_that_of_its_evaluation_or_the_students_of_its_run(tmp_path, content):
    result = student_result(write(tmp_path / "x.json", content))
    assert (result.protocol, result.fingerprint, result.metrics) == ("nyu_eigen", "abc", METRICS)
    assert result.images == {"a": METRICS}


def test_several_results_without_a_student_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds 2 results; give a file with one protocol's"):
        student_result(write(tmp_path / "x.json", [RESULT, RESULT]))


NAN = {**RESULT, "per_image": [{"name": "a", **METRICS, "rmse": float("nan")}]}


@pytest.mark.parametrize("content", [{}, 3, {**RESULT, "metrics": {"rmse": 1}}, {**RESULT, "metrics": "a"}, NAN])
def test_a_file_that_holds_no_result_is_refused_with_the_command_that_writes_one(tmp_path, content):
    with pytest.raises(UserError, match=r"x\.json is not a file of results.*distill evaluate --json"):
        student_result(write(tmp_path / "x.json", content))


def test_what_is_no_json_or_not_there_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match="is not a file of results"):
        student_result(tmp_path / "x.json")
    with pytest.raises(UserError, match=r"no results at .*absent"):
        student_result(tmp_path / "absent.json")
    os.mkfifo(tmp_path / "fifo.json")
    with pytest.raises(UserError, match="is not a file of results"):
        student_result(tmp_path / "fifo.json")


# --------------------------------------------------------------------------------------------------- two models, paired


@pytest.fixture
def draws():
    return np.random.default_rng(0)


def test_a_constant_difference_has_an_interval_without_width(draws):
    a = draws.normal(size=30)
    assert paired_bootstrap(a, a - 0.25) == pytest.approx((-0.25, -0.25, -0.25))


def test_the_interval_is_that_of_the_normal_distribution_where_there_are_many_images(draws):
    gaps = draws.normal(0.3, 2.0, size=400)
    difference, low, high = paired_bootstrap(np.zeros(400), gaps)
    half = 1.96 * gaps.std() / np.sqrt(400)
    assert difference == pytest.approx(gaps.mean())
    assert (low, high) == pytest.approx((gaps.mean() - half, gaps.mean() + half), abs=0.05 * half)


def test_the_interval_holds_the_true_mean_nineteen_times_of_twenty(draws):
    held = 0
    for seed in range(200):
        _, low, high = paired_bootstrap(np.zeros(40), draws.normal(1.0, 1.0, size=40), samples=500, seed=seed)
        held += low < 1.0 < high
    assert 0.90 < held / 200 < 0.99


def test_what_all_images_share_widens_nothing(draws):
    """Images differ far more than models do: only their pairing finds so small a difference."""
    hardness, noise = draws.normal(0, 10, size=100), draws.normal(0, 0.1, size=100)
    _, low, high = paired_bootstrap(hardness, hardness + 0.1 + noise)
    assert 0 < low < 0.1 < high < 0.2


def test_swapping_the_two_mirrors_everything(draws):
    a, b = draws.normal(size=(2, 25))
    difference, low, high = paired_bootstrap(a, b)
    assert paired_bootstrap(b, a) == pytest.approx((-difference, -high, -low))


def test_several_metrics_at_once_are_each_what_they_are_alone(draws):
    a, b = draws.normal(size=(2, 25, 3))
    together = np.stack(paired_bootstrap(a, b, samples=300))
    alone = [paired_bootstrap(a[:, k], b[:, k], samples=300) for k in range(3)]
    np.testing.assert_allclose(together.T, alone)


def test_one_image_has_no_interval():
    difference, low, high = paired_bootstrap([1.0], [3.0])
    assert difference == 2.0
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0, 2.0], [1.0])])
def test_values_of_other_images_are_refused(a, b):
    with pytest.raises(ValueError, match="values of the same images, at least one, got"):
        paired_bootstrap(a, b)


def test_over_sets_each_counts_alike_and_the_interval_is_of_draws_within_them():
    draws = np.random.default_rng(0)
    few, many = draws.normal(1.0, 0.5, size=30), draws.normal(3.0, 0.5, size=3000)
    difference, low, high = bootstrap_over_sets([few, many], samples=500)
    assert difference == pytest.approx((few.mean() + many.mean()) / 2)
    spread = few.std() / 30**0.5 / 2  # of the mean of both, to which the many add almost nothing
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.15)
    assert np.isnan(bootstrap_over_sets([few, many[:1]], samples=9)[1])
