"""The thesis' family: what each option changes, and what is refused."""

import pytest
import torch

from students import count_parameters, create_student, list_students
from students.performer import PerformerAttention
from students.pruned_dpt import EfficientNetStem
from teachers import DPT_CONFIGS
from teachers.dpt import inner_size

# Of the 36, with every value of every option: each attention with each stem.
HYBRID = [
    ("standard", 1, (0, 1), "resnet50"),
    ("standard", 12, (2, 5), "efficientnet_b0"),
    ("performer", 24, (8, 11), "resnet50"),
    ("performer", 1, (2, 5), "efficientnet_b0"),
]
# Millions: the whole network, one transformer block, what the other stem saves.
WHOLE, BLOCK, SAVED = 121.196, 7.088, 6.960


def options(attention, heads, hooks, stem):
    return {"attention": attention, "heads": heads, "hooks": hooks, "stem": stem}


@pytest.fixture
def micro():
    """micro(**options): a pruned dpt_micro, seeded, in training mode."""

    def make(**options):
        torch.manual_seed(0)
        return create_student("dpt_micro", **options)

    return make


# -------------------------------------------------------------------------------------------------------- all variants


@pytest.mark.parametrize("variant", HYBRID, ids=str)
def test_a_variant_has_the_blocks_up_to_its_last_hook_and_no_others(variant):
    with torch.device("meta"):
        student = create_student("dpt_hybrid", resolution_scale=0.5, **options(*variant))
    attention, heads, hooks, stem = variant
    blocks = student.encoder.vit.blocks
    assert len(blocks) == hooks[-1] + 1
    assert all(isinstance(block.attn, PerformerAttention) == (attention == "performer") for block in blocks)
    assert {block.attn.heads for block in blocks} == {heads}
    assert isinstance(student.encoder.stem, EfficientNetStem) == (stem == "efficientnet_b0")
    millions = WHOLE - BLOCK * (11 - hooks[-1]) - SAVED * (stem == "efficientnet_b0")
    assert count_parameters(student) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("name", ["dpt_base", "dpt_large"])
def test_a_dpt_on_the_image_itself_is_pruned_at_four_hooks(name):
    with torch.device("meta"):
        student = create_student(name, heads=1, hooks=(0, 1, 2, 3), attention="performer", resolution_scale=0.5)
        assert student(torch.zeros(1, 3, 64, 96)).shape == (1, 1, 64, 96)
    assert len(student.encoder.vit.blocks) == 4


def test_a_stem_of_timms_can_be_exported(micro, images):
    stem, image = micro(stem="efficientnet_b0").eval().encoder.stem, images(32, 64)
    program = torch.export.export(stem, (image,))
    torch.testing.assert_close(program.module()(image), stem(image))


# ----------------------------------------------------------------------------------------------------------- the parts


def test_an_efficientnet_stem_gives_the_channels_and_grids_of_the_stem_it_replaces(micro, images):
    image = images(64, 96) * 2 - 1
    own, other = micro(stem="resnet50").encoder.stem, micro(stem="efficientnet_b0").encoder.stem
    assert [m.shape for m in own(image)] == [m.shape for m in other(image)]


def test_an_efficientnet_stem_sees_the_image_as_imagenet_taught_it(micro, images):
    stem, seen = micro(stem="efficientnet_b0").eval().encoder.stem, []
    stem.backbone.net.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    image = images(32, 32)
    stem(image * 2 - 1)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(seen[0], (image - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1))


def test_the_tokens_of_an_efficientnet_stem_come_from_its_last_stage(micro, images):
    stem = micro(stem="efficientnet_b0").eval().encoder.stem
    image = (images(64, 64) * 2 - 1).requires_grad_()
    last = list(stem.backbone.net.parameters())[-1]
    reached = [torch.autograd.grad(m.sum(), last, retain_graph=True, allow_unused=True)[0] for m in stem(image)]
    assert [grad is not None for grad in reached] == [False, False, True]


def test_with_many_random_features_a_performer_gives_almost_the_depth_of_exact_attention(micro, images):
    exact, many = micro().eval(), micro(attention="performer", random_features=2048).eval()
    many.load_state_dict(exact.state_dict(), strict=False)
    few = micro(attention="performer", random_features=4).eval()
    few.load_state_dict(exact.state_dict(), strict=False)
    with torch.no_grad():
        raw = [model.decoder.fuse(model.encode(images(64, 64))) for model in (exact, many, few)]
    gaps = [float((one - raw[0]).abs().mean()) for one in raw[1:]]
    assert gaps[0] < 0.2 * gaps[1]


