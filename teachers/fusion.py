"""DPT's convolutional decoder: four maps are fused from coarse to fine and read out, as depth or as classes."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from teachers.model import no_autocast


def upsample2(x: Tensor) -> Tensor:
    """Twice the size, as the published decoder enlarges."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class ResidualUnit(nn.Module):
    """Two rectified 3x3 convolutions, each with a norm where there are norms, added to the un-rectified input."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=not norm)
        self.norm1 = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=not norm)
        self.norm2 = nn.BatchNorm2d(width) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> the same shape."""
        return x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(F.relu(x))), inplace=True)))


class Fusion(nn.Module):
    """One RefineNet block: add the finer map, refine, double the size. The coarsest has nothing to add."""

    def __init__(self, width: int, norm: bool, *, coarsest: bool = False) -> None:
        super().__init__()
        self.skip_unit = None if coarsest else ResidualUnit(width, norm)
        self.unit = ResidualUnit(width, norm)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Coarser map and finer one, both (B, width, H, W) -> (B, width, 2 H, 2 W)."""
        if self.skip_unit is not None and skip is not None:
            x = x + self.skip_unit(skip)
        # A 1x1 convolution and bilinear weights that sum to 1 commute: convolving first costs a quarter.
        return upsample2(self.out(self.unit(x)))


class Head(nn.Module):
    """Fused map at stride 2 -> one raw value per pixel, (B, 1, H, W)."""

    def __init__(self, width: int, hidden: int, non_negative: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width // 2, 3, padding=1)
        self.conv2 = nn.Conv2d(width // 2, hidden, 3, padding=1)
        self.conv3 = nn.Conv2d(hidden, 1, 1)
        self.non_negative = non_negative

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, 1, 2 H, 2 W)."""
        x = F.relu(self.conv2(upsample2(self.conv1(x))), inplace=True)
        with no_autocast(x.device.type):  # the 8 bits of bfloat16 are coarse for depth
            x = self.conv3(x.to(self.conv3.weight.dtype))
        return F.relu(x, inplace=True) if self.non_negative else x


class ClassHead(nn.Module):
    """Fused map at stride 2 -> logits of classes. `conv3` is called as the depth head's last."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(0.1)
        self.conv3 = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, classes, 2 H, 2 W)."""
        return upsample2(self.conv3(self.dropout(F.relu(self.norm1(self.conv1(x)), inplace=True))))


class FusionDecoder(nn.Module):
    """Maps at strides 4, 8, 16, 32 -> what the head reads out, at every pixel of the padded image.

    Args:
        make_head: Called last, as random weights depend on the order in which parts are made.
    """

    def __init__(
        self, channels: tuple[int, ...], width: int, make_head: Callable[[], Head | ClassHead], norm: bool
    ) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(c, width, 3, padding=1, bias=False) for c in channels)
        self.fusion = nn.ModuleList(Fusion(width, norm, coarsest=i == len(channels) - 1) for i in range(len(channels)))
        self.head = make_head()

    def forward(self, features: list[Tensor]) -> Tensor:
        """The four maps -> (B, 1, H, W), or as many channels as there are classes."""
        maps = [project(x) for project, x in zip(self.project, features, strict=True)]
        x = self.fusion[-1](maps[-1])
        for fusion, skip in zip(reversed(self.fusion[:-1]), reversed(maps[:-1]), strict=True):
            x = fusion(x, skip)
        return self.head(x)
