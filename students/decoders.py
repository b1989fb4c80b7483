"""Decoders of the CNN student: four maps and a size become depth or logits. A new one is a class and a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn


def conv_norm(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution, its norm and a rectification."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.01)
    )


def separable(width: int) -> nn.Sequential:
    """A convolution of 5x5 within each channel and one of 1x1 across them, with their norms and rectifications."""
    return nn.Sequential(
        nn.Conv2d(width, width, 5, padding=2, groups=width, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )


class UpBlock(nn.Module):
    """Bring a map to the size of its skip, join the two, convolve twice."""

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(conv_norm(inputs + skip, outputs), conv_norm(outputs, outputs))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Coarse map (B, C, h, w) and its skip (B, S, H, W) -> (B, outputs, H, W)."""
        x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
        return self.convs(torch.cat([x, skip], dim=1))


class AdaptiveBins(nn.Module):
    """Depth as a mixture of adaptive bins (AdaBins, arXiv 2011.14141; PixelFormer, arXiv 2210.09071).

    Bin centres from the whole image, a probability of each bin at each pixel, depth as the mean.

    The centres are c_k = dmin + (dmax - dmin) * (cumsum(w)_k - w_k / 2) with w = softmax(MLP(mean of `context`)).

    Args:
        context: Channels of the coarsest map.
        features: Channels of the finest map.
        bins: Number of bins.
        min_depth, max_depth: Limits of the depth in metres.
        kernel: Side of the convolution that scores the bins.
    """

    def __init__(
        self, context: int, features: int, bins: int, min_depth: float, max_depth: float, kernel: int = 3
    ) -> None:
        super().__init__()
        self.widths = Mlp(context, 4 * context, bins)
        self.scores = nn.Conv2d(features, bins, kernel, padding=kernel // 2)
        self.min_depth, self.max_depth = min_depth, max_depth

    def centres(self, context: Tensor) -> Tensor:
        """Bin centres in metres, (B, bins), increasing, in float32."""
        widths = self.widths(context.mean(dim=(2, 3))).float().softmax(dim=-1)
        return self.min_depth + (self.max_depth - self.min_depth) * (widths.cumsum(dim=-1) - widths / 2)

    def forward(self, context: Tensor, features: Tensor, spread: bool = False) -> Tensor:
        """Coarsest map (B, C, h, w) and finest map (B, F, H, W) -> depth (B, 1, H, W) in metres.

        With `spread` its standard deviation under the bins' probabilities is a second map, (B, 2, H, W).
        """
        # Bins last, where channels-last order has them: a softmax over any other dimension copies the largest map.
        probabilities = self.scores(features).float().permute(0, 2, 3, 1).softmax(dim=-1)
        centres = self.centres(context)[:, None, None, :]
        # Not a matrix product, which autocast would take back to half precision: 8 bits are coarse for depth.
        depth = (probabilities * centres).sum(dim=-1)
        if not spread:
            return depth[:, None]
        # Not the mean of squares less the square of the mean: of two large numbers little would be left.
        variance = (probabilities * (centres - depth[..., None]).square()).sum(dim=-1)
        return torch.stack([depth, variance.sqrt()], dim=1)


class ClassScores(nn.Module):
    """Logits of classes at stride 4; while training, those of an auxiliary head at stride 32 follow, as PSPNet's do.

    Args:
        context: Channels of the coarsest map.
        features: Channels of the finest map.
        classes: Number of classes.
        kernel: Side of the convolution that scores them.
    """

    def __init__(self, context: int, features: int, classes: int, kernel: int = 3) -> None:
        super().__init__()
        self.scores = nn.Conv2d(features, classes, kernel, padding=kernel // 2)
        self.auxiliary = nn.Conv2d(context, classes, 1)

    def forward(self, context: Tensor, features: Tensor, spread: bool = False) -> Tensor:
        """Coarsest map (B, C, h, w), finest map (B, F, H, W) -> logits (B, classes, H, W), or twice as many."""
        logits = self.scores(features).float()
        if not self.training:
            return logits
        coarse = self.auxiliary(context).float()
        coarse = F.interpolate(coarse, size=logits.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat([logits, coarse], dim=1)


Head = AdaptiveBins | ClassScores
HEADS: dict[str, Callable[..., Head]] = {"bins": AdaptiveBins, "classes": ClassScores}
MakeHead = Callable[..., Head]  # one of them with its own numbers: (context, features, kernel=)


class Decoder(nn.Module):
    """Four maps at strides 4, 8, 16, 32 -> what its head makes of them at stride 4: depth in metres, or logits.

    Args:
        channels: Of the four maps.
        width: Channels of its last map.
        make_head: Called last, as random weights depend on the order in which parts are made.

    Attributes:
        WIDTH, BINS: Channels of its last map and number of bins where nothing else is asked for.
        EXPANDED: Whether it takes the coarsest map behind the 1x1 convolution with which some backbones widen it for
            their classifier.
    """

    WIDTH: ClassVar[int]
    BINS: ClassVar[int]
    EXPANDED: ClassVar[bool]
    head: Head

    def __init__(self, channels: tuple[int, ...], width: int, make_head: MakeHead) -> None:
        super().__init__()

    def refine(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The four maps -> the head's two: of the whole image at stride 32, and of what it scores at stride 4."""
        raise NotImplementedError

    def forward(self, features: list[Tensor], size: tuple[int, int], spread: bool = False) -> Tensor:
        """The four maps and the image's size -> depth (B, 1, *size), with `spread` that of the bins as a second map.

        With a head of classes it is logits, as of `ClassScores`.
        """
        maps: Tensor = self.head(*self.refine(features), spread)
        return F.interpolate(maps, scale_factor=4, mode="bilinear", align_corners=False)[..., : size[0], : size[1]]


class PaperDecoder(Decoder):
    """DisDepth's, fitted to its tables: every width follows from the coarsest map's channels."""

    WIDTH, BINS, EXPANDED = 128, 256, True

    def __init__(self, channels: tuple[int, ...], width: int, make_head: MakeHead) -> None:
        super().__init__(channels, width, make_head)
        c1, c2, c3, c4 = channels
        self.neck = nn.Conv2d(c4, c4, 1)
        self.up = nn.ModuleList(
            [UpBlock(c4, c3, c4 // 2), UpBlock(c4 // 2, c2, c4 // 4), UpBlock(c4 // 4, c1, c4 // 8)]
        )
        self.final = nn.Conv2d(c4 // 8, width, 3, padding=1)
        self.head = make_head(c4, width)

    def refine(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The four maps -> the neck's output and the finest map."""
        f1, f2, f3, f4 = features
        context = self.neck(f4)
        x = context
        for block, skip in zip(self.up, (f3, f2, f1), strict=True):
            x = block(x, skip)
        return context, self.final(x)


class LightDecoder(Decoder):
    """For devices: one width whatever the backbone's, sums in place of joints, separable convolutions.

    Maps are doubled by repeating their values, so every size is known beforehand. Every norm is a BatchNorm behind a
    convolution, so a file holds convolutions, sums and rectifications only.
    """

    WIDTH, BINS, EXPANDED = 64, 64, False

    def __init__(self, channels: tuple[int, ...], width: int, make_head: MakeHead) -> None:
        super().__init__(channels, width, make_head)
        # Normed, as the ghost's maps have another scale; not rectified, as what is negative is a part of the map.
        self.narrow = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, width, 1, bias=False), nn.BatchNorm2d(width)) for count in channels
        )
        self.mix = nn.ModuleList(nn.Sequential(separable(width), separable(width)) for _ in channels)
        self.head = make_head(width, width, kernel=1)
        bins = self.head.scores.out_channels if isinstance(self.head, AdaptiveBins) else 0
        if bins > 4 * width:  # the hidden layer that the bins' widths are made of
            raise ValueError(
                f"the light decoder makes at most 4 bins of a channel: {bins} bins need a width of {-(-bins // 4)}, "
                f"got {width}; give student.width at least that, or student.bins={4 * width} or fewer"
            )

    def refine(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The four maps -> the coarsest and the finest one, both of the decoder's width."""
        *finer, context = [narrow(x) for narrow, x in zip(self.narrow, features, strict=True)]
        *blocks, coarsest = self.mix
        x = context = coarsest(context)
        for block, skip in zip(reversed(blocks), reversed(finer), strict=True):
            x = block(F.interpolate(x, scale_factor=2, mode="nearest") + skip)
        return context, x


DECODERS: dict[str, type[Decoder]] = {"paper": PaperDecoder, "light": LightDecoder}
