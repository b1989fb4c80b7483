import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from teachers import DPT, DPT_CONFIGS, DPTConfig, create_dpt, create_teacher
from teachers.dpt import DPTDecoder, init_output, inner_size
from teachers.model import pad_to_stride
from teachers.stem import StandardisedConv2d, fold_standardisation
from teachers.vit import ViT

KINDS = pytest.mark.parametrize("kind", ["hybrid", "plain"])


def seeded(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


# ---------------------------------------------------------------------------------------------------------------- sizes


@KINDS
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("size", [(32, 32), (33, 95), (75, 101), (64, 96)])
def test_any_size_from_32_up_gives_depth_of_that_size(tiny_dpt, images, kind, scale, size):
    depth = tiny_dpt(kind, resolution_scale=scale)(images(*size))
    assert depth.shape == (2, 1, *size)
    assert torch.isfinite(depth).all()


def test_multiples_of_32_are_not_padded(images):
    image = images(64, 96)
    assert pad_to_stride(image) is image


def test_padding_repeats_the_last_row_and_column_below_and_to_the_right(images):
    image = images(33, 63)
    padded = pad_to_stride(image)
    assert padded.shape == (2, 3, 64, 64)
    assert torch.equal(padded[..., :33, :63], image)
    assert torch.equal(padded[..., 33:, :63], image[..., -1:, :].expand(-1, -1, 31, -1))
    assert torch.equal(padded[..., 63], padded[..., 62])


@KINDS
def test_an_odd_image_is_the_padded_one_cut_back(tiny_dpt, images, kind):
    model, image = tiny_dpt(kind), images(75, 101)
    assert torch.equal(model(image), model(pad_to_stride(image))[..., :75, :101])


@KINDS
def test_maps_lie_at_strides_4_8_16_32_of_the_padded_image(tiny_dpt, images, kind):
    model = tiny_dpt(kind)
    maps = model.encode(images(75, 101))
    sides = [(96 // s, 128 // s) for s in (4, 8, 16, 32)]
    assert [m.shape for m in maps] == [(2, c, *side) for c, side in zip(model.feature_channels, sides, strict=True)]


@KINDS
def test_resolution_scale_maps_lie_at_the_strides_of_the_reduced_image(tiny_dpt, images, kind):
    image = images(128, 192)
    reduced = F.interpolate(image, size=(64, 96), mode="bilinear", align_corners=False, antialias=True)
    for ours, direct in zip(
        tiny_dpt(kind, resolution_scale=0.5).encode(image), tiny_dpt(kind).encode(reduced), strict=True
    ):
        assert torch.equal(ours, direct)


def test_a_reduced_image_is_never_smaller_than_32(tiny_dpt, images):
    assert inner_size((40, 256), 0.25) == (32, 64)
    assert tiny_dpt("plain", resolution_scale=0.25).encode(images(40, 256))[0].shape[-2:] == (8, 16)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 64, 64), r"an image batch must be \(B, 3, H, W\), got \(3, 64, 64\)"),
        ((1, 4, 64, 64), r"must be \(B, 3, H, W\), got \(1, 4, 64, 64\)"),
        ((1, 3, 31, 64), r"at least 32 pixels, got \(31, 64\); enlarge the image"),
    ],
)
def test_other_shapes_are_refused(tiny_dpt, shape, message):
    with pytest.raises(ValueError, match=message):
        tiny_dpt("plain")(torch.zeros(shape))


# ------------------------------------------------------------------------------------------------------ depth, from raw


def to_depth(tiny_config, raw, **changes):
    return DPTDecoder(tiny_config("plain", **changes)).to_depth(torch.tensor(raw))


def test_inversion_is_one_over_the_scaled_and_shifted_output(tiny_config):
    # 1 / (0.5 * 3 + 0.5), 1 / (0.5 * 0 + 0.5), and the floor of 1e-8 below it
    depth = to_depth(tiny_config, [3.0, 0.0, -1.0, -9.0], invert=True, scale=0.5, shift=0.5)
    assert_close(depth, torch.tensor([0.5, 2.0, 1e8, 1e8]))


@pytest.mark.parametrize(
    ("invert", "raw", "unlimited"), [(True, [1.0, 1e9, -3.0], [1.0, 1e-9, 1e8]), (False, [1.0, -5.0, 1e9], None)]
)
def test_limits_clamp_and_no_limits_do_not(tiny_config, invert, raw, unlimited):
    options = {"invert": invert, "scale": 1.0, "shift": 0.0}
    assert_close(to_depth(tiny_config, raw, **options), torch.tensor(unlimited or raw))
    limited = to_depth(tiny_config, raw, **options, min_depth=1e-3, max_depth=80.0)
    assert limited.tolist() == pytest.approx([1.0, 1e-3, 80.0])


