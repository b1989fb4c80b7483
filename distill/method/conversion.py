"""What a relative teacher's map is worth in metres: one robust fit an image, and a loss where there is none.

r is inverse depth up to a scale and a shift that nobody knows (MiDaS, Depth Anything).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distill.method.affine import fit_affine
from distill.method.relative import gradient_matching, standardise, trimmed_error

FEWEST = 64  # pixels of an image that a fit needs
SPAN = 1.5  # ratio of the farthest to the nearest of them
OUTLIER = 3 * 1.48  # times the median absolute residual: three standard deviations of a normal one
ROUNDS = 2  # of fitting again without outliers
MOST = 4096  # pixels of an image that a fit is made on; more would tell the same two numbers
CAP = 1000.0  # metres, of a student without a limit


class Converted(NamedTuple):
    """Depth of a relative teacher.

    Attributes:
        depth: Metres, (B, 1, H, W), the cap where the teacher says farther; anything where the fit is not `good`.
        good: Images whose fit holds, bool (B,).
        measured: Images with enough measured pixels for a fit, bool (B,).
    """

    depth: Tensor
    good: Tensor
    measured: Tensor


def convert(r: Tensor, depth: Tensor, valid: Tensor, cap: float) -> Converted:
    """A relative map in metres, image by image: depth = 1 / max(s r + t, 1 / cap).

    s and t are those of 1 / depth = s r + t by least squares over valid pixels (of very many over evenly chosen ones),
    found again twice without the pixels whose residual exceeds `OUTLIER` medians. A fit is good with s > 0 and
    `FEWEST` pixels over a ratio of `SPAN`.

    Args:
        r: Inverse depth up to scale and shift, (B, 1, H, W); what is not finite is known to be neither near nor far.
        depth: Measured depth in metres, same shape; valid: where it is.
        cap: Metres beyond which no depth is taught.
    """
    r, cap = r.float(), min(cap, CAP)
    index, known = spread(valid & r.isfinite())
    x = r.flatten(1).gather(1, index)
    inverse = torch.where(known, depth.flatten(1).gather(1, index).float(), 1.0).clamp(min=1e-3).reciprocal()
    kept = known
    scale, shift = fit_affine(x, inverse, kept)
    for _ in range(ROUNDS):
        residual = (scale[:, None] * x + shift[:, None] - inverse).abs()
        middle = torch.where(known, residual, torch.nan).nanmedian(dim=1, keepdim=True).values.nan_to_num()
        kept = known & (residual <= (OUTLIER * middle).clamp(min=1e-9))
        scale, shift = fit_affine(x, inverse, kept)
    nearest = torch.where(kept, inverse, 0.0).amax(dim=1)
    farthest = torch.where(kept, inverse, torch.inf).amin(dim=1)
    enough = known.sum(dim=1) >= FEWEST
    good = enough & (scale > 0) & (nearest >= SPAN * farthest)
    converted = column(scale) * r + column(shift)
    return Converted(converted.clamp(min=1 / cap).reciprocal(), good, enough)


def spread(valid: Tensor) -> tuple[Tensor, Tensor]:
    """Places (B, MOST) in each flat image of its valid pixels, of many every second, third ...; and which there are."""
    count = valid.flatten(1).cumsum(dim=1)
    total = count[:, -1:].contiguous()
    every = (total + MOST - 1).div(MOST, rounding_mode="floor").clamp(min=1)
    wanted = torch.arange(MOST, device=valid.device) * every + 1
    return torch.searchsorted(count, wanted).clamp(max=count.shape[1] - 1), wanted <= total


def column(values: Tensor) -> Tensor:
    """One value an image, (B,) -> (B, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def shape_loss(pred: Tensor, r: Tensor, wanted: Tensor) -> Tensor:
    """Difference of a prediction and a relative map that ignores scale and shift, over whole images.

        L = trimmed |x - y| + gradient matching of x - y,    x = 1 / pred and y = r, both by `standardise`

    Args:
        pred: Depth in metres, (B, 1, H, W).
        r: Inverse depth up to scale and shift; pixels where it is not finite do not count.
        wanted: Images that count, bool (B,); with none the loss is 0 and has no gradient.
    """
    if pred.device.type == "cpu":  # where looking costs nothing, and the rest much
        if not wanted.any():
            return pred.new_zeros((), dtype=torch.float32)
        pred, r, wanted = pred[wanted], r[wanted], wanted[wanted]
    everywhere = column(wanted) & r.isfinite()
    x = torch.where(everywhere, pred, 1.0).float().clamp(min=1e-3).reciprocal()
    gap = standardise(x, everywhere) - standardise(torch.where(everywhere, r.float(), 1.0), everywhere)
    return trimmed_error(gap, everywhere) + gradient_matching(gap, everywhere)
