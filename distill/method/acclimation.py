"""Feature acclimation: the teacher's maps, brought into the student's shape by a small transformer block (DisDepth)."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from timm.layers import Mlp
from torch import Tensor, nn


def head_count(width: int, narrowest: int = 16) -> int:
    """The most heads up to 8 that divide `width` and leave at least `narrowest` channels each."""
    return next((h for h in (8, 4, 2) if width % h == 0 and width // h >= narrowest), 1)


class WindowAttention(nn.Module):
    """Self-attention over the positions of a map (B, C, H, W), within windows or over all of it.

    Args:
        window: Side of the square windows; None attends everywhere. Maps are zero-padded to whole windows.
    """

    def __init__(self, channels: int, window: int | None) -> None:
        super().__init__()
        self.heads, self.window = head_count(channels), window
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
