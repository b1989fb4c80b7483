"""Losses for depth known up to a scale and a shift of its inverse (MiDaS, arXiv 1907.01341, section 5).

All take depth in metres, as every loss does, and compare inverse depth.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distill.method.affine import fit_affine
from distill.method.losses import check_shapes

LEVELS = 4  # of gradient matching, each half as large as the one before
FLAT = 1e-3  # least deviation of a map, as a share of its median: what is flatter would have exploding gradients
TINY = 1e-12


def ssi_loss(pred: Tensor, target: Tensor, valid: Tensor, *, min_depth: float = 1e-3) -> Tensor:
    """Scale- and shift-invariant squared error of inverse depth, after a least-squares fit of each image.

    With x = 1 / pred, y = 1 / target, and scale and shift from `fit_affine`, over the M valid pixels of the batch:

        L = 1 / (2 M) * sum (scale * x + shift - y)^2

    A prediction whose order of depth is reversed costs no more than one in the right order: not a loss to start with.

    Args:
        pred, target: Depth in metres, (B, 1, H, W); values below `min_depth` count as `min_depth`.
        valid: Pixels that count, bool, same shape. A batch without any gives 0 and no gradient.

    Returns:
        Scalar, float32 at least, in 1 / m^2.

    Raises:
        ValueError: If the three shapes differ.
    """
    x, y = inverse_depths(pred, target, valid, min_depth)
    # At its minimum the error does not change with the fit, so constants give the same gradient.
    scale, shift = (v.view(-1, 1, 1, 1) for v in fit_affine(x.detach(), y, valid))
    gap = torch.where(valid, scale * x + shift - y, 0.0)
    return gap.square().sum() / (2 * valid.sum().clamp(min=1))


def ssi_trim_loss(
    pred: Tensor, target: Tensor, valid: Tensor, *, gradient_weight: float = 0.0, min_depth: float = 1e-3
) -> Tensor:
    """Scale- and shift-invariant absolute error of inverse depth without each image's largest fifth of errors.

    Prediction and truth are each brought to median 0 and mean absolute deviation 1 (`standardise`); then

        L = 1 / (2 M) * sum of the smallest 80 % of |x_i - y_i| of each image + gradient_weight * gradient_matching

    The second term wants dense truth: between the lines of a lidar there are no neighbours to compare.

    Args:
        pred, target: Depth in metres, (B, 1, H, W); values below `min_depth` count as `min_depth`.
        valid: Pixels that count, bool, same shape. A batch without any gives 0 and no gradient.

    Returns:
        Scalar, float32 at least, dimensionless.

    Raises:
        ValueError: If the three shapes differ.
    """
    x, y = (standardise(v, valid) for v in inverse_depths(pred, target, valid, min_depth))
    loss = trimmed_error(x - y, valid)
    return loss + gradient_weight * gradient_matching(x - y, valid) if gradient_weight else loss


def inverse_depths(pred: Tensor, target: Tensor, valid: Tensor, min_depth: float) -> tuple[Tensor, Tensor]:
    """Both in 1 / m, float32 at least; 1 where not valid, whatever stands there."""
    check_shapes(pred, target, valid)
    pred, target = (v.to(torch.promote_types(v.dtype, torch.float32)) for v in (pred, target))
    # where rather than an index: every shape stays static, as in `silog_loss`.
    x, y = (torch.where(valid, v, 1.0).clamp(min=min_depth).reciprocal() for v in (pred, target))
    return x, y


def standardise(x: Tensor, valid: Tensor) -> Tensor:
    """Each image of (B, 1, H, W) minus its median, divided by its mean absolute deviation from it; 0 where not valid.

    Of an even number of pixels the median is the lower one in the middle. A flat map is divided by no less than
    `FLAT` of its median.
    """
    mask, flat = valid.flatten(1), x.flatten(1)
    countable = mask | ~mask.any(dim=1, keepdim=True)  # an image without a valid pixel would have no median
    middle = torch.where(countable, flat, torch.nan).nanmedian(dim=1, keepdim=True).values
    centred = torch.where(mask, flat - middle, 0.0)
    deviation = centred.abs().sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
    floor = (FLAT * middle.abs()).clamp(min=TINY)
    return (centred / torch.maximum(deviation, floor)).view_as(x)


def trimmed_error(gap: Tensor, valid: Tensor) -> Tensor:
    """1 / (2 M) * sum |gap| over all but the largest fifth of each image; M counts the valid pixels of the batch."""
    mask = valid.flatten(1)
    count = mask.sum(dim=1, keepdim=True)
    errors = torch.where(mask, gap.flatten(1).abs(), 0.0)
    largest = errors.topk(errors.shape[1] // 5, dim=1).values  # several times faster than to sort all
    dropped = torch.arange(largest.shape[1], device=gap.device) < count // 5
    return (errors.sum() - torch.where(dropped, largest, 0.0).sum()) / (2 * count.sum().clamp(min=1))


def gradient_matching(gap: Tensor, valid: Tensor) -> Tensor:
    """How much the error of each pixel differs from its neighbours', at four sizes of the image.

        L = sum over levels k of 1 / M_k * sum |d gap / dx| + |d gap / dy|      every 2^k-th row and column, k = 0..3

    with M_k valid pixels at level k. A difference counts where both pixels are valid.

    Args:
        gap: Standardised prediction minus standardised truth, (B, 1, H, W).
    """
    loss = gap.new_zeros(())
    for level in range(LEVELS):
        step = 2**level
        g, mask = gap[..., ::step, ::step], valid[..., ::step, ::step]
        across = torch.where(mask[..., 1:] & mask[..., :-1], g.diff(dim=-1).abs(), 0.0).sum()
        down = torch.where(mask[..., 1:, :] & mask[..., :-1, :], g.diff(dim=-2).abs(), 0.0).sum()
        loss = loss + (across + down) / mask.sum().clamp(min=1)
    return loss
