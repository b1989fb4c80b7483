"""FAM and LAM (DisDepth): the teacher's maps in the student's shape, and how much each of their positions matters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.layers import Mlp
from torch import Tensor, nn

NARROWEST = 16  # channels of a head
MEAN_FLOOR = 0.05  # where one position outshines all others, it must not take everything


class WindowAttention(nn.Module):
    """Self-attention over the positions of a map (B, C, H, W), within windows or over all of it.

    Args:
        window: Side of the square windows; None attends everywhere. Maps are zero-padded to whole windows.
    """

    def __init__(self, channels: int, window: int | None) -> None:
        super().__init__()
        # Up to 8 heads, each with its share of at least `NARROWEST` channels.
        self.heads = next((h for h in (8, 4, 2) if channels % h == 0 and channels // h >= NARROWEST), 1)
        self.window = window
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def attend(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, C) -> the same shape."""
        q, k, v = rearrange(self.qkv(tokens), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        return self.proj(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))

    def forward(self, x: Tensor) -> Tensor:
        """Map in channels-last order (B, H, W, C) -> the same shape."""
        height, width = x.shape[1:3]
        if self.window is None:
            return self.attend(x.flatten(1, 2)).unflatten(1, (height, width))
        side = self.window
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        tokens = rearrange(x, "b (r s) (c t) d -> (b r c) (s t) d", s=side, t=side)
        x = rearrange(self.attend(tokens), "(b r c) (s t) d -> b (r s) (c t) d", r=rows, c=columns, s=side)
        return x[:, :height, :width]


class FeatureAcclimation(nn.Module):
    """FAM: Z = FAM(T), one level of the teacher in the shape of the student's.

    A 1x1 projection to the student's width and a resize to its grid where they differ, then one pre-norm transformer
    block. Projecting first is what makes it affordable.

    Args:
        teacher_channels: C_t, channels of the teacher's map.
        student_channels: C_s, channels of the student's map.
        window: Side of the attention windows, for fine maps; None attends over the whole map.
        zero_init: Start the block's residual branches at zero, so that Z begins as the plain projection.
    """

    def __init__(
        self, teacher_channels: int, student_channels: int, *, window: int | None = None, zero_init: bool = False
    ) -> None:
        super().__init__()
        self.project = nn.Conv2d(teacher_channels, student_channels, 1)
        self.norm1 = nn.LayerNorm(student_channels)
        self.attention = WindowAttention(student_channels, window)
        self.norm2 = nn.LayerNorm(student_channels)
        self.mlp = Mlp(student_channels, 4 * student_channels)
        if zero_init:
            for last in (self.attention.proj, self.mlp.fc2):
                for parameter in last.parameters():
                    nn.init.zeros_(parameter)

    def align(self, teacher: Tensor, size: tuple[int, int]) -> Tensor:
        """Teacher's map (B, C_t, h, w), projected to the student's width and grid: (B, C_s, *size)."""
        x = self.project(teacher)
        if x.shape[-2:] != tuple(size):
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        return x

    def refine(self, x: Tensor) -> Tensor:
        """The transformer block on an aligned map (B, C_s, H, W)."""
        x = x.permute(0, 2, 3, 1)
        x = x + self.attention(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x.permute(0, 3, 1, 2)

    def forward(self, teacher: Tensor, size: tuple[int, int]) -> Tensor:
        """Teacher's map (B, C_t, h, w) -> acclimated map (B, C_s, *size)."""
        return self.refine(self.align(teacher, size))


class LossAttention(nn.Module):
    """LAM: cross-attention of the mean of Z (the query) with each position of Z (the keys).

        A = sigmoid(score) / mean over positions of sigmoid(score), clamped to [0, limit]

    The ghost is fed A * Z while distillation pulls the student towards Z, so A must have mean 1; distillation weighs by
    A^2, so A must be bounded. Keys have unit length, less their mean over positions: a score that all positions share
    says nothing, but lets all of them sink to 0 together, where neither the ghost nor distillation sees the map.

    Args:
        channels: C, channels of Z.
        limit: A_max, the largest importance of a position.
    """

    def __init__(self, channels: int, *, limit: float = 4.0) -> None:
        super().__init__()
        self.query = nn.Linear(channels, channels)
        self.key = nn.Conv2d(channels, channels, 1)
        self.limit = limit

    def scores(self, z: Tensor) -> Tensor:
        """Scores (B, 1, H, W) of a map (B, C, H, W), in float32, with mean 0 over positions."""
        query = self.query(z.mean(dim=(2, 3))).float()[:, :, None, None]
        key = F.normalize(self.key(z).float(), dim=1, eps=1e-6)
        key = key - key.mean(dim=(2, 3), keepdim=True)
        # Not a matrix product, which autocast would take back to half precision.
        return (query * key).sum(dim=1, keepdim=True)

    def importance(self, scores: Tensor) -> Tensor:
        """A of scores, both (B, 1, H, W)."""
        share = torch.sigmoid(scores)
        share = share / share.mean(dim=(2, 3), keepdim=True).clamp(min=MEAN_FLOOR)
        return share.clamp(max=self.limit)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, C, H, W) -> A (B, 1, H, W) and Y = A * Z."""
        attention = self.importance(self.scores(z))
        return attention, attention.to(z.dtype) * z
