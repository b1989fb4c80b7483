"""Every backbone that a student is known to work with. A new one is tested by being listed here."""

from copy import deepcopy

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

import students.backbone
from students import LGConv, create_student
from students.backbone import AnySizeBlock, Backbone, load_plain, take_any_size
from students.lg_conv import wrap_lg_conv

SMALL = {"pretrained": False, "width": 8, "bins": 8, "min_depth": 0.5, "max_depth": 10.0}
# name: how many convolutions LG-Conv wraps; 0 where there is none of 3x3
BACKBONES = {
    "efficientnet_b0": 7,
    "efficientnet_b3": 12,
    "efficientnet_b5": 18,
    "efficientnet_lite0": 7,
    "resnet18": 16,
    "resnet34": 32,
    "resnet50": 16,
    "ghostnet_100": 29,
    "mobilenetv3_large_100": 9,
    "mobilenetv4_conv_small": 11,
    "mobilenetv4_conv_medium": 18,
    "convnext_tiny": 0,
    "regnety_004": 16,
    "repvgg_a0": 21,
    "fastvit_t8": 13,
    "mobileone_s0": 84,
    "repvit_m0_9": 26,
    "edgenext_small": 9,
    "mnasnet_small": 8,
    "swin_tiny_patch4_window7_224": 0,
    "swin_large_patch4_window7_224": 0,
}
# Each has a smaller relative in the dictionary, which carries out what takes real weights.
DEEPER = (
    "efficientnet_b3",
    "efficientnet_b5",
    "resnet34",
    "resnet50",
    "mobilenetv4_conv_medium",
    "swin_large_patch4_window7_224",
)
# Of these families timm makes smaller networks of the same parts.
NARROW = {
    "resnet18": {"layers": (1, 1, 1, 1), "channels": (8, 16, 24, 32)},
    "convnext_tiny": {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)},
    "swin_tiny_patch4_window7_224": {"embed_dim": 8, "depths": (2, 2, 2, 2), "num_heads": (1, 1, 2, 2)},
}


@pytest.mark.parametrize("name", [*DEEPER, "resnet18"])  # which is shallower below
def test_a_deeper_network_has_maps_at_the_four_strides_and_is_wrapped(name):
    with torch.device("meta"):
        student = create_student(name, lg_conv=BACKBONES[name] > 0, **SMALL)  # which tries its maps, or refuses
    assert sum(isinstance(module, LGConv) for module in student.modules()) == BACKBONES[name]


@pytest.mark.parametrize("name", ["resnet50", "swin_tiny_patch4_window7_224"])  # the others start from files below
def test_timms_own_weights_of_the_whole_network_fit_by_name_and_shape(name):
    with torch.device("meta"):
        whole = timm.create_model(name, pretrained=False)
        net = Backbone(name, pretrained=False, lg_conv=False).net
    load_plain(net, whole.state_dict(), "a file", name)
    with pytest.raises(ValueError, match=f"a file is no checkpoint of timm's {name}"):
        load_plain(net, dict(list(whole.state_dict().items())[1:]), "a file", name)


def test_a_deeper_networks_file_is_none_of_this_one_though_all_that_it_needs_is_there():
    with torch.device("meta"):
        deeper = timm.create_model("resnet34", pretrained=False).state_dict()
        net = Backbone("resnet18", pretrained=False, lg_conv=False).net
    with pytest.raises(ValueError, match=r"timm's resnet18: it holds \d+ weights more, such as layer1.2.conv1.weight"):
        load_plain(net, deeper, "a file", "resnet18")


# ---------------------------------------------------------------------------------------------------- with real weights


@pytest.fixture(scope="module", params=[name for name in BACKBONES if name not in DEEPER])
def started(request, tmp_path_factory):
    """(timm's whole network, the student that started from its file, with LG-Conv where it can have it)."""
    name, create = request.param, timm.create_model
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "whole.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", lambda *name, **options: create(*name, **NARROW.get(*name, {}), **options))
        whole = timm.create_model(name, pretrained=False)
        save_file(whole.state_dict(), path)
        student = create_student(name, lg_conv=BACKBONES[name] > 0, checkpoint=path, **SMALL)
    path.unlink()
    return whole, student


def test_a_student_starts_from_a_file_of_timms(started):
    whole, student = started
    inputs = {key.replace("_", "."): value for key, value in whole.state_dict().items()}
    new = {
        f"{name}.{key}"
        for name, module in student.encoder.net.named_modules()
        if isinstance(module, LGConv)
        for key in module.state_dict()
        if not key.startswith("local.")
    }
    for key, value in student.encoder.net.state_dict().items():
        assert key in new or torch.equal(value, inputs[key.replace(".local.", ".").replace("_", ".")]), key


