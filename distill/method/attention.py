"""Loss attention: how much each position of an acclimated map matters (DisDepth's LAM)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN_FLOOR = 0.05  # where one position outshines all others, it must not take everything


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


def normalised_entropy(attention: Tensor) -> Tensor:
    """Mean entropy of A over positions, from 0 (one position) to 1 (all alike); A is (B, 1, H, W), not negative."""
    share = attention.flatten(1).float()
    share = share / share.sum(dim=1, keepdim=True).clamp(min=1e-12)
    count = torch.tensor(float(share.shape[1]), device=share.device)
    return torch.special.entr(share).sum(dim=1).mean() / count.log().clamp(min=1e-12)
