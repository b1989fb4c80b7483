"""Swin on images of any size: windows that are padded before they are shifted, and shifted in every stage."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock, window_partition, window_reverse
from torch import Tensor, nn


class AnySizeBlock(SwinTransformerBlock):
    """timm's block, right also where the windows do not divide the map.

    timm shifts a map before it pads it. What the shift wraps around then lies in front of the padding, where the mask,
    which is made for the padded map, takes the two ends of the map for neighbours (timm's issue 2438).
    """

    def _attn(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        (height, width), (rows, columns), shift = x.shape[1:3], self.window_size, self.shift_size
        x = F.pad(x, (0, 0, 0, -width % columns, 0, -height % rows))
        padded_height, padded_width = x.shape[1:3]
        x = torch.roll(x, (-shift[0], -shift[1]), dims=(1, 2))
        windows = window_partition(x, self.window_size).flatten(1, 2)
        windows = self.attn(windows, mask=self.get_attn_mask(x)).unflatten(1, (rows, columns))
        x = window_reverse(windows, self.window_size, padded_height, padded_width)
        return torch.roll(x, shift, dims=(1, 2))[:, :height, :width].contiguous()


def take_any_size(net: nn.Module) -> None:
    """Give every Swin block of a network the way above; weights stay what they are. Other networks are left alone."""
    for module in net.modules():
        if type(module) is SwinTransformerBlock:
            module.__class__ = AnySizeBlock  # timm's constructor takes no other kind of block
