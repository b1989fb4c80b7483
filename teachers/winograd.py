"""3x3 convolutions with a quarter of the multiplications, but for rounding the same.

Winograd's minimal filtering F(4x4, 3x3) (arXiv 1509.09308): the image is cut into overlapping tiles of 6x6, tiles and
filters are transformed, multiplied point by point (a matrix product over channels for each of the 36 points), and
transformed back to tiles of 4x4.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TILE, KERNEL = 4, 3
SIDE = TILE + KERNEL - 1
# Reciprocal points round as little as a direct convolution does; the usual 0, +-1, +-2 three times as much.
POINTS = (0.0, 2 / 3, -2 / 3, 3 / 2, -3 / 2)
STRIP = 1 << 15  # values of one transform point that are worked on at a time, so that they stay in the cache


def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """The matrices A (4, 6), G (6, 3), B (6, 6) of one axis, float64: y = A ((G g) * (B d)).

    Toom and Cook: the outputs are coefficients of a product of polynomials, computed from its values at `POINTS` and at
    infinity. Rows of B are scaled to about 1 and those of G against them, which is exact by powers of two.
    """
    a, g, b = np.zeros((TILE, SIDE)), np.zeros((SIDE, KERNEL)), np.zeros((SIDE, SIDE))
    for j, point in enumerate(POINTS):
        others = [other for other in POINTS if other != point]
        polynomial = np.poly(others)[::-1]
        scale = 2.0 ** round(math.log2(np.abs(polynomial).max()))
        a[:, j] = [point**i for i in range(TILE)]
        g[j] = [scale * point**k / np.prod([point - other for other in others]) for k in range(KERNEL)]
        b[j, :-1] = polynomial / scale
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = np.poly(POINTS)[::-1]
    return torch.from_numpy(a), torch.from_numpy(g), torch.from_numpy(b)


@cache
def tile_transforms() -> tuple[Tensor, Tensor]:
    """Both axes at once, float32: a tile's 36 values to its transform (36, 36), a product to 16 outputs (16, 36)."""
    a, _, b = transforms()
    return torch.kron(b, b).float(), torch.kron(a, a).float()


def transform_filters(weight: Tensor) -> Tensor:
    """Filters (O, C, 3, 3) -> (36, C, O), rounded once."""
    _, g, _ = transforms()
    return torch.einsum("ai,bj,ocij->abco", g, g, weight.double()).flatten(0, 1).float().contiguous()


def winograd_conv2d(x: Tensor, filters: Tensor, bias: Tensor | None) -> Tensor:
    """What conv2d with padding 1 gives for transformed filters: (B, C, H, W) -> (B, O, H, W), channels last."""
    batch, channels, height, width = x.shape
    outputs = filters.shape[-1]
    forth, back = tile_transforms()
    rows, columns = -(-height // TILE), -(-width // TILE)
    x = F.pad(x, (1, 1 - width % -TILE, 1, 1 - height % -TILE)).permute(0, 2, 3, 1)
    out = x.new_empty(batch, rows, TILE, columns, TILE, outputs)
    step = max(1, STRIP // (batch * columns * channels))
    for first in range(0, rows, step):
        strip = x[:, TILE * first : TILE * (first + step) + 2]
        tiles = strip.unfold(1, SIDE, TILE).unfold(2, SIDE, TILE).permute(4, 5, 0, 1, 2, 3)
        points = (forth @ tiles.reshape(SIDE**2, -1)).view(SIDE**2, -1, channels)
        strip = (back @ torch.bmm(points, filters).view(SIDE**2, -1)).view(TILE, TILE, batch, -1, columns, outputs)
        out[:, first : first + step] = strip.permute(2, 3, 0, 4, 1, 5)
    out = out.view(batch, rows * TILE, columns * TILE, -1)[:, :height, :width].contiguous()
    out = out if bias is None else out.add_(bias)
    return out.permute(0, 3, 1, 2)
