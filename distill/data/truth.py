"""Whether the ground truth of a set can be used: looked at before anything is trained or judged on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from distill.data.files.reading import DecodeError
from distill.data.sample import DepthDataset
from distill.errors import UserError

MIN_DEPTH = 1e-3  # metres; what is not farther counts as not measured, in training and in evaluation
Item = TypeVar("Item")
USUAL_SCALES = (100, 256, 1000, 5000, 10000)  # units per metre that depth PNGs come in


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of some items, evenly spaced, the first and the last among them."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def fitting_scale(farthest: float, scale: float, max_depth: float) -> float:
    """Units per metre at which a depth in metres, read at `scale`, would lie below the cap: a usual one if any."""
    needed = scale * farthest / max_depth
    return next((usual for usual in USUAL_SCALES if usual > needed), math.ceil(needed))


def check_truth(dataset: DepthDataset, samples: int = 16) -> None:
    """Refuse a set whose ground truth cannot be used, by a look at a few evenly spaced samples.

    A wrong depth scale shows itself here: if every value lies beyond the cap, the refusal names the scale that fits.
    """
    looked_at = evenly(range(len(dataset)), samples)
    values, unread = [], []
    for index in looked_at:
        try:
            sample = dataset[index]
        except DecodeError as error:
            unread.append(str(error))
            continue
        depth = sample.depth[sample.valid]
        if ((depth > MIN_DEPTH) & (depth < dataset.max_depth)).any():
            return
        values.append(depth)
    seen = f"no valid ground truth in the whole set ({len(looked_at)} of {len(dataset)} depth maps looked at)"
    if len(unread) == len(looked_at):
        raise UserError(f"{seen}: {unread[0]}")
    raise UserError(f"{seen}: {_truth_fault(dataset, np.concatenate(values))}")


def _truth_fault(dataset: DepthDataset, depth: np.ndarray) -> str:
    """What is wrong with values (N,) in metres of which none lies between `MIN_DEPTH` and the cap."""
    expected = f"expected depth between {MIN_DEPTH:g} and {dataset.max_depth:g} m"
    if not (depth >= dataset.max_depth).any():
        return f"nothing is measured farther than {MIN_DEPTH:g} m, {expected}; check that these are depth maps"
    scale = dataset.depth_scale
    return (
        f"at {scale:g} units per metre it spans {depth.min():.4g} to {depth.max():.4g} m, {expected}; "
        f"{fitting_scale(float(np.percentile(depth, 99)), scale, dataset.max_depth):g} units per metre would fit"
    )
