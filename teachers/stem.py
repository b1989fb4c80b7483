"""The convolutional stem of DPT-Hybrid: a ResNet of the BiT family up to stride 16.

Non-preactivated bottlenecks, weight-standardised convolutions, GroupNorm, and TensorFlow's SAME padding, which puts
the odd pixel at the bottom and right.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from teachers.model import replace_modules

STANDARDISE_EPS = (
    1e-5  # added to the deviation, as the published checkpoints were trained; timm now adds 1e-8 to the variance
)


@dataclass(frozen=True)
class StemConfig:
    """Sizes of the stem. Each stage has `layers[i]` bottlenecks of `channels[i]` outputs at stride 4 * 2^i."""

    layers: tuple[int, int, int] = (3, 4, 9)
    channels: tuple[int, int, int] = (256, 512, 1024)
    width: int = 64
    groups: int = 32


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after one axis so that the output has ceil(size / stride) positions."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pad_same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad (B, C, H, W) for a square kernel as TensorFlow does."""
    top, bottom = same_padding(x.shape[-2], kernel, stride)
    left, right = same_padding(x.shape[-1], kernel, stride)
    return F.pad(x, (left, right, top, bottom), value=value) if top + bottom + left + right else x


class SameConv2d(nn.Conv2d):
    """A convolution without bias whose strided form pads like TensorFlow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=0 if stride > 1 else kernel // 2, bias=False)

    def effective_weight(self) -> Tensor:
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            x = pad_same(x, self.kernel_size[0], self.stride[0])
        return F.conv2d(x, self.effective_weight(), None, self.stride, self.padding)


class StandardisedConv2d(SameConv2d):
    """A convolution whose filters are brought to mean 0 and deviation 1 before use (arXiv 1903.10520)."""

    def effective_weight(self) -> Tensor:
        mean = self.weight.mean(dim=(1, 2, 3), keepdim=True)
        deviation = self.weight.std(dim=(1, 2, 3), keepdim=True, unbiased=False)
        return (self.weight - mean) / (deviation + STANDARDISE_EPS)

    def folded(self) -> SameConv2d:
        """The same map with its filters standardised once, for networks that no longer change."""
        conv = SameConv2d(self.in_channels, self.out_channels, self.kernel_size[0], self.stride[0])
        conv.weight = nn.Parameter(self.effective_weight().detach(), requires_grad=self.weight.requires_grad)
        return conv


class Downsample(nn.Module):
    """The shortcut where a block changes its shape: a strided 1x1 convolution and a norm."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv = StandardisedConv2d(inputs, outputs, 1, stride)
        self.norm = nn.GroupNorm(groups, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a shortcut; the last rectification comes after the addition."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int, shortcut: bool) -> None:
        super().__init__()
        middle = outputs // 4
        self.downsample = Downsample(inputs, outputs, stride, groups) if shortcut else nn.Identity()
        self.conv1 = StandardisedConv2d(inputs, middle, 1)
        self.norm1 = nn.GroupNorm(min(groups, middle // 2), middle)
        self.conv2 = StandardisedConv2d(middle, middle, 3, stride)
        self.norm2 = nn.GroupNorm(min(groups, middle // 2), middle)
        self.conv3 = StandardisedConv2d(middle, outputs, 1)
        self.norm3 = nn.GroupNorm(groups, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = F.relu(self.norm2(self.conv2(y)), inplace=True)
        return F.relu(self.norm3(self.conv3(y)) + self.downsample(x), inplace=True)


class ResNetStem(nn.Module):
    """image (B, 3, H, W), normalised -> three maps at strides 4, 8 and 16, `config.channels` wide."""

    def __init__(self, config: StemConfig) -> None:
        super().__init__()
        self.conv = StandardisedConv2d(3, config.width, 7, stride=2)
        self.norm = nn.GroupNorm(config.groups, config.width)
        stages, inputs = [], config.width
        for i, (layers, outputs) in enumerate(zip(config.layers, config.channels, strict=True)):
            blocks = []
            for j in range(layers):
                stride = 2 if i > 0 and j == 0 else 1
                blocks.append(Bottleneck(inputs, outputs, stride, config.groups, shortcut=j == 0))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.relu(self.norm(self.conv(x)), inplace=True)
        x = F.max_pool2d(pad_same(x, 3, 2, value=float("-inf")), 3, 2)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def fold_standardisation(model: nn.Module) -> nn.Module:
    """Replace every weight-standardised convolution inside of a model by a plain one of the same outputs."""
    return replace_modules(model, lambda module: module.folded() if isinstance(module, StandardisedConv2d) else None)
