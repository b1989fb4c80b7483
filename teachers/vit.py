"""The vision transformer inside DPT: tokens, blocks with taps, read-out and reassembly into maps."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from timm.layers import Mlp, trunc_normal_
from torch import Tensor, nn

READOUTS = ("project", "add", "ignore")


class Attention(nn.Module):
    """Multi-head self-attention over tokens (B, N, D). The same weights serve any number of heads that divides D."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads={heads} does not divide the width {width}; choose a divisor such as 1, 12 or 24")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries, keys and values, each (B, heads, N, D / heads) -> the same shape."""
        return F.scaled_dot_product_attention(q, k, v)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) -> the same shape."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each b h n d
        return self.proj(self.attend(q, k, v).transpose(1, 2).flatten(2))


# (width, heads) -> a module over tokens (B, N, D), such as Attention itself
AttentionFactory = Callable[[int, int], nn.Module]


class Block(nn.Module):
    """A pre-norm transformer block (arXiv 2010.11929): x + attention, then x + MLP with exact GELU."""

    def __init__(
        self, width: int, heads: int, mlp_ratio: float = 4.0, *, attention: AttentionFactory = Attention
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) -> the same shape."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Tokens from a patch map, and the outputs of the tapped blocks. No block after the last tap exists.

    Args:
        inputs: Channels of the map that becomes tokens.
        patch: Side of one patch in positions of that map.
        grid: Side of the square position grid of the weights; other sizes are interpolated.
        hooks: Blocks whose raw outputs are wanted, counted from 0, increasing.
        attention: Makes each block's attention.
    """

    def __init__(
        self,
        inputs: int,
        patch: int,
        width: int,
        heads: int,
        grid: int,
        hooks: tuple[int, ...],
        attention: AttentionFactory = Attention,
    ) -> None:
        super().__init__()
        self.grid, self.hooks = grid, hooks
        self.patch = nn.Conv2d(inputs, width, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, grid * grid + 1, width))
        self.blocks = nn.ModuleList(Block(width, heads, attention=attention) for _ in range(hooks[-1] + 1))
        self._initialise()

    def _initialise(self) -> None:
        if self.cls_token.is_meta:  # a file's weights follow; drawing nothing would take longer than all the rest
            return
        trunc_normal_(self.cls_token, std=0.02)
        trunc_normal_(self.pos_embed, std=0.02)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def positions(self, height: int, width: int) -> Tensor:
        """Position embedding (1, 1 + height * width, D), bilinear without align_corners as the checkpoints expect."""
        if height == width == self.grid:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].unflatten(1, (self.grid, -1)).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(height, width), mode="bilinear", align_corners=False)
        return torch.cat([self.pos_embed[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)

    def forward(self, x: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """Map (B, C, h, w) -> the tapped tokens, each (B, 1 + rows * cols, D), and (rows, cols)."""
        x = self.patch(x)
        size = (x.shape[-2], x.shape[-1])
        tokens = x.permute(0, 2, 3, 1).flatten(1, 2)
        tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), tokens], dim=1) + self.positions(*size)
        taps = []
        for i, block in enumerate(self.blocks):
            tokens = block(tokens)
            if i in self.hooks:
                taps.append(tokens)
        return taps, size


class Readout(nn.Module):
    """What becomes of the class token (DPT, table 7): projected with every token, added to it, or ignored."""

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        if kind not in READOUTS:
            raise ValueError(f"unknown readout {kind!r}, known are {', '.join(READOUTS)}")
        self.kind = kind
        self.project = nn.Linear(2 * width, width) if kind == "project" else None

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, 1 + N, D) -> those of the patches, (B, N, D)."""
        patches, cls = tokens[:, 1:], tokens[:, :1]
        if self.project is not None:
            # Linear(cat[p, c]) without the concatenation: the class token's half is the same for every position.
            weight, width = self.project.weight, patches.shape[-1]
            return F.gelu(F.linear(patches, weight[:, :width], self.project.bias) + F.linear(cls, weight[:, width:]))
        return patches + cls if self.kind == "add" else patches


class Reassemble(nn.Module):
    """Tokens (B, 1 + h * w, D) -> a map of `outputs` channels, brought from stride 16 to stride 16 / `factor`."""

    def __init__(self, width: int, outputs: int, factor: float, readout: str) -> None:
        super().__init__()
        self.readout = Readout(width, readout)
        self.conv = nn.Conv2d(width, outputs, 1)
        self.resample: nn.Module = nn.Identity()
        if factor > 1:
            self.resample = nn.ConvTranspose2d(outputs, outputs, int(factor), int(factor))
        elif factor < 1:
            self.resample = nn.Conv2d(outputs, outputs, 3, stride=2, padding=1)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        x = self.readout(tokens).unflatten(1, (size[0], -1)).permute(0, 3, 1, 2)
        return self.resample(self.conv(x))
