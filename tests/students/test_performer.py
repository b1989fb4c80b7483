from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from students.performer import PerformerAttention, favor_attention, orthogonal_features
from teachers.vit import Attention


def seed(number):
    return torch.Generator().manual_seed(number)


def tokens(*shape, number=0, scale=0.5):
    """Queries, keys and values (*shape) in float64; at this scale a softmax is neither flat nor sharp."""
    return [x * scale for x in torch.randn(3, *shape, generator=seed(number), dtype=torch.float64)]


def error(features, draws=8):
    """Mean relative error of the estimate with so many features, over some draws of them."""
    q, k, v = tokens(2, 3, 40, 16)
    exact = F.scaled_dot_product_attention(q, k, v)
    estimates = [favor_attention(q, k, v, orthogonal_features(features, 16, seed(i)).double()) for i in range(draws)]
    return sum(float((one - exact).norm() / exact.norm()) for one in estimates) / draws


# ----------------------------------------------------------------------------------------------------------- directions


@pytest.mark.parametrize(("count", "width"), [(4, 16), (16, 16), (40, 16), (3, 1)])
def test_directions_are_orthogonal_within_each_block_of_the_width(count, width):
    rows = orthogonal_features(count, width, seed(0)).double()
    assert rows.shape == (count, width)
    for block in rows.split(width):
        products = block @ block.mT
        assert_close(products, torch.diag(products.diagonal()), atol=1e-4, rtol=0)


def test_each_direction_is_standard_normal():
    rows = torch.stack([orthogonal_features(8, 8, seed(i)) for i in range(2000)]).flatten(0, 1)
    assert_close(rows.mean(dim=0), torch.zeros(8), atol=0.03, rtol=0)
    assert_close(rows.mT @ rows / len(rows), torch.eye(8), atol=0.05, rtol=0)


def test_the_same_seed_gives_the_same_directions_and_another_seed_others():
    assert torch.equal(orthogonal_features(20, 8, seed(1)), orthogonal_features(20, 8, seed(1)))
    assert not torch.equal(orthogonal_features(20, 8, seed(1)), orthogonal_features(20, 8, seed(2)))


# ------------------------------------------------------------------------------------------------------------- estimate


def test_products_of_features_have_the_mean_of_the_softmax_kernel():
    # One key carries 1 and a far one of known weight carries 0: the output is a ratio of two kernels.
    q, k = torch.tensor([[0.3, -0.5]]).double(), torch.tensor([[0.4, 0.2], [-0.6, 0.1]]).double()
    v = torch.tensor([[1.0], [0.0]]).double()
    estimate = favor_attention(q, k, v, orthogonal_features(200_000, 2, seed(0)).double())
    assert_close(estimate, F.scaled_dot_product_attention(q[None], k[None], v[None])[0], atol=2e-3, rtol=0)


def test_the_error_against_exact_attention_falls_with_the_number_of_features():
    errors = [error(features) for features in (16, 64, 256, 1024)]
    assert all(finer < 0.75 * coarser for coarser, finer in pairwise(errors))
    assert errors[-1] < 0.1


def test_orthogonal_directions_err_less_than_independent_ones():
    q, k, v = tokens(8, 40, 16)
    exact = F.scaled_dot_product_attention(q, k, v)

    def total(draw):
        return sum(float((favor_attention(q, k, v, draw(i)) - exact).norm()) for i in range(20))

    independent = total(lambda i: torch.randn(16, 16, generator=seed(i), dtype=torch.float64))
    assert total(lambda i: orthogonal_features(16, 16, seed(i)).double()) < 0.97 * independent


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e4])
def test_every_output_is_a_weighted_mean_of_the_values_however_large_the_scores(scale):
    q, k, v = (x.float() for x in tokens(2, 30, 8, scale=scale))
    out = favor_attention(q, k, v / scale, orthogonal_features(32, 8, seed(0)))
    assert (out <= (v / scale).amax(dim=-2, keepdim=True) + 1e-5).all()
    assert (out >= (v / scale).amin(dim=-2, keepdim=True) - 1e-5).all()


def test_what_is_divided_out_for_stability_changes_neither_value_nor_gradient():
    inputs = [x.requires_grad_() for x in tokens(5, 4)]
    directions = orthogonal_features(6, 4, seed(0)).double()

    def plain(q, k, v):
        q, k = q * 4**-0.25, k * 4**-0.25
        query = (q @ directions.mT - q.square().sum(-1, keepdim=True) / 2).exp()
        weights = query @ (k @ directions.mT - k.square().sum(-1, keepdim=True) / 2).exp().mT
        return weights @ v / weights.sum(-1, keepdim=True)

    outputs = [f(*inputs) for f in (lambda *x: favor_attention(*x, directions), plain)]
    assert_close(*outputs)
    for ours, expected in zip(*(torch.autograd.grad(out.square().sum(), inputs) for out in outputs), strict=True):
        assert_close(ours, expected)


def test_products_grow_linearly_and_equal_those_of_exact_attention_at_two_tokens_a_feature():
    def products(kind, count):
        shape = (1, 4, count, 16)
        q = k = v = torch.empty(shape, device="meta")
        with FlopCounterMode(display=False) as counter:
            if kind == "performer":
                favor_attention(q, k, v, torch.empty(64, 16, device="meta"))
            else:
                F.scaled_dot_product_attention(q, k, v)
        return counter.get_total_flops()

    assert products("performer", 512) == 4 * products("performer", 128)
    assert products("performer", 128) == pytest.approx(products("exact", 128), rel=0.05)


# --------------------------------------------------------------------------------------------------------------- module


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return PerformerAttention(12, heads=3, features=8)


def test_a_layer_is_the_estimate_head_by_head_with_the_weights_of_exact_attention(layer):
    x = torch.randn(2, 5, 12, generator=seed(0))
    exact = Attention(12, heads=3)
    exact.load_state_dict({k: v for k, v in layer.state_dict().items() if k != "projection"})
    q, k, v = exact.qkv(x).split(12, dim=-1)
    heads = [
        favor_attention(q[..., s], k[..., s], v[..., s], layer.projection) for s in map(slice, (0, 4, 8), (4, 8, 12))
    ]
    assert_close(layer(x), exact.proj(torch.cat(heads, dim=-1)))


def test_under_autocast_the_estimate_is_made_in_float32(layer):
    q, k, v = (x.bfloat16() for x in tokens(1, 3, 6, 4, scale=2.0))
    with torch.autocast("cpu", torch.bfloat16):
        out = layer.attend(q, k, v)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, favor_attention(q.float(), k.float(), v.float(), layer.projection).bfloat16())


def test_redrawing_changes_the_features_and_nothing_else_and_depends_on_the_seed(layer):
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    layer.redraw(seed(5))
    changed = [k for k, v in layer.state_dict().items() if not torch.equal(v, before[k])]
    first = layer.projection.clone()
    layer.redraw(seed(6))
    assert changed == ["projection"]
    assert not torch.equal(layer.projection, first)
    layer.redraw(seed(5))
    assert torch.equal(layer.projection, first)


def test_features_are_kept_with_the_weights_but_do_not_learn(layer):
    assert "projection" in layer.state_dict()
    assert "projection" not in dict(layer.named_parameters())


@pytest.mark.parametrize(
    ("heads", "features", "message"), [(5, 8, "heads=5 does not divide"), (3, 0, "at least 1 .*got 0")]
)
def test_heads_and_features_that_do_not_fit_are_refused(heads, features, message):
    with pytest.raises(ValueError, match=message):
        PerformerAttention(12, heads, features)
