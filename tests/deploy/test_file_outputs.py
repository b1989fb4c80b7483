import pytest
import torch

from distill.deploy.file_outputs import class_deviation

LOGITS = torch.tensor([[2.0, 0.0, 0.1, 5.0], [0.0, 2.0, 0.0, 0.0]]).reshape(1, 2, 2, 2)


def compared(ours):
    return class_deviation(lambda _: ours, lambda _: LOGITS, [torch.zeros(1), torch.zeros(1)])


def test_what_all_logits_have_more_changes_no_class():
    result = compared(LOGITS + 3)
    assert result.acceptable
    assert (result.agreement, result.miou, result.images) == (1, 1, 2)


def test_a_pixel_of_another_class_is_counted_and_its_probability_is_the_error():
    ours = LOGITS.clone()
    ours[0, :, 1, 0] = ours[0, :, 1, 0].flip(0)
    result = compared(ours)
    assert result.largest == pytest.approx(2 * torch.tensor(0.1).sigmoid().item() - 1, rel=1e-5)
    assert not result.acceptable
    assert result.agreement == 0.75
    assert result.miou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert "75.0000%" in str(result)
    assert "row 1, column 0" in str(result)


def test_what_is_not_finite_is_never_acceptable():
    result = compared(LOGITS * torch.nan)
    assert not result.acceptable
    assert result.agreement == 0
