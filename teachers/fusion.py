"""DPT's convolutional decoder: four maps are fused from coarse to fine and read out as depth."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from teachers.model import no_autocast


def upsample2(x: Tensor) -> Tensor:
    """Twice the size, as the published decoder enlarges."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class ResidualUnit(nn.Module):
    """Two rectified 3x3 convolutions added to the un-rectified input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> the same shape."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x)), inplace=True))


class Fusion(nn.Module):
    """One RefineNet block: add the finer map, refine, double the size. The coarsest has nothing to add."""

    def __init__(self, width: int, *, coarsest: bool = False) -> None:
        super().__init__()
        self.skip_unit = None if coarsest else ResidualUnit(width)
        self.unit = ResidualUnit(width)
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


class FusionDecoder(nn.Module):
    """Maps at strides 4, 8, 16, 32 -> one raw value per pixel of the padded image."""

    def __init__(self, channels: tuple[int, ...], width: int, hidden: int, non_negative: bool) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(c, width, 3, padding=1, bias=False) for c in channels)
        self.fusion = nn.ModuleList(Fusion(width, coarsest=i == len(channels) - 1) for i in range(len(channels)))
        self.head = Head(width, hidden, non_negative)

    def forward(self, features: list[Tensor]) -> Tensor:
        """The four maps -> (B, 1, H, W)."""
        maps = [project(x) for project, x in zip(self.project, features, strict=True)]
        x = self.fusion[-1](maps[-1])
        for fusion, skip in zip(reversed(self.fusion[:-1]), reversed(maps[:-1]), strict=True):
            x = fusion(x, skip)
        return self.head(x)