@torch.no_grad()
def test_depth_has_the_images_size_and_maps_lie_at_the_four_strides(started):
    student = started[1].eval()
    maps = student.encode(torch.zeros(1, 3, 64, 160))
    grids = [(64 // s, 160 // s) for s in (4, 8, 16, 32)]
    assert [m.shape for m in maps] == [(1, c, *g) for c, g in zip(student.feature_channels, grids, strict=True)]
    assert student.decode(maps, (62, 151)).shape == (1, 1, 62, 151)
    name, wrapped = student.recipe["student"], sum(isinstance(module, LGConv) for module in student.modules())
    assert wrapped == BACKBONES[name] or name in NARROW


def test_every_weight_learns_from_an_image_of_odd_size(started):
    student = deepcopy(started[1]).train()
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # no branch that starts at zero, behind which nothing would learn
    student.zero_grad()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    depth = student(torch.rand(2, 3, 33, 63, generator=torch.Generator().manual_seed(0)))
    (depth - 2).square().mean().backward()
    optimizer.step()
    assert depth.shape == (2, 1, 33, 63)
    for key, weight in student.named_parameters():
        assert torch.isfinite(weight).all(), key
        assert weight.grad.any(), key


def gradient(student, memory_format):
    """Of every weight after one step's backward, as one vector."""
    student = deepcopy(student).train().to(memory_format=memory_format)
    torch.manual_seed(0)  # of the blocks that are left out at random
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    (student(image.contiguous(memory_format=memory_format)) - 2).square().mean().backward()
    return torch.cat([weight.grad.flatten() for weight in student.parameters()])


ORDERS = ("efficientnet_b0", "resnet18", "ghostnet_100", "convnext_tiny", "regnety_004", "edgenext_small")
ORDERS += ("swin_tiny_patch4_window7_224",)  # each kind of layer


@pytest.mark.parametrize("started", ORDERS, indirect=True)
def test_gradients_do_not_depend_on_the_order_in_memory(started):
    plain, last = (gradient(started[1], order) for order in (torch.contiguous_format, torch.channels_last))
    assert (last - plain).norm() <= 0.1 * plain.norm()  # small batches multiply rounding


# ------------------------------------------------------------------------------------------------ LG-Conv, at the start


def settled(net, images):
    """A network whose norms have the statistics of its own maps, as after training, and no branch that starts at 0."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            module.momentum = None  # the mean over all that was seen
    with torch.no_grad():
        net.train()(images)
    return net


def changes(net, images):
    """By how much each wrapped convolution's map differs from what the convolution alone gives of the same input."""
    gaps = []

    def compare(conv, inputs, out):
        plain = conv.local(inputs[0])
        gaps.append(float((out - plain).norm() / plain.norm()))

    hooks = [m.register_forward_hook(compare) for m in net.modules() if isinstance(m, LGConv)]
    with torch.no_grad():
        net(images)
    for hook in hooks:
        hook.remove()
    return gaps


# EdgeNeXt's convolutions start near 0 themselves and have no norm behind them: there the branch is half of a map.
CHANGED = ("efficientnet_b0", "resnet18", "ghostnet_100", "mobilenetv4_conv_small", "regnety_004", "repvit_m0_9")


@pytest.mark.parametrize("name", CHANGED)
def test_lg_conv_changes_every_map_by_a_twentieth_at_most_at_the_start(name):
    torch.manual_seed(0)
    images = torch.randn(4, 3, 64, 96)
    net = timm.create_model(name, pretrained=False, features_only=True)
    wrap_lg_conv(settled(net, images))
    gaps = [*changes(net.eval(), images), *changes(net.train(), images)]
    assert len(gaps) == 2 * BACKBONES[name]
    assert 0 < max(gaps) <= 0.05


# ----------------------------------------------------------------------------------------------------------------- Swin


def swin(**options):
    torch.manual_seed(0)
    options = {**NARROW["swin_tiny_patch4_window7_224"], **options}
    return timm.create_model("swin_tiny_patch4_window7_224", features_only=True, pretrained=False, **options).eval()


@pytest.fixture
def any_size():
    net = swin(strict_img_size=False, always_partition=True)
    take_any_size(net)
    return net


def test_where_windows_divide_every_map_it_is_timms_network_for_that_size(any_size):
    image = torch.rand(1, 3, 448, 448)
    with torch.no_grad():
        maps, expected = any_size(image), swin(img_size=448)(image)
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))


@pytest.mark.parametrize("size", [(96, 128), (120, 68)])
def test_the_two_ends_of_an_image_are_no_neighbours(any_size, size):
    """A window of 7 tokens, once shifted, sees at most 14 tokens of 4 pixels far."""
    image = torch.rand(1, 3, *size)
    for edge in ((slice(0, 8), slice(None)), (slice(None), slice(0, 8))):
        changed = image.clone()
        changed[..., edge[0], edge[1]] += 1
        with torch.no_grad():
            gap = (any_size(changed)[0] - any_size(image)[0]).abs().sum(dim=-1)[0]
        end = gap[-2:] if edge[1] == slice(None) else gap[:, -2:]
        assert gap.max() > 0
        assert end.max() == 0


def test_windows_meet_in_the_last_stage_too(any_size):
    blocks = [block for block in any_size.modules() if isinstance(block, AnySizeBlock)]
    assert [block.shift_size for block in blocks] == [(0, 0), (3, 3)] * 4


def test_other_networks_are_left_alone():
    net = timm.create_model("test_resnet", features_only=True)
    kinds = [type(module) for module in net.modules()]
    take_any_size(net)
    assert [type(module) for module in net.modules()] == kinds


def test_a_copy_is_a_network_of_its_own(any_size):
    other, image = deepcopy(any_size), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = any_size(image)[0]
        for parameter in other.parameters():
            parameter.zero_()
        assert torch.equal(any_size(image)[0], before)
        assert not torch.equal(other(image)[0], before)


def test_a_backbone_takes_swins_of_any_size(monkeypatch):
    inputs = {}
    monkeypatch.setattr(students.backbone, "fetch", lambda name, pretrained, **new: inputs.update(new) or swin())
    net = students.backbone.create_timm("swin_large_patch4_window7_224", pretrained=False)
    assert inputs == {"features_only": True, "strict_img_size": False, "always_partition": True}
    assert any(isinstance(module, AnySizeBlock) for module in net.modules())
