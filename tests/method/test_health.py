import math

import pytest
import torch
from torch.testing import assert_close

from distill.method import LossAttention, normalised_entropy
from distill.method.health import GradientProbe, describe_attention, describe_depth, relative_change, symptoms

HEALTHY = {
    "kd": 1.0,
    "task": 2.0,
    "ghost": 2.5,
    "spread": 0.5,
    "lam_entropy_4": 0.97,
    "lam_coverage_4": 0.9,
    "kd_ratio_32": 1.5,
    "kd_cosine_32": -0.2,
}


def probed(task_weight, kd_weight):
    """What a probe says of a map that both losses pull along given vectors."""
    logs = {}
    x = torch.zeros(2, requires_grad=True)
    task, kd = GradientProbe(logs).split(x, "8")
    ((task * torch.tensor(task_weight)).sum() + (kd * torch.tensor(kd_weight)).sum()).backward()
    assert_close(x.grad, torch.tensor(task_weight) + torch.tensor(kd_weight))
    return {key: value.item() for key, value in logs.items()}


def test_ratio_and_cosine_are_those_of_the_two_gradients():
    assert probed([3.0, 4.0], [10.0, 0.0]) == pytest.approx({"kd_ratio_8": 2.0, "kd_cosine_8": 0.6})
    assert probed([1.0, 0.0], [-1.0, 0.0]) == pytest.approx({"kd_ratio_8": 1.0, "kd_cosine_8": -1.0})


def test_a_map_without_gradient_is_not_compared():
    logs = {}
    task, kd = GradientProbe(logs).split(torch.ones(2), "8")
    assert torch.equal(task, kd)
    assert logs == {}


def test_a_loss_that_never_comes_back_is_not_compared():
    logs = {}
    task, _ = GradientProbe(logs).split(torch.ones(2, requires_grad=True), "8")
    task.sum().backward()
    assert logs == {}


def test_coverage_is_the_share_of_positions_that_count_at_least_half():
    attention = torch.tensor([0.0, 0.4, 0.5, 3.1]).view(1, 1, 2, 2)
    assert describe_attention(attention)["lam_coverage"].item() == 0.5
    assert describe_attention(torch.ones(1, 1, 4, 4))["lam_entropy"].item() == pytest.approx(1)


def test_spread_is_relative_to_the_mean_of_each_image():
    depth = torch.tensor([[1.0, 3.0], [10.0, 30.0]]).view(2, 1, 1, 2)
    assert describe_depth(depth)["spread"].item() == pytest.approx(0.5)
    assert describe_depth(torch.full((2, 1, 4, 4), 7.0))["spread"].item() == 0


def test_change_is_relative_to_the_original():
    assert relative_change(torch.tensor([3.0, 0.0]), torch.tensor([2.0, 0.0])).item() == pytest.approx(0.5)


def test_a_healthy_run_has_no_symptoms():
    assert symptoms(HEALTHY) == {}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("lam_coverage_4", 0.14, "stride 4 looks at almost nothing (14% of the map)"),
        ("lam_entropy_4", 1.0, "stride 4 weighs all positions alike"),
        ("kd_ratio_32", 250.0, "250 times as hard as the task at stride 32; lower method.kd_weight"),
        ("ghost", 8.4, "(loss 8.4 against 2.0): FAM has diverged; lower optim.fam_lr_share or set train.clip"),
        ("spread", 0.001, "predicts one depth for the whole image"),
    ],
)
def test_a_collapse_is_reported_in_words(key, value, words):
    signs = symptoms(HEALTHY | {key: value})
    assert signs.keys() == {key}
    assert words in signs[key]


def test_an_attention_that_has_collapsed_is_reported():
    z = torch.full((1, 8, 16, 16), 0.1)
    z[..., :2, :2] = -1.0  # few positions that point the other way
    lam = LossAttention(8)
    with torch.no_grad():
        lam.key.weight.copy_(torch.eye(8).view(8, 8, 1, 1))
        lam.key.bias.zero_()
        for size, collapsed in ((0.1, False), (300.0, True)):
            lam.query.weight.zero_()
            lam.query.bias.fill_(-size)
            values = {f"{key}_4": value.item() for key, value in describe_attention(lam(z)[0]).items()}
            assert ("lam_coverage_4" in symptoms(values)) == collapsed


def test_attention_may_weigh_all_alike_while_nothing_is_distilled_yet():
    assert symptoms({"lam_entropy_4": 1.0}) == {}


def test_a_ghost_may_be_bad_while_nothing_is_distilled_yet():
    assert symptoms({"task": 2.0, "ghost": 20.0}) == {}


def test_losses_of_almost_nothing_are_not_compared():
    assert symptoms({"kd": 0.0, "task": 1e-6, "ghost": 1e-4}) == {}


@pytest.mark.parametrize(("ratios", "faint"), [((0.01, 0.04), True), ((0.01, 0.06), False)])
def test_a_pull_that_changes_nothing_anywhere_is_reported(ratios, faint):
    signs = symptoms({"kd_ratio_4": ratios[0], "kd_ratio_8": ratios[1]})
    assert signs.keys() == ({"kd_ratio"} if faint else set())
    assert not faint or "pulls at most 4.0% as hard as the task at any stride: it changes nothing" in signs["kd_ratio"]


# -------------------------------------------------------------------------------------------------------------- entropy


def test_entropy_is_1_for_uniform_and_0_for_one_position():
    one = torch.zeros(2, 1, 3, 4)
    one[..., 1, 2] = 12
    assert normalised_entropy(torch.ones(2, 1, 3, 4)).item() == pytest.approx(1)
    assert normalised_entropy(one).item() == pytest.approx(0, abs=1e-6)


def test_entropy_of_half_of_the_positions():
    half = torch.tensor([2.0, 0, 2, 0]).view(1, 1, 2, 2)
    assert normalised_entropy(half).item() == pytest.approx(math.log(2) / math.log(4))


def test_entropy_of_a_batch_is_the_mean():
    attention = torch.stack([torch.ones(1, 2, 2), torch.tensor([[[4.0, 0], [0, 0]]])])
    assert normalised_entropy(attention).item() == pytest.approx(0.5)


@pytest.mark.parametrize("attention", [torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 2, 2)])
def test_entropy_is_finite_where_it_means_nothing(attention):
    assert torch.isfinite(normalised_entropy(attention))
