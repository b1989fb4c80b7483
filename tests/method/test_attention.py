import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from distill.method import LossAttention, normalised_entropy


def seeded(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def lam():
    torch.manual_seed(0)
    return LossAttention(8)


def with_scores(lam, query):
    """An attention over one channel whose key is the sign of Z and whose query is `query`."""
    module = LossAttention(1, limit=lam)
    nn.init.ones_(module.key.weight)
    nn.init.zeros_(module.key.bias)
    nn.init.zeros_(module.query.weight)
    nn.init.constant_(module.query.bias, query)
    return module


def test_importance_by_hand():
    z = torch.tensor([2.0, -5.0]).view(1, 1, 1, 2)  # sigmoid(+-ln 3) is 3/4 and 1/4
    attention, weighted = with_scores(4.0, math.log(3))(z)
    assert_close(attention.flatten(), torch.tensor([1.5, 0.5]))
    assert_close(weighted.flatten(), torch.tensor([3.0, -2.5]))


def test_importance_has_one_channel_and_mean_1_in_every_image(lam):
    attention, weighted = lam(seeded(3, 8, 5, 7))
    assert attention.shape == (3, 1, 5, 7)
    assert weighted.shape == (3, 8, 5, 7)
    assert_close(attention.mean(dim=(1, 2, 3)), torch.ones(3))
    assert attention.std() > 0.01


def test_what_the_ghost_is_fed_is_the_weighted_map(lam):
    z = seeded(2, 8, 5, 7)
    attention, weighted = lam(z)
    assert torch.equal(weighted, attention * z)


def test_a_map_without_structure_is_all_alike(lam):
    attention, _ = lam(seeded(2, 8, 1, 1).expand(2, 8, 4, 6))
    assert_close(attention, torch.ones(2, 1, 4, 6))


@pytest.mark.parametrize("limit", [1.2, 3.0])
def test_importance_lies_between_0_and_the_limit(limit):
    z = torch.full((1, 1, 4, 4), -1.0)
    z[..., 0, 0] = 1
    attention, _ = with_scores(limit, 9.0)(z)
    assert attention.max().item() == pytest.approx(limit)
    assert attention.min() >= 0


@pytest.mark.parametrize("query", [-1e4, -40.0, 1e4])
def test_scores_that_collapse_give_finite_importance_and_gradients(query):
    module, z = with_scores(4.0, query), torch.ones(1, 1, 3, 3, requires_grad=True)
    attention, weighted = module(z)
    weighted.square().sum().backward()
    assert torch.isfinite(attention).all()
    assert attention.max() <= 4
    assert torch.isfinite(z.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


@pytest.mark.parametrize("score", [-30.0, 30.0])
def test_a_score_that_all_positions_share_changes_nothing(score):
    z = seeded(1, 1, 5, 5).abs()  # every key is +1
    attention, _ = with_scores(4.0, score)(z)
    assert_close(attention, torch.ones(1, 1, 5, 5))


def test_a_map_of_zeros_is_finite(lam):
    z = torch.zeros(1, 8, 3, 3, requires_grad=True)
    attention, weighted = lam(z)
    weighted.sum().backward()
    assert_close(attention, torch.ones(1, 1, 3, 3))
    assert torch.isfinite(z.grad).all()


def test_keys_have_unit_length_so_their_scale_does_not_matter(lam):
    z = seeded(1, 8, 4, 4)
    before, _ = lam(z)
    with torch.no_grad():
        lam.key.weight *= 100
        lam.key.bias *= 100
    assert_close(lam(z)[0], before)


def test_positions_are_known_by_content_alone(lam):
    z = seeded(1, 8, 4, 6)
    assert_close(lam(z.flip(2, 3))[0], lam(z)[0].flip(2, 3))


def test_images_do_not_see_each_other(lam):
    z = seeded(2, 8, 4, 4)
    assert_close(lam(z)[0][:1], lam(z[:1])[0])


def test_half_precision_lowers_the_map_and_not_the_importance(lam):
    z = seeded(2, 8, 5, 7)
    with torch.autocast("cpu", torch.bfloat16):
        attention, weighted = lam(z.bfloat16())
    assert (attention.dtype, weighted.dtype) == (torch.float32, torch.bfloat16)
    assert_close(attention.mean(dim=(1, 2, 3)), torch.ones(2))
    assert_close(attention, lam(z)[0], rtol=0.02, atol=0)


def test_both_projections_learn(lam):
    _, weighted = lam(seeded(2, 8, 5, 7))
    weighted.square().mean().backward()
    assert lam.query.weight.grad.any()
    assert lam.key.weight.grad.any()


# -------------------------------------------------------------------------------------------------------------- entropy


def test_entropy_is_1_for_uniform_and_0_for_one_position():
    one = torch.zeros(2, 1, 3, 4)
    one[..., 1, 2] = 12
    assert normalised_entropy(torch.ones(2, 1, 3, 4)).item() == pytest.approx(1)
    assert normalised_entropy(one).item() == pytest.approx(0, abs=1e-6)


def test_entropy_of_half_of_the_positions():
    half = torch.tensor([2.0, 0, 2, 0]).view(1, 1, 2, 2)
    assert normalised_entropy(half).item() == pytest.approx(math.log(2) / math.log(4))


def test_entropy_does_not_depend_on_the_scale():
    attention = seeded(2, 1, 3, 4).abs()
    assert_close(normalised_entropy(7 * attention), normalised_entropy(attention))


def test_entropy_of_a_batch_is_the_mean():
    attention = torch.stack([torch.ones(1, 2, 2), torch.tensor([[[4.0, 0], [0, 0]]])])
    assert normalised_entropy(attention).item() == pytest.approx(0.5)


@pytest.mark.parametrize("attention", [torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 2, 2)])
def test_entropy_is_finite_where_it_means_nothing(attention):
    assert torch.isfinite(normalised_entropy(attention))
