import math

import pytest
import timm
import torch
from torch import nn
from torch.testing import assert_close

from students import create_student
from students.backbone import Backbone
from students.lg_conv import LGConv, convolve, wrap_lg_conv

BACKBONES = ["test_resnet", "test_efficientnet", "mobilenetv3_small_050", "test_nfnet"]


def seeded(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def layer(inputs=20, outputs=12, stride=1, groups=1, **options):
    """An LGConv in float64 and eval mode whose norms have statistics as after training."""
    torch.manual_seed(0)
    conv = LGConv(nn.Conv2d(inputs, outputs, 3, stride, padding=1, groups=groups, **options)).double().eval()
    for norm in (conv.norm, conv.norm_out):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    for weights in (conv.scores, conv.gate_mean):
        nn.init.normal_(weights.weight)
    nn.init.ones_(conv.norm_out.weight)
    return conv


def pool(conv, t):
    """The vectors that attention pools from t."""
    return conv.summarise(t, conv.scores(t)[:, : conv.heads])[0]


def naive(conv, x):
    """METHOD's equations for one image (C, H, W), head by head and position by position."""
    t = conv.norm(conv.reduce(x[None])).relu()[0]
    local = conv.local(x[None])[0]
    step, (height, width) = conv.stride, local.shape[1:]
    out = torch.empty_like(local)
    g = t.mean(dim=(1, 2))
    vectors = []
    for m in range(conv.heads):
        scores = (conv.scores.weight[m, :, 0, 0, None, None] * t).sum(0)
        shares = scores.exp() / scores.exp().sum()
        vectors.append(torch.stack([(shares * t[8 * m + k]).sum() for k in range(8)]))
    for i in range(height):
        for j in range(width):
            here = t[:, step * i : step * (i + 1), step * j : step * (j + 1)].mean(dim=(1, 2))
            parts = []
            for m in range(conv.heads):
                score = conv.scores.weight[conv.heads + m, :, 0, 0] @ here
                score = score + conv.gate_mean.weight[m] @ g + conv.gate_mean.bias[m]
                parts.append(vectors[m] / (1 + (-score).exp()))
            out[:, i, j] = conv.expand.weight[:, :, 0, 0] @ torch.cat(parts)
    return local + conv.norm_out(out[None])[0]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_output_is_that_of_the_equations(stride, size):
    conv, x = layer(stride=stride), seeded(2, 20, *size)
    with torch.no_grad():
        assert_close(conv(x), torch.stack([naive(conv, image) for image in x]))


@pytest.mark.parametrize(("inputs", "heads"), [(3, 1), (16, 1), (17, 2), (20, 2), (32, 2), (33, 3), (512, 32)])
def test_heads_of_8_channels_take_half_the_input_rounded_up(inputs, heads):
    conv = LGConv(nn.Conv2d(inputs, 4, 3, padding=1))
    assert conv.heads == heads == math.ceil(inputs / 16)
    assert conv.reduce.out_channels == 8 * heads


def test_a_depthwise_convolution_can_be_wrapped():
    conv = layer(inputs=16, outputs=16, stride=2, groups=16)
    assert conv.local.groups == 16
    assert_close(conv(seeded(1, 16, 8, 8))[0], naive(conv, seeded(1, 16, 8, 8)[0]))


@pytest.mark.parametrize("bias", [False, True])
def test_one_convolution_gives_what_convolution_and_norm_give(bias):
    conv, x = layer(), seeded(2, 20, 5, 7)
    reduce = nn.Conv2d(20, 16, 1, bias=bias).double()
    assert_close(convolve(x, reduce, conv.norm), conv.norm(reduce(x)))
    assert_close(convolve(x, reduce, conv.norm.train()), conv.norm(reduce(x)))


def test_padding_and_size_are_those_of_the_local_convolution():
    for stride in (1, 2):
        for size in ((1, 1), (7, 8), (32, 9)):
            conv, x = layer(stride=stride), seeded(1, 20, *size)
            assert conv(x).shape == conv.local(x).shape


# ------------------------------------------------------------------------------------------------------------ precision


def test_sums_do_not_overflow_in_float16():
    conv = LGConv(nn.Conv2d(16, 8, 3, padding=1)).half().eval()
    t = torch.full((1, 8, 64, 64), 6e4, dtype=torch.float16)  # a sum of two such values is infinite
    assert_close(pool(conv, t), torch.full((1, 8), 6e4), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_maps_are_summed_as_exactly_in_half_precision(dtype):
    """176 x 304 positions: the share of each, 1.9e-5, is below what float16 holds with full precision."""
    torch.manual_seed(0)
    conv = LGConv(nn.Conv2d(16, 8, 3, padding=1)).eval()
    t = seeded(1, 8, 176, 304, dtype=torch.float32).abs().to(dtype)
    with torch.autocast("cpu", dtype):
        v = pool(conv, t)
    assert v.dtype == (torch.float32 if dtype == torch.float16 else v.dtype)
    assert_close(v.float(), pool(conv, t.float()), rtol=1e-3 if dtype == torch.float16 else 1e-2, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_inputs_stay_finite_under_autocast(dtype):
    conv = LGConv(nn.Conv2d(16, 8, 3, padding=1)).eval()
    with torch.autocast("cpu", dtype):
        y = conv(1000 * seeded(2, 16, 40, 40, dtype=torch.float32))
    assert y.dtype == dtype
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_in_half_precision_gives_half_precision(dtype):
    conv = LGConv(nn.Conv2d(16, 8, 3, padding=1)).eval().to(dtype)
    y = conv(seeded(1, 16, 40, 40).to(dtype))
    assert y.dtype == dtype
    assert torch.isfinite(y).all()


# ------------------------------------------------------------------------------------------------------------- wrapping


def backbone(name):
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, features_only=True).eval()


@pytest.mark.parametrize("name", BACKBONES)
def test_a_plain_checkpoint_loads_into_a_wrapped_backbone_without_losing_a_key(name):
    plain, wrapped = backbone(name), backbone(name)
    assert wrap_lg_conv(wrapped) > 0
    left = wrapped.load_state_dict({k: v + 1 for k, v in plain.state_dict().items()}, strict=False)
    assert left.unexpected_keys == []
    branch = ("reduce", "norm", "scores", "gate_mean", "expand", "norm_out")
    assert all(key.split(".")[-2] in branch for key in left.missing_keys)
    loaded = {k.replace(".local.", "."): v for k, v in wrapped.state_dict().items()}
    assert all(torch.equal(loaded[k], v + 1) for k, v in plain.state_dict().items())


@pytest.mark.parametrize("name", BACKBONES)
def test_a_checkpoint_of_its_own_loads_strictly(name):
    net, other = backbone(name), backbone(name)
    wrap_lg_conv(net)
    wrap_lg_conv(other)
    other.load_state_dict({k: v + 1 for k, v in net.state_dict().items()})
    assert all(torch.equal(v, net.state_dict()[k] + 1) for k, v in other.state_dict().items())


def test_loading_does_not_change_the_dict_it_is_set():
    net = backbone("test_resnet")
    state = net.state_dict()
    keys = list(state)
    wrap_lg_conv(net)
    net.load_state_dict(state, strict=False)
    assert list(state) == keys


def test_a_bias_is_kept():
    conv = LGConv(nn.Conv2d(16, 4, 3, padding=1))
    conv.load_state_dict({"weight": torch.ones(4, 16, 3, 3), "bias": torch.arange(4.0)}, strict=False)
    assert conv.local.bias.tolist() == [0, 1, 2, 3]
    assert conv.local.weight.eq(1).all()


def test_a_wrapped_convolution_keeps_the_mode_of_its_network():
    for mode in (True, False):
        net = backbone("test_resnet").train(mode)
        wrap_lg_conv(net)
        assert {m.training for m in net.modules()} == {mode}


def test_only_the_3x3_convolutions_of_the_stages_are_wrapped():
    net = backbone("test_efficientnet")
    kernels = [m.kernel_size for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and n.startswith("blocks")]
    assert wrap_lg_conv(net) == kernels.count((3, 3)) > 0
    wrapped = {name: m for name, m in net.named_modules() if isinstance(m, LGConv)}
    assert all(name.startswith("blocks") and m.local.kernel_size == (3, 3) for name, m in wrapped.items())
    assert isinstance(net.conv_stem, nn.Conv2d)


def wrapped_names(name, scope):
    net = Backbone(name, pretrained=False, lg_conv=True, lg_scope=scope).net
    return [(key, m.local.kernel_size[0]) for key, m in net.named_modules() if isinstance(m, LGConv)]


def test_the_scope_decides_which_convolutions_are_wrapped():
    three, every, late = (wrapped_names("efficientnet_b0", scope) for scope in ("3x3", "kxk", "late"))
    assert [kernel for _, kernel in three] == [3] * 7
    assert sorted({kernel for _, kernel in every}) == [3, 5]
    assert len(every) == 16
    assert set(late) == {(key, kernel) for key, kernel in three if int(key.split(".")[1]) >= 3}
    assert 0 < len(late) < len(three)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "regnety_004"])
