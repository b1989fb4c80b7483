import pytest
import torch

from distill.deploy.runtime import TOLERANCE, deviation

TRUTH = torch.tensor([0.0, 0.001, 2.0, 40.0]).reshape(1, 1, 2, 2)


def compared(error):
    """The difference of two models, one of which adds errors to what the other gives."""
    return deviation(lambda _: TRUTH + torch.tensor(error).reshape(1, 1, 2, 2), lambda _: TRUTH, [torch.zeros(1)])


def test_an_error_is_relative_to_the_depth_of_its_pixel():
    result = compared([0.0, 0.0, 0.02, 0.0])
    assert result.largest == pytest.approx(0.01, rel=1e-4)
    assert result.mean == pytest.approx(0.0025, rel=1e-4)
    assert not result.acceptable


def test_at_an_output_of_0_rounding_is_no_failure_and_an_error_is_one():
    result = compared([1e-6, -1e-6, 0.0, 0.0])
    assert result.largest == pytest.approx(1e-6 / 0.04, rel=1e-4)
    assert result.acceptable
    assert compared([0.04 * 2 * TOLERANCE, 0.0, 0.0, 0.0]).largest == pytest.approx(2 * TOLERANCE, rel=1e-4)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_not_finite_or_of_another_shape_is_never_acceptable(wrong):
    assert not compared([0.0, 0.0, wrong, 0.0]).acceptable
    assert not deviation(lambda _: TRUTH[..., :1], lambda _: TRUTH, [torch.zeros(1)]).acceptable