def test_one_limit_alone_clamps_one_side(tiny_config):
    assert to_depth(tiny_config, [-1.0, 99.0], max_depth=80.0).tolist() == [-1.0, 80.0]
    assert to_depth(tiny_config, [-1.0, 99.0], min_depth=0.5).tolist() == [0.5, 99.0]


def test_inversion_leaves_half_precision(tiny_config):
    depth = DPTDecoder(tiny_config("plain", invert=True)).to_depth(torch.zeros(1, dtype=torch.float16))
    assert depth.dtype == torch.float32
    assert depth.item() == pytest.approx(1e8)


def test_inversion_keeps_float64(tiny_config):
    depth = DPTDecoder(tiny_config("plain", invert=True, scale=0.1)).to_depth(
        torch.full((1,), 1 / 3, dtype=torch.float64)
    )
    assert depth.dtype == torch.float64
    assert depth.item() == pytest.approx(30, rel=1e-15)


@KINDS
@pytest.mark.parametrize("invert", [True, False])
def test_depth_is_finite_in_mixed_precision(tiny_dpt, images, kind, invert):
    model = tiny_dpt(kind, invert=invert, scale=0.1, shift=0.0125)
    with torch.autocast("cpu", torch.bfloat16):
        depth = model(images(33, 47))
    assert depth.dtype == torch.float32
    assert not torch.equal(depth, depth.bfloat16().float())  # nor was it rounded to 8 bits on its way
    assert torch.isfinite(depth).all()
    assert (depth - model(images(33, 47))).abs().median() < 0.05 * depth.abs().median()


@KINDS
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_it_runs_in_the_precision_it_is_set(tiny_dpt, images, kind, dtype):
    model, exact = tiny_dpt(kind).to(dtype), tiny_dpt(kind)(images(64, 32))
    raw = model(images(64, 32).to(dtype))
    assert raw.dtype == dtype
    assert_close(raw.float(), exact, rtol=0, atol=(1e-5 if dtype == torch.float64 else 0.1) * exact.abs().max().item())


def test_non_negative_rectifies_the_raw_output(tiny_dpt, images):
    free, rectified = tiny_dpt("plain"), tiny_dpt("plain", non_negative=True)
    middle = free(images(32, 64)).median()
    for model in (free, rectified):
        model.decoder.fuse.head.conv3.bias.data -= middle
    raw = free(images(32, 64))
    assert raw.min() < 0 < raw.max()
    assert torch.equal(rectified(images(32, 64)), raw.relu())


@pytest.mark.parametrize("changes", [{}, {"invert": True, "scale": 0.1, "shift": 0.0125}])
def test_training_starts_near_the_wanted_depth(tiny_dpt, images, changes):
    model = tiny_dpt("hybrid", non_negative=True, **changes)
    init_output(model, depth=15.0)
    depth = model(images(32, 64))
    assert depth.median().item() == pytest.approx(15, rel=0.2)


# ---------------------------------------------------------------------------------------------------------- transformer


def test_heads_share_their_weights_and_only_split_them_differently(tiny_dpt, images):
    one, four = tiny_dpt("plain", heads=1), tiny_dpt("plain", heads=4)
    one.load_state_dict(four.state_dict())
    assert not torch.allclose(one(images(32, 32)), four(images(32, 32)))