def test_late_begins_behind_the_map_at_stride_8(name):
    plain = Backbone(name, pretrained=False, lg_conv=False).eval()
    for m in plain.modules():  # no branch that starts at zero
        if isinstance(m, nn.BatchNorm2d):
            nn.init.ones_(m.weight)
    before = plain(torch.zeros(1, 3, 64, 64))
    changed = Backbone(name, pretrained=False, lg_conv=True, lg_scope="late").eval()
    changed.load_state_dict(plain.state_dict(), strict=False)
    for m in changed.modules():
        if isinstance(m, LGConv):
            nn.init.constant_(m.norm_out.bias, 1.0)
    after = changed(torch.zeros(1, 3, 64, 64))
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, False, False]


def test_an_unknown_scope_is_refused():
    with pytest.raises(ValueError, match="unknown lg_scope 'early', known are 3x3, kxk, late"):
        wrap_lg_conv(backbone("test_resnet"), "early")


def test_auto_wraps_where_there_is_something_to_wrap():
    for name, wrapped in (("test_efficientnet", True), ("test_convnext", False)):
        student = create_student(name, lg_conv="auto", pretrained=False, width=8, bins=8)
        assert student.recipe["options"]["lg_conv"] is wrapped
        assert (student.encoder.wrapped > 0) is wrapped


