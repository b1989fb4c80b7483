"""Where a prediction is wrong: metrics by distance and at depth edges, and how the errors are spread."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from distill.evaluation.arrays import Values, beside, library
from distill.evaluation.pixels import Pixels

NEAR_CAP = 15.0  # metres; a protocol whose cap is nearer is broken down like a room, any other like a street
ROOM, STREET = (3.0,), (20.0, 50.0)
EDGE_RATIO, EDGE_WINDOW = 1.25, 5  # a depth edge: the truth jumps by this factor within so many pixels squared
FAR = np.float32(1e9)  # metres; stands for what was not measured
EDGES, ELSEWHERE = "depth edges", "elsewhere"
STEP, BINS = 0.05, 20  # of the histogram of (p - t) / t, half of the bins on either side of 0


def distance_bounds(max_depth: float) -> list[float]:
    """Limits of the distance classes in metres: 0, 3, 10 for rooms, 0, 20, 50, 80 for streets, up to the cap."""
    inner = ROOM if max_depth <= NEAR_CAP else STREET
    return [0.0, *(bound for bound in inner if bound < max_depth), max_depth]


def part_names(max_depth: float) -> list[str]:
    """The parts that `part_masks` divides into, in order."""
    return [*(f"{near:g}-{far:g} m" for near, far in pairwise(distance_bounds(max_depth))), EDGES, ELSEWHERE]


def depth_edges(truth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels of a true depth map, float32 (H, W), beside which another surface begins, bool (H, W).

    These are measured pixels around which, in a square of `EDGE_WINDOW`, the farthest measurement is more than
    `EDGE_RATIO` times the nearest: both sides of an edge, in sparse lidar and in dense maps alike.
    """
    window = np.ones((EDGE_WINDOW, EDGE_WINDOW), np.uint8)
    measured = truth > 0
    nearest = cv2.erode(truth + FAR * ~measured, window)
    return measured & (cv2.dilate(truth, window) > EDGE_RATIO * nearest)


def part_masks(pixels: Pixels, edges: NDArray[np.bool_], max_depth: float) -> Values:
    """Which pixels are in which part, bool (1 + parts, N): all of them first, then `part_names`.

    `edges` is a map of the frame, (H, W); distance is that of the truth.
    """
    truth, at_edge = pixels.target, beside(edges, pixels.places).ravel()[pixels.places]
    by_distance = [(truth > near) & (truth <= far) for near, far in pairwise(distance_bounds(max_depth))]
    return library(truth).stack([truth > 0, *by_distance, at_edge, ~at_edge])


def error_counts(pixels: Pixels) -> list[int]:
    """How many pixels have a relative error (p - t) / t in each of `BINS` bins, which `error_bounds` divides."""
    xp = library(pixels.pred)
    bins = xp.clip(pixels.pred / pixels.target / STEP - (1 / STEP - BINS // 2), 0, BINS - 1)
    return xp.bincount(xp.asarray(bins, dtype=xp.int64), minlength=BINS).tolist()


def error_bounds() -> list[float]:
    """The inner limits of the bins, (BINS - 1,): what is below the first or above the last is in the outer bins."""
    return [round(STEP * (i - BINS // 2), 10) for i in range(1, BINS)]