def test_redrawing_is_the_same_for_the_same_seed_and_differs_between_blocks(micro):
    student = micro(attention="performer", random_features=8)
    student.redraw(3)
    first = [block.attn.projection.clone() for block in student.encoder.vit.blocks]
    student.redraw(4)
    assert not torch.equal(student.encoder.vit.blocks[0].attn.projection, first[0])
    student.redraw(3)
    assert all(torch.equal(b.attn.projection, p) for b, p in zip(student.encoder.vit.blocks, first, strict=True))
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize(("size", "scale", "inner"), [((64, 96), 0.1, (32, 32)), ((352, 1216), 0.3, (106, 365))])
def test_any_factor_works_and_leaves_at_least_32_pixels(micro, images, size, scale, inner):
    assert inner_size(size, scale) == inner
    if size[1] < 100:
        assert micro(resolution_scale=scale).eval()(images(*size)).shape == (2, 1, *size)


def test_a_student_without_weights_starts_from_a_depth_within_its_limits(micro, images):
    for variant in (("standard", 1, (0, 1), "resnet50"), ("performer", 1, (0, 1), "efficientnet_b0")):
        depth = micro(**options(*variant), max_depth=10.0).eval()(images(64, 64))
        assert depth.median().item() == pytest.approx(2.0, rel=0.3)


@pytest.mark.parametrize("scale", [3.05e-4, 0.1])
def test_a_student_without_weights_starts_within_what_its_output_can_say(micro, images, scale):
    student = micro(scale=scale, shift=0.1378, invert=True, max_depth=80.0).eval()  # 1 / shift is 7.3 m
    assert student(images(64, 64)).median().item() == pytest.approx(0.2 / 0.1378, rel=0.3)


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("dpt_hybrid", {"hooks": (8, 12)}, r"hooks=\(8, 12\): dpt_hybrid has blocks 0 to 11 only"),
        ("dpt_micro", {"hooks": (3, 6)}, r"dpt_micro has blocks 0 to 5 only"),
        ("dpt_hybrid", {"hooks": (5, 2)}, r"hooks must be 2 increasing block numbers from 0, got \(5, 2\)"),
        ("dpt_hybrid", {"hooks": (0, 1, 2, 3)}, "hooks must be 2 increasing"),
        ("dpt_hybrid", {"hooks": ()}, "hooks must be 2 increasing"),
        ("dpt_base", {"hooks": (0, 1)}, "hooks must be 4 increasing"),
        ("dpt_micro", {"heads": 12}, "heads=12 does not divide the width 160; choose a divisor"),
        ("dpt_micro", {"heads": 0}, "heads=0 does not divide the width 160; choose a divisor"),
        ("dpt_micro", {"attention": "linear"}, "unknown attention 'linear', known are standard, performer"),
        ("dpt_micro", {"stem": "resnet18"}, "unknown stem 'resnet18', known are resnet50, efficientnet_b0"),
        ("dpt_base", {"stem": "resnet50"}, "dpt_base works on the image itself and takes no stem, got 'resnet50'"),
        ("dpt_micro", {"attention": "performer", "random_features": 0}, "random_features must be at least 1"),
        ("dpt_micro", {"random_features": 64}, "random_features needs attention='performer'"),
        ("dpt_micro", {"resolution_scale": 0.0}, r"resolution_scale must lie in \(0, 1\], got 0.0"),
        ("dpt_micro", {"resolution_scale": 1.5}, r"resolution_scale must lie in \(0, 1\], got 1.5"),
        ("dpt_hybrid", {"resolution_scale": 0.04}, "=0.04 leaves less than one patch of 16 pixels of the 384 that"),
        ("dpt_micro", {"resolution_scale": 0.08}, "of the 192 that the network was made for; choose at least 1/12"),
        ("dpt_micro", {"max_depth": 0.0}, "depth limits must satisfy 0 < min < max, got 0.001 and 0.0 metres"),
        ("dpt_micro", {"min_depth": 90.0}, "depth limits must satisfy 0 < min < max, got 90.0 and 80.0 metres"),
        ("dpt_micro", {"pretrained": True}, "no ImageNet weights for dpt_micro by name; use pretrained=false"),
        ("dpt_large", {"pretrained": True}, "no ImageNet weights for dpt_large by name; use pretrained=false"),
        (
            "dpt_micro",
            {"lg_conv": True},
            "dpt_micro has no option lg_conv, which is a CNN's; its options are heads,",
        ),
        ("dpt_hybrid_ade20k", {}, "dpt_hybrid_ade20k gives classes, and a student depth; name dpt_hybrid"),
        ("dpt_micro", {"layers": 2}, "dpt_micro has no option layers; its options are heads, hooks, attention"),
        ("test_resnet", {"hooks": (0, 1)}, "test_resnet has no option hooks, which is a DPT's; its options are lg"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(name, changes, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        create_student(name, **changes)


def test_every_parent_names_its_own_options_when_none_are_set():
    for name in DPT_CONFIGS.keys() & list_students():
        config = DPT_CONFIGS[name]
        with torch.device("meta"):
            student = create_student(name)
        assert (student.config.heads, student.config.hooks) == (config.heads, config.hooks)
        assert student.recipe["options"]["stem"] == ("resnet50" if config.stem else None)