def test_another_attention_and_another_stem_take_the_place_of_the_own(tiny_config):
    class Mean(torch.nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.sizes = (width, heads)

        def forward(self, tokens):
            return tokens.mean(dim=1, keepdim=True).expand_as(tokens)

    config = tiny_config("hybrid")
    stem = torch.nn.Module()
    stem.forward = lambda image: [
        F.avg_pool2d(image, stride).mean(1, keepdim=True).repeat(1, channels, 1, 1)
        for channels, stride in zip(config.stem.channels, (4, 8, 16), strict=True)
    ]
    model = DPT(config, stem=stem, attention=Mean)
    assert model.encoder.stem is stem
    assert [block.attn.sizes for block in model.encoder.vit.blocks] == [(16, 2)] * 3
    assert model(torch.rand(1, 3, 64, 32)).shape == (1, 1, 64, 32)


def test_an_unknown_readout_is_refused(tiny_config):
    with pytest.raises(ValueError, match="unknown readout 'mean', known are project, add, ignore"):
        DPT(tiny_config("plain", readout="mean"))


def test_no_block_after_the_last_hook_exists(tiny_dpt):
    assert len(tiny_dpt("hybrid", hooks=(0, 1)).encoder.vit.blocks) == 2
    assert len(tiny_dpt("plain", hooks=(0, 2, 3, 6)).encoder.vit.blocks) == 7


def test_taps_are_the_raw_outputs_of_the_hooked_blocks():
    torch.manual_seed(0)
    vit = ViT(inputs=4, patch=1, width=8, heads=2, grid=2, hooks=(0, 2))
    outputs = []
    for block in vit.blocks:
        block.register_forward_hook(lambda _module, _given, out: outputs.append(out))
    taps, size = vit(seeded(1, 4, 2, 3))
    assert size == (2, 3)
    assert [tap.shape for tap in taps] == [(1, 7, 8)] * 2
    assert taps[0] is outputs[0]
    assert taps[1] is outputs[2]


@pytest.mark.parametrize("hooks", [(2,), (3, 1), (1, 1), (-1, 1), (0, 1, 2, 3)])
def test_hooks_of_a_hybrid_must_be_two_increasing_numbers(hooks):
    with pytest.raises(ValueError, match=r"hooks must be 2 increasing block numbers from 0, got \("):
        DPTConfig(hooks=hooks)


def test_hooks_of_a_plain_vit_must_be_four():
    with pytest.raises(ValueError, match=r"hooks must be 4 increasing block numbers from 0, got \(8, 11\)"):
        DPTConfig(stem=None)


@pytest.mark.parametrize("scale", [0.0, -0.5, 1.5])
def test_a_resolution_scale_outside_0_to_1_is_refused(scale):
    with pytest.raises(ValueError, match=r"resolution_scale must lie in \(0, 1\]"):
        DPTConfig(resolution_scale=scale)


def test_positions_are_used_as_they_are_on_their_own_grid_and_stretched_elsewhere():
    vit = ViT(inputs=3, patch=16, width=8, heads=1, grid=2, hooks=(0,))
    assert vit.positions(2, 2) is vit.pos_embed
    stretched, (left, right) = vit.positions(2, 4)[0], vit.pos_embed[0, 1:3]
    assert stretched.shape == (9, 8)
    assert torch.equal(stretched[0], vit.pos_embed[0, 0])
    expected = [left, 0.75 * left + 0.25 * right, 0.25 * left + 0.75 * right, right]
    assert_close(stretched[1:5], torch.stack(expected))


# ----------------------------------------------------------------------------------------------------------------- stem


def test_folding_standardised_convolutions_removes_them_and_changes_nothing(tiny_dpt, images):
    model, image = tiny_dpt("hybrid"), images(75, 64)
    before = model(image)
    assert any(isinstance(m, StandardisedConv2d) for m in model.modules())
    folded = fold_standardisation(model)
    assert not any(isinstance(m, StandardisedConv2d) for m in folded.modules())
    assert (folded(image) - before).abs().max() < 1e-6 * before.abs().max().clamp(min=1)


# ---------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(("name", "millions"), [("dpt_hybrid", 123), ("dpt_large", 343), ("dpt_base", 110)])
def test_published_sizes_have_their_parameter_counts(name, millions):
    with torch.device("meta"):
        model = create_dpt(name)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(millions * 1e6, rel=0.02)


@pytest.mark.parametrize("name", sorted(DPT_CONFIGS))
def test_every_listed_teacher_has_the_four_strides(name):
    with torch.device("meta"):
        model = create_dpt(name)
        maps = model.encode(torch.zeros(1, 3, 64, 96))
    sides = [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert [m.shape[1:] for m in maps] == [(c, *s) for c, s in zip(model.feature_channels, sides, strict=True)]


def test_an_unknown_teacher_is_refused_with_the_known_ones():
    known = ", ".join([*sorted(DPT_CONFIGS), "or a trained model's folder"])
    with pytest.raises(ValueError, match=rf"unknown teacher 'dpt_hybird' \(known: {known}\)"):
        create_teacher("dpt_hybird")


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown option of dpt_micro: .*'skale'; known are width, heads, hooks"):
        create_teacher("dpt_micro", skale=2.0)


def test_the_small_teacher_comes_with_its_weights(images):
    first, second = create_teacher("dpt_micro"), create_teacher("dpt_micro")
    depth = first(images(64, 96))
    assert torch.equal(depth, second(images(64, 96)))
    assert depth.min() >= first.min_depth
    assert depth.max() <= first.max_depth
