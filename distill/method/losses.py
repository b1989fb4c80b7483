"""Losses between depth maps, and between feature maps. Each is a plain function of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-12  # under the square root, whose slope is infinite at 0, where a perfect prediction ends
IGNORED = -100  # in place of a class


def check_shapes(pred: Tensor, target: Tensor, valid: Tensor) -> None:
    """Raise ValueError unless the three share one shape."""
    if not pred.shape == target.shape == valid.shape:
        shapes = [tuple(x.shape) for x in (pred, target, valid)]
        raise ValueError(f"pred, target and valid must share one shape, got {shapes}")


def silog_loss(
    pred: Tensor,
    target: Tensor,
    valid: Tensor,
    *,
    alpha: float = 10.0,
    lam: float = 0.85,
    min_depth: float = 1e-3,
    sqrt: bool = True,
) -> Tensor:
    """Scale-invariant log error between two depth maps, over all valid pixels of the batch.

    With g = log pred - log target (Eigen et al., arXiv 1406.2283, in the scaled form of BTS, arXiv 1907.10326):

        L = alpha * sqrt(mean(g^2) - lam * mean(g)^2)

    and without the square root, Eigen's own form with `alpha=1, lam=0.5, sqrt=False`.

    Args:
        pred: Depth in metres, (B, 1, H, W); values below `min_depth` count as `min_depth`.
        target: Depth in metres, same shape, positive where valid.
        valid: Pixels that count, bool, same shape. A batch without any gives about 0 and no gradient.
        lam: 0 gives RMSE in log space, 1 forgives a global scale error.

    Returns:
        Scalar, float32 at least, dimensionless.

    Raises:
        ValueError: If the three shapes differ.
    """
    check_shapes(pred, target, valid)
    pred, target = (x if x.dtype == torch.float64 else x.float() for x in (pred, target))
    # where rather than an index: every shape stays static, for compilers and for devices that would wait for a count.
    gap = torch.where(valid, pred, 1.0).clamp(min=min_depth).log() - torch.where(valid, target, 1.0).log()
    gap = torch.where(valid, gap, 0.0)
    count = valid.sum().clamp(min=1)
    mean, mean_square = gap.sum() / count, gap.square().sum() / count
    spread = mean_square - lam * mean.square()
    return alpha * (spread.clamp(min=EPS).sqrt() if sqrt else spread)


def class_loss(pred: Tensor, target: Tensor, valid: Tensor, *, classes: int, auxiliary: float = 0.2) -> Tensor:
    """Cross-entropy between logits and classes, over all valid pixels of the batch.

        L = CE(first logits) + auxiliary * CE(those that follow)      DPT's weight (arXiv 2103.13413, section 4.2)

    Args:
        pred: Logits (B, classes, H, W); while training, those of an auxiliary head follow: (B, 2 * classes, H, W).
        target: The number of each pixel's class from 1, (B, 1, H, W); anything where not valid.
        valid: Pixels that count, bool (B, 1, H, W). A batch without any gives 0 and no gradient.

    Raises:
        ValueError: If the shapes do not belong together.
    """
    if target.shape != valid.shape or pred.shape[::2] != target.shape[::2] or pred.shape[1] % classes:
        shapes = [tuple(x.shape) for x in (pred, target, valid)]
        raise ValueError(f"expected logits of {classes} classes, a target and valid pixels of one size, got {shapes}")
    number = torch.where(valid, target - 1, IGNORED)[:, 0].long()
    losses = [
        F.cross_entropy(logits.float(), number, ignore_index=IGNORED, reduction="sum")
        for logits in pred.split(classes, dim=1)
    ]
    return (losses[0] + auxiliary * sum(losses[1:])) / valid.sum().clamp(min=1)


def attentive_kd_loss(
    features: Tensor, acclimated: Tensor, attention: Tensor | None = None, *, normalise: bool = False
) -> Tensor:
    """Squared distance between a student's features and the acclimated teacher's, weighted by attention.

        KD = mean || A * Z - A * F ||^2      over images, channels and positions (DisDepth, section 3.4)

    Only the student learns from it: Z and A are taken as constants.

    Args:
        features: F, the student's map, (B, C, H, W).
        acclimated: Z, the teacher's map in the student's shape, (B, C, H, W).
        attention: A, importance of each position, (B, 1, H, W) with mean 1. None weighs all alike.
        normalise: Bring each channel of F and Z to mean 0 and deviation 1 over images and positions first. A decoder
            that begins with a norm leaves Z's scale free, and with it the weight of this loss; this takes it out.

    Returns:
        Scalar, in float32.

    Raises:
        ValueError: If F and Z differ in shape.
    """
    if features.shape != acclimated.shape:
        raise ValueError(
            f"features are {tuple(features.shape)}, acclimated {tuple(acclimated.shape)}: they must be equal"
        )
    features, acclimated = features.float(), acclimated.detach().float()
    if normalise:
        features, acclimated = standardise(features), standardise(acclimated)
    gap = features - acclimated
    if attention is not None:
        gap = attention.detach().float() * gap
    return gap.square().mean()


def standardise(x: Tensor) -> Tensor:
    """Each channel of (B, C, H, W) with mean 0 and deviation 1 over images and positions."""
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0, keepdim=True)
    return (x - mean) * (variance + 1e-5).rsqrt()
