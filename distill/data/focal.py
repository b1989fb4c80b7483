"""Depth of a canonical camera, so that one network serves cameras of any focal length (Metric3D, arXiv 2307.10984).

A camera of twice the focal length sees everything twice as large, as if it were half as far. Networks learn distance
by size, so they learn depth * CANONICAL / f, and whoever uses them multiplies by f / CANONICAL: f is that of the image
as the network sees it, in pixels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from distill.data.sample import Sample
from distill.errors import UserError

CANONICAL = 1000.0  # pixels


def focal_px(sample: Sample) -> float:
    """The focal length of a sample's camera: the geometric mean of both directions.

    Raises:
        UserError: If no camera is known.
    """
    if sample.intrinsics is None:
        why = sample.no_camera or (
            "give data.camera, a list's fx,fy,cx,cy, or intrinsics.json beside the images; predict takes --intrinsics"
        )
        raise UserError(f"the focal length of {sample.name} is not known: {why}")
    return float(np.sqrt(sample.intrinsics[0, 0] * sample.intrinsics[1, 1]))


def to_canonical(sample: Sample) -> Sample:
    """The sample with the depth, and a label in metres, that the canonical camera would measure."""
    times = CANONICAL / focal_px(sample)
    label = sample.label if sample.label is None or sample.relative else sample.label * np.float32(times)
    return replace(sample, depth=sample.depth * np.float32(times), label=label, canonical=times)


def metres_of(canonical_focal: float | None, sample: Sample, seen: tuple[int, int]) -> float:
    """By what a network's depth of a sample is multiplied, if it sees it at the size `seen` (height, width)."""
    if canonical_focal is None:
        return 1.0
    height, width = sample.image.shape[:2]
    zoom = float(np.sqrt(seen[0] * seen[1] / (height * width)))
    return focal_px(sample) * zoom / canonical_focal
