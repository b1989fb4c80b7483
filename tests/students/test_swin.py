from copy import deepcopy

import pytest
import timm
import torch

import students.backbone
from students.swin import AnySizeBlock, take_any_size

SMALL = {"embed_dim": 8, "depths": (2, 2, 2, 2), "num_heads": (1, 1, 2, 2)}


def swin(**options):
    torch.manual_seed(0)
    given = {**SMALL, **options}
    return timm.create_model("swin_tiny_patch4_window7_224", features_only=True, pretrained=False, **given).eval()


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
    given = {}
    monkeypatch.setattr(students.backbone, "fetch", lambda name, pretrained, **options: given.update(options) or swin())
    net = students.backbone.create_timm("swin_large_patch4_window7_224", pretrained=False)
    assert given == {"features_only": True, "strict_img_size": False, "always_partition": True}
    assert any(isinstance(module, AnySizeBlock) for module in net.modules())