def test_a_network_with_nothing_to_wrap_is_refused_with_both_ways_out():
    with pytest.raises(ValueError, match=r"student\.lg_conv=false, or auto"):
        create_student("test_convnext", lg_conv=True, pretrained=False)


def test_another_word_than_auto_is_refused():
    with pytest.raises(ValueError, match="lg_conv must be true, false or auto, got 'yes'"):
        create_student("test_convnext", lg_conv="yes", pretrained=False)


def test_a_network_without_blocks_is_wrapped_too():
    assert len(wrapped_names("vgg11", "3x3")) == 8  # its first layer too: it has no stem


def test_a_deep_stem_is_left_alone():
    def convs():
        return nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3))

    for stem in ("conv1", "stem", "stem_0", "patch_embed"):
        net = nn.ModuleDict({stem: convs(), "layer1": convs()})
        assert wrap_lg_conv(net) == 2
        assert not any(isinstance(m, LGConv) for m in net[stem].modules())


def test_wrapping_twice_wraps_once():
    net = backbone("test_resnet")
    assert wrap_lg_conv(net) > 0
    assert wrap_lg_conv(net) == 0


def test_a_new_branch_learns_from_the_first_step():
    conv = LGConv(nn.Conv2d(16, 8, 3, padding=1))
    conv(seeded(2, 16, 8, 8, dtype=torch.float32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in conv.parameters())
