import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from distill.method import FeatureAcclimation, LossAttention
from distill.method.acclimation import WindowAttention


def seeded(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def floats(*shape):
    return seeded(*shape).float()


def fam(teacher=6, student=32, **options):
    torch.manual_seed(0)
    return FeatureAcclimation(teacher, student, **options).double()


def attention(window, channels=32):
    torch.manual_seed(0)
    return WindowAttention(channels, window).double()


def moved(module, x, at):
    """Where (H, W) the output of `module` changes when the input changes at one position; maps are (B, ..., C)."""
    other = x.clone()
    other[0, at[0], at[1]] += 1
    return (module(other) - module(x)).abs().amax(-1)[0] > 1e-12


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("size", [(8, 8), (5, 7), (3, 2), (1, 1)])
def test_output_has_the_shape_of_the_students_map(window, size):
    assert fam(window=window)(seeded(2, 6, 9, 4), size).shape == (2, 32, *size)


@pytest.mark.parametrize("window", [None, 4])
def test_it_can_begin_as_the_plain_projection(window):
    module, teacher = fam(window=window, zero_init=True), seeded(2, 6, 6, 8)
    assert torch.equal(module(teacher, (6, 8)), module.project(teacher))
    resized = F.interpolate(module.project(teacher), size=(9, 5), mode="bilinear", align_corners=False)
    assert torch.equal(module(teacher, (9, 5)), resized)


def test_it_begins_at_random():
    module, teacher = fam(), seeded(2, 6, 6, 8)
    assert not torch.allclose(module(teacher, (6, 8)), module.project(teacher))


def test_the_block_leaves_the_plain_projection_at_the_first_step():
    module, teacher = fam(zero_init=True, window=4), seeded(2, 6, 6, 8)
    module(teacher, (6, 8)).square().mean().backward()
    assert module.attention.proj.weight.grad.any()
    assert module.mlp.fc2.weight.grad.any()
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    assert not torch.allclose(module(teacher, (6, 8)), module.project(teacher))


def test_a_position_reaches_its_own_window_and_no_other():
    reached = moved(attention(window=4), seeded(1, 8, 12, 32), at=(1, 6))
    assert reached[:4, 4:8].all()
    assert reached.sum() == 16


def test_without_a_window_a_position_reaches_every_other():
    assert moved(attention(window=None), seeded(1, 8, 12, 32), at=(1, 6)).all()


def test_windows_at_the_edge_of_other_sizes_are_cut():
    reached = moved(attention(window=4), seeded(1, 6, 7, 32), at=(5, 6))
    assert reached[4:, 4:].all()
    assert reached.sum() == 2 * 3


def test_other_sizes_are_filled_with_zeros():
    module, x = attention(window=4), seeded(1, 6, 7, 32)
    assert_close(module(x), module(F.pad(x, (0, 0, 0, 1, 0, 2)))[:, :6, :7])


def test_a_window_as_large_as_the_map_is_no_window():
    x = seeded(2, 4, 4, 32)
    assert_close(attention(window=4)(x), attention(window=None)(x))


def test_attention_is_the_softmax_formula_head_by_head():
    module, x = attention(window=None), seeded(1, 2, 3, 32)
    assert module.heads == 2
    q, k, v = module.qkv(x.view(6, 32)).split(32, dim=-1)
    heads = [(q[:, h] @ k[:, h].T / 4).softmax(-1) @ v[:, h] for h in (slice(0, 16), slice(16, 32))]
    assert_close(module(x).view(6, 32), module.proj(torch.cat(heads, dim=-1)))


@pytest.mark.parametrize(("width", "heads"), [(24, 1), (32, 2), (40, 2), (64, 4), (128, 8), (512, 8), (27, 1)])
def test_heads_divide_the_width_and_have_16_channels_at_least(width, heads):
    assert WindowAttention(width, window=None).heads == heads


def gflops(windows):
    """Of all four levels at 352x1216: DPT-Hybrid's maps for EfficientNet-B0."""
    levels = zip((256, 512, 768, 768), (24, 40, 112, 320), (4, 8, 16, 32), windows, strict=True)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        for theirs, mine, stride, window in levels:
            size = (352 // stride, 1216 // stride)
            FeatureAcclimation(theirs, mine, window=window)(torch.zeros(1, theirs, *size), size)
    return counter.get_total_flops() / 1e9


def test_windows_make_street_scenes_affordable():
    """The student itself needs 39 GFLOPs there, and its backward twice that."""
    windowed, everywhere = gflops((8, 8, None, None)), gflops((None,) * 4)
    assert windowed < 6
    assert everywhere > 10 * windowed


# ------------------------------------------------------------------------------------------------------- loss attention


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
    attention, weighted = lam(floats(3, 8, 5, 7))
    assert attention.shape == (3, 1, 5, 7)
    assert weighted.shape == (3, 8, 5, 7)
    assert_close(attention.mean(dim=(1, 2, 3)), torch.ones(3))
    assert attention.std() > 0.01


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
    z = floats(1, 1, 5, 5).abs()  # every key is +1
    attention, _ = with_scores(4.0, score)(z)
    assert_close(attention, torch.ones(1, 1, 5, 5))


def test_a_map_of_zeros_is_finite(lam):
    z = torch.zeros(1, 8, 3, 3, requires_grad=True)
    attention, weighted = lam(z)
    weighted.sum().backward()
    assert_close(attention, torch.ones(1, 1, 3, 3))
    assert torch.isfinite(z.grad).all()


def test_keys_have_unit_length_so_their_scale_does_not_matter(lam):
    z = floats(1, 8, 4, 4)
    before, _ = lam(z)
    with torch.no_grad():
        lam.key.weight *= 100
        lam.key.bias *= 100
    assert_close(lam(z)[0], before)


def test_half_precision_lowers_the_map_and_not_the_importance(lam):
    z = floats(2, 8, 5, 7)
    with torch.autocast("cpu", torch.bfloat16):
        attention, weighted = lam(z.bfloat16())
    assert (attention.dtype, weighted.dtype) == (torch.float32, torch.bfloat16)
    assert_close(attention.mean(dim=(1, 2, 3)), torch.ones(2))
    assert_close(attention, lam(z)[0], rtol=0.02, atol=0)
