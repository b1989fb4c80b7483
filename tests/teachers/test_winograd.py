import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from teachers import winograd
from teachers.winograd import transform_filters, transforms, winograd_conv2d


def seeded(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_one_axis_is_a_correlation():
    a, g, b = transforms()
    tile, kernel = seeded(6).double(), seeded(3).double()
    assert_close(a @ ((g @ kernel) * (b @ tile)), torch.stack([tile[i : i + 3] @ kernel for i in range(4)]))


@pytest.mark.parametrize("size", [(24, 24), (25, 30), (3, 43), (101, 1)])
@pytest.mark.parametrize("strip", [1, 1 << 10, 1 << 20])
def test_it_is_the_direct_convolution_at_every_size(size, strip, monkeypatch):
    monkeypatch.setattr(winograd, "STRIP", strip)
    x, weight, bias = seeded(2, 12, *size), seeded(8, 12, 3, 3), seeded(8)
    exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=1).float()
    for ordered in (x, x.to(memory_format=torch.channels_last)):
        got = winograd_conv2d(ordered, transform_filters(weight), bias)
        assert got.is_contiguous(memory_format=torch.channels_last)
        assert_close(got, exact, rtol=1e-5, atol=1e-5 * exact.abs().max().item())


def test_it_rounds_about_as_little_as_a_direct_convolution():
    x, weight = seeded(1, 256, 24, 24).relu(), seeded(64, 256, 3, 3)
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    assert (winograd_conv2d(x, transform_filters(weight), None) - exact).abs().max() < 4e-6 * exact.abs().max()
