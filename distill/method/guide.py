"""What a teacher gives for a batch, as a method sees it: computed just now, or read from labels on disk."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distill.method.conversion import column, convert


class Guide(NamedTuple):
    """What the teacher gives for a batch: four maps where features are wanted, depth where depth is.

    Attributes:
        features: Four maps.
        depth: Metres, (B, 1, H, W).
        known: Pixels whose `depth` is taught, bool, same shape; None means all.
        relative: Inverse depth up to scale and shift, same shape, of a relative teacher.
        shape_only: Images of which `relative` is all there is, bool (B,).
    """

    features: list[Tensor] | None = None
    depth: Tensor | None = None
    known: Tensor | None = None
    relative: Tensor | None = None
    shape_only: Tensor | None = None


def fill_unlabelled(depth: Tensor, valid: Tensor, guide: Guide) -> tuple[Tensor, Tensor]:
    """Target and mask of a batch: the measured depth, or the teacher's where an image has none at all."""
    if guide.depth is None:
        return depth, valid
    labelled = valid.flatten(1).any(dim=1).view(-1, 1, 1, 1)
    filled = ~labelled & known_pixels(guide)
    return torch.where(labelled, depth, guide.depth.to(depth.dtype)), valid | filled


def known_pixels(guide: Guide) -> Tensor:
    """Pixels whose metres the teacher gives, bool (B, 1, H, W)."""
    finite = require_depth(guide).isfinite()
    return finite if guide.known is None else finite & guide.known


def require_features(guide: Guide) -> list[Tensor]:
    """The teacher's four maps, which a method on features cannot do without."""
    if guide.features is None:
        raise ValueError("this method compares features and needs the teacher's four maps in its guide")
    return guide.features


def require_depth(guide: Guide) -> Tensor:
    """The teacher's depth, which a method on outputs cannot do without."""
    if guide.depth is None:
        raise ValueError("this method compares depth and needs the teacher's depth in its guide")
    return guide.depth


def guide_of_relative(r: Tensor, truth: Tensor, valid: Tensor, limits: tuple[float, float]) -> Guide:
    """The guide of a relative teacher's map r, (B, 1, H, W), by the truth of each image; see `convert`.

    Where r is not finite nothing was said. Where it says farther than the student's limit, the limit is taught, which
    only pushes outwards: the student cannot predict more. One without a limit is taught `CAP` there.
    """
    made = convert(r, truth, valid, limits[1])
    return Guide(
        depth=made.depth.clamp(*limits),
        known=column(made.good).expand_as(r),
        relative=r,
        shape_only=~made.measured & r.isfinite().flatten(1).any(dim=1),
    )


def guide_of_labels(
    label: Tensor, relative: Tensor | None, truth: Tensor, valid: Tensor, limits: tuple[float, float]
) -> Guide:
    """The guide that labels are: metres, or of some images what `guide_of_relative` makes of them.

    Args:
        label: (B, 1, H, W), NaN where nothing was said.
        relative: Images whose label is inverse depth up to scale and shift, bool (B,); None where none is.
    """
    written = label.isfinite()
    depth = torch.where(written, label, 1.0).clamp(*limits)
    if relative is None:
        return Guide(depth=depth, known=written)
    made, those = guide_of_relative(label, truth, valid, limits), column(relative)
    return Guide(
        depth=torch.where(those & written, require_depth(made), depth),
        known=written & torch.where(those, known_pixels(made), True),
        relative=label,
        shape_only=None if made.shape_only is None else relative & made.shape_only,
    )


def without_worst(pred: Tensor, guide: Guide, share: float) -> tuple[Guide, dict[str, Tensor]]:
    """The guide without that share of each image's known pixels where |log pred - log depth| is largest.

    Returns:
        It, and to log the mean of that distance over what is left out and over what is kept.
    """
    known = known_pixels(guide)
    pair = (torch.where(known, one, 1.0).detach().float() for one in (pred, require_depth(guide)))
    ours, theirs = (one.clamp(min=1e-3).log() for one in pair)
    gap = torch.where(known, (ours - theirs).abs(), -1.0).flatten(1)
    worst = (share * known.flatten(1).sum(dim=1)).round().long()
    largest = gap.topk(max(round(share * gap.shape[1]), 1), dim=1).indices
    first = torch.arange(largest.shape[1], device=gap.device) < worst[:, None]
    left_out = torch.zeros_like(gap, dtype=torch.bool).scatter(1, largest, first).view_as(known)
    kept = known & ~left_out
    means = [(gap.view_as(known) * one).sum() / one.sum().clamp(min=1) for one in (left_out, kept)]
    return guide._replace(known=kept), {"trimmed_gap": means[0], "kept_gap": means[1]}
