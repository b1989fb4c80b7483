"""Depth as a mixture of adaptive bins (AdaBins, arXiv 2011.14141; PixelFormer, arXiv 2210.09071)."""

from __future__ import annotations

from timm.layers import Mlp
from torch import Tensor, nn


class AdaptiveBins(nn.Module):
    """Bin centres from the whole image, a probability of each bin at each pixel, depth as the mean.

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
