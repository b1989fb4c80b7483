"""Attention through random features, linear in the number of tokens (Performer's FAVOR+, arXiv 2009.14794)."""

from __future__ import annotations

import torch
from torch import Tensor

from teachers.model import no_autocast
from teachers.vit import Attention

DEFAULT_FEATURES = 256  # about d log d for the 64 channels of a ViT-B head
MOST_FEATURES = 2**16


def orthogonal_features(count: int, width: int, generator: torch.Generator | None = None) -> Tensor:
    """Random directions (count, width): orthogonal among each `width` rows, as long as Gaussian vectors are.

    Each row by itself is standard normal, which keeps the estimate unbiased; rows that are orthogonal to each other
    lower its variance (section 2.4). `generator` is one of the CPU; None draws from torch's own.
    """
    device = None if generator is None else "cpu"
    blocks, per_block = -(-count // width), min(count, width)
    square = torch.randn(blocks, width, per_block, generator=generator, device=device)
    q, r = torch.linalg.qr(square)
    q = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)  # uniform over rotations, which QR's own signs are not
    lengths = torch.randn(count, width, generator=generator, device=device).norm(dim=1, keepdim=True)
    return q.mT.flatten(0, 1)[:count] * lengths


def favor_attention(q: Tensor, k: Tensor, v: Tensor, projection: Tensor) -> Tensor:
    """An estimate of softmax(q k^T / sqrt(d)) v in time and memory linear in the number of tokens.

    With x' = x / d^(1/4), positive features phi_m(x) = exp(w_m x' - |x'|^2 / 2) have the mean product exp(q' k'), so

        out_i = sum_m phi_m(q_i) sum_j phi_m(k_j) v_j / sum_m phi_m(q_i) sum_j phi_m(k_j)

    A factor of a query's features cancels, so they are a softmax over m; and what each key feature is divided by, its
    largest value over the keys, is put back there. Nothing overflows, the denominator is at least 1, and no constant
    has to be added, which would bias the result.

    Args:
        q, k, v: (..., N, d).
        projection: The directions w, (M, d).

    Returns:
        (..., N, d).
    """
    directions = projection.transpose(0, 1) * q.shape[-1] ** -0.25
    key = k @ directions - k.square().sum(dim=-1, keepdim=True) * (0.5 * k.shape[-1] ** -0.5)
    largest = key.detach().amax(dim=-2, keepdim=True)
    key = (key - largest).exp()
    query = (q @ directions + largest).softmax(dim=-1)
    return query @ (key.transpose(-2, -1) @ v) / (query @ key.sum(dim=-2).unsqueeze(-1))


class PerformerAttention(Attention):
    """Attention with the same weights as the exact one, estimated in float32 whatever the autocast.

    Args:
        width: D, channels of a token.
        heads: Heads; they share the random directions.
        features: M, their number. The error falls with it and the cost rises; exact attention needs as many products
            at 2 * M tokens.

    Raises:
        ValueError: If `features` is less than 1 or more than `MOST_FEATURES`, or the heads do not divide the width.
    """

    projection: Tensor

    def __init__(self, width: int, heads: int, features: int = DEFAULT_FEATURES) -> None:
        super().__init__(width, heads)
        if not 1 <= features <= MOST_FEATURES:
            raise ValueError(
                f"random_features must be at least 1 and at most {MOST_FEATURES}, got {features}; {DEFAULT_FEATURES} "
                "is the default"
            )
        # A buffer: a loaded student must give what the saved one gave.
        self.register_buffer("projection", orthogonal_features(features, width // heads))

    def redraw(self, generator: torch.Generator | None = None) -> None:
        """Take new random directions, for the same weights."""
        count, width = self.projection.shape
        self.projection.copy_(orthogonal_features(count, width, generator))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As of `Attention`, in the precision of `v`."""
        with no_autocast(q.device.type):
            q, k, wide = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (q, k, v))
            return favor_attention(q, k, wide, self.projection.to(q.dtype)).to(v.dtype)
