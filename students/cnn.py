"""The CNN student: a timm backbone, a light decoder with skips, adaptive bins (DisDepth's, fitted to its tables)."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn

from students.backbone import Backbone
from students.inherit import trained_student
from students.lg_conv import LGConv
from students.student import WEIGHTS, Student
from teachers.checkpoints import check_values
from teachers.weight_files import Json, read_state_dict

LARGEST = 4096  # of width and bins, which take memory before any weight is read


def conv_norm(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution, its norm and a rectification."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.01)
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
    """

    def __init__(self, context: int, features: int, bins: int, min_depth: float, max_depth: float) -> None:
        super().__init__()
        self.widths = Mlp(context, 4 * context, bins)
        self.scores = nn.Conv2d(features, bins, 3, padding=1)
        self.min_depth, self.max_depth = min_depth, max_depth

    def centres(self, context: Tensor) -> Tensor:
        """Bin centres in metres, (B, bins), increasing, in float32."""
        widths = self.widths(context.mean(dim=(2, 3))).float().softmax(dim=-1)
        return self.min_depth + (self.max_depth - self.min_depth) * (widths.cumsum(dim=-1) - widths / 2)

    def forward(self, context: Tensor, features: Tensor) -> Tensor:
        """Coarsest map (B, C, h, w) and finest map (B, F, H, W) -> depth (B, 1, H, W) in metres."""
        # Bins last, where channels-last order has them: a softmax over any other dimension copies the largest map.
        probabilities = self.scores(features).float().permute(0, 2, 3, 1).softmax(dim=-1)
        # Not a matrix product, which autocast would take back to half precision: 8 bits are coarse for depth.
        return (probabilities * self.centres(context)[:, None, None, :]).sum(dim=-1)[:, None]


class CNNDecoder(nn.Module):
    """Four maps at strides 4, 8, 16, 32 -> depth (B, 1, *size) in metres."""

    def __init__(self, channels: tuple[int, ...], width: int, bins: int, min_depth: float, max_depth: float) -> None:
        super().__init__()
        c1, c2, c3, c4 = channels
        self.neck = nn.Conv2d(c4, c4, 1)
        self.up = nn.ModuleList(
            [UpBlock(c4, c3, c4 // 2), UpBlock(c4 // 2, c2, c4 // 4), UpBlock(c4 // 4, c1, c4 // 8)]
        )
        self.final = nn.Conv2d(c4 // 8, width, 3, padding=1)
        self.head = AdaptiveBins(c4, width, bins, min_depth, max_depth)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """The four maps and the image's size -> depth (B, 1, *size)."""
        f1, f2, f3, f4 = features
        context = self.neck(f4)
        x = context
        for block, skip in zip(self.up, (f3, f2, f1), strict=True):
            x = block(x, skip)
        depth = self.head(context, self.final(x))
        depth = F.interpolate(depth, scale_factor=4, mode="bilinear", align_corners=False)
        return depth[..., : size[0], : size[1]]


class CNNStudent(Student):
    """A depth model: image (B, 3, H, W) in [0, 1], any sides of at least 32 -> depth (B, 1, H, W) in metres.

    Args:
        backbone: A timm name.
        lg_conv: Let the backbone's convolutions see the whole image.
        lg_scope: Which of them: "3x3" (the paper's), "kxk" (every kernel above 1x1), "late" (3x3 at strides 16 and 32).
        pretrained: Start from timm's ImageNet weights, unless there is a checkpoint.
        checkpoint: What to start from: the folder of a trained student of this backbone, of which every weight is
            taken, or a file of the backbone's weights as timm saves them. LG-Conv may be new in either case.
        min_depth, max_depth: Limits of the depth in metres; the output never leaves them.
        width: Channels of the decoder's last map.
        bins: Number of depth bins.

    Raises:
        FileNotFoundError: If the checkpoint does not exist.
        ValueError: If the backbone is unknown or has not the four strides, the limits are not 0 < min < max, or the
            checkpoint is another network's.
    """

    def __init__(
        self,
        backbone: str,
        *,
        lg_conv: bool = False,
        lg_scope: str = "3x3",
        pretrained: bool = True,
        checkpoint: str | Path | None = None,
        min_depth: float = 1e-3,
        max_depth: float = 80.0,
        width: int = 128,
        bins: int = 256,
    ) -> None:
        super().__init__()
        if not 0 < min_depth < max_depth:
            raise ValueError(f"depth limits must satisfy 0 < min < max, got {min_depth} and {max_depth} metres")
        if not (0 < width <= LARGEST and 0 < bins <= LARGEST):
            raise ValueError(f"width and bins must lie between 1 and {LARGEST}, got {width} and {bins}")
        trained = None if checkpoint is None else trained_student(Path(checkpoint))
        self.encoder = Backbone(
            backbone,
            pretrained=pretrained and checkpoint is None,
            lg_conv=lg_conv,
            lg_scope=lg_scope,
            weights=None if checkpoint is None or trained else Path(checkpoint),
        )
        self.feature_channels = self.encoder.channels
        self.decoder = CNNDecoder(self.feature_channels, width, bins, min_depth, max_depth)
        self.min_depth, self.max_depth = min_depth, max_depth
        options = {"lg_conv": lg_conv, "lg_scope": lg_scope, "min_depth": min_depth, "max_depth": max_depth}
        self.recipe = {"student": backbone, "options": {**options, "width": width, "bins": bins}}
        if trained:
            continue_from(self, *trained)


def continue_from(student: CNNStudent, folder: Path, recipe: Json) -> None:
    """Take every weight of a trained student that was built alike. Only LG-Conv's global branches may be new."""
    new = [
        f"{name}.{key}"
        for name, module in student.named_modules()
        if isinstance(module, LGConv)
        for key in module.state_dict()
        if not key.startswith("local.")
    ]
    try:
        weights = read_state_dict(folder / WEIGHTS)
        left = student.load_state_dict(weights, strict=False)
        fits = set(left.missing_keys) <= set(new) and not left.unexpected_keys
    except RuntimeError:  # shapes differ
        fits = False
    if not fits:
        raise ValueError(
            f"{folder} holds a {recipe['student']} with the options {recipe['options']}, which does not fit a "
            f"{student.recipe['student']} with {student.recipe['options']}; give the student the same"
        )
    wanted = student.state_dict()
    local = {key: key if key in wanted else ".local.".join(key.rsplit(".", 1)) for key in weights}
    check_values({local[key]: value for key, value in weights.items()}, wanted, str(folder / WEIGHTS))
