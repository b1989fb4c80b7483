"""What iBims-1 measures beside the nine metrics (Koch et al., arXiv 1805.01328): depth boundaries, planes, 3 m.

Two versions of the official script are about, and published completeness of 30 or of 4 pixels tells which was used.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from distill.data.files.pairs import Shapes

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

VERSION = "v1"  # of the script, that results are by
MOST = 10.0  # pixels from an edge; farther counts as this
# Of Canny's detector, by the script's version.
THRESHOLDS = {"v0.9": (0.1, 0.2), "v1": (0.15, 0.3), "depthart": (0.1, 0.2)}
SIGMA, RADIUS = math.sqrt(2), 6  # of the blur before it, cut off at four sigma
BORDER = 3.0  # metres: near and far of the directed depth error
LEAST_PLANE = 0.05  # share of the frame
NEIGHBOURS = {  # of the direction of steepest change: (row, column) of the next pixel and of the one beside that
    (True, True): ((1, 0), (1, 1)),
    (True, False): ((0, 1), (1, 1)),
    (False, True): ((-1, 0), (-1, 1)),
    (False, False): ((0, 1), (-1, 1)),
}


def canny_edges(image: Floats, low: float, high: float) -> Bools:
    """Canny's edges of a map (H, W) as scikit-image finds them, which finds none near NaN."""
    kernel = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
    kernel /= kernel.sum()
    blurred, weight = (
        cv2.sepFilter2D(one, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_CONSTANT)
        for one in (image.astype(np.float64), np.ones(image.shape))
    )
    smooth = np.asarray(blurred / weight)
    down, right = (
        np.asarray(cv2.Sobel(smooth, cv2.CV_64F, *at, borderType=cv2.BORDER_REFLECT), dtype=np.float64)
        for at in ((0, 1), (1, 0))
    )
    slope = np.hypot(down, right)
    with np.errstate(invalid="ignore"):
        ridges = _along(down, right, slope) & (slope >= low)
    count, labels = cv2.connectedComponents(ridges.astype(np.uint8), connectivity=8)
    strong = np.zeros(count, bool)
    strong[labels[ridges & (slope >= high)]] = True
    return ridges & strong[labels]


def _along(down: Floats, right: Floats, slope: Floats) -> Bools:
    """Inner pixels steeper than both neighbours in the direction of steepest change, between which is interpolated."""
    same, steep = (down >= 0) & (right >= 0) | (down <= 0) & (right <= 0), abs(down) > abs(right)
    longer = np.where(steep, abs(down), abs(right))
    share = np.where(steep, abs(right), abs(down)) / np.where(longer > 0, longer, 1)
    ridges = np.zeros(slope.shape, bool)
    for (is_same, is_steep), (next_to, beside) in NEIGHBOURS.items():
        sides = []
        for sign in (1, -1):
            near, far = (np.roll(slope, (-sign * r, -sign * c), (0, 1)) for r, c in (next_to, beside))
            sides.append(far * share + near * (1 - share) <= slope)
        ridges |= (same == is_same) & (steep == is_steep) & sides[0] & sides[1]
    ridges[[0, -1]] = ridges[:, [0, -1]] = False
    return ridges


def boundary_errors(pred: Floats, edges: NDArray[np.generic], version: str = "v1") -> tuple[float, float]:
    """Accuracy and completeness of depth boundaries in pixels; NaN of an image without true edges.

    Args:
        pred: Depth (H, W) of any unit, 0 where there is none.
        edges: True edges, not 0 there, (H, W).
        version: "v0.9" takes completeness as the mean distance from true edges to predicted ones, however far; "v1" as
            the mean over both kinds of edges of the distance to the other kind, at most `MOST`; "depthart" as v0.9,
            at most `MOST`, and with edges around what has no depth.
    """
    true = np.asarray(edges) != 0
    known = np.where((pred == 0) & (version != "depthart"), np.nan, pred).astype(np.float32)
    low, high = np.nanmin(known), np.nanmax(known)
    predicted = canny_edges((known - low) / max(high - low, np.float32(1e-12)), *THRESHOLDS[version])
    if not true.any():
        return math.nan, math.nan
    to_true, to_predicted = _distance(true), _distance(predicted)
    close = to_true[predicted & (to_true < MOST)]
    if not close.size:
        return MOST, MOST
    measured = to_predicted[true] if version != "v1" else np.concatenate([to_true[predicted], to_predicted[true]])
    return float(close.mean()), float((measured if version == "v0.9" else np.minimum(measured, MOST)).mean())


def _distance(edges: Bools) -> Floats:
    """How far every pixel is from the next edge, in pixels."""
    distance = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, dtype=np.float64)


def directed_errors(pred: Floats, target: Floats) -> dict[str, float]:
    """Shares of pixels (N,) on the right side of `BORDER`, too near and too far."""
    near, far = (pred <= BORDER) & (target > BORDER), (pred > BORDER) & (target <= BORDER)
    return {"dde_0": float((~near & ~far).mean()), "dde_m": float(near.mean()), "dde_p": float(far.mean())}


def plane_errors(
    pred: Floats, target: Floats, planes: Iterable[tuple[Bools, Floats]], camera: tuple[float, float, float, float]
) -> list[tuple[float, float]]:
    """How far what should be planes is from flat, in cm, and how far its normal turned, in degrees; NaN of small ones.

    Args:
        pred, target: Depth in metres, (H, W). The first gets the second's median in each plane.
        planes: Where each one is, bool (H, W), and its unit normal: x right, y forward, z up.
        camera: fx, fy, cx, cy, pixels counted from 1.
    """
    return [_plane_error(pred, target, where, normal, camera) for where, normal in planes]


def _plane_error(
    pred: Floats, target: Floats, where: Bools, normal: Floats, camera: tuple[float, float, float, float]
) -> tuple[float, float]:
    if where.sum() < LEAST_PLANE * where.size:
        return math.nan, math.nan
    fx, fy, cx, cy = camera
    (rows, cols), depth = np.nonzero(where), pred[where].astype(np.float64)
    depth = depth * np.median(target[where].astype(np.float64)) / np.median(depth)
    points = np.stack([(cols + 1 - cx) * depth / fx, depth, -(rows + 1 - cy) * depth / fy], axis=1)
    centred = points - points.mean(axis=0)
    fitted = np.linalg.eigh(centred.T @ centred)[1][:, 0]
    turned = abs(float(fitted @ np.asarray(normal, dtype=np.float64)))
    return 100 * float((centred @ fitted).std()), math.degrees(math.acos(min(turned, 1.0)))


@dataclass(frozen=True)
class ShapeErrors:
    """What the script measures of one image.

    Attributes:
        directed: Shares of pixels, as of `directed_errors`.
        boundary: Accuracy and completeness, as of `boundary_errors`; NaN of an image without true edges.
        planes: Flatness and turn of each plane, as of `plane_errors`.
    """

    directed: dict[str, float]
    boundary: tuple[float, float]
    planes: tuple[tuple[float, float], ...]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        accuracy, completeness = self.boundary
        return {**self.directed, "dbe_acc": accuracy, "dbe_com": completeness, "planes": list(map(list, self.planes))}


def shape_errors(pred: Floats, target: Floats, valid: Bools, shapes: Shapes) -> ShapeErrors:
    """The errors of one image.

    Args:
        pred, target: Depth in metres (H, W), 0 where there is none.
        valid: Pixels that count, (H, W).
    """
    known, directed = valid & (pred != 0), dict.fromkeys(("dde_0", "dde_m", "dde_p"), math.nan)
    boundary, planes = (math.nan, math.nan), []
    if known.any():
        directed = directed_errors(pred[known], target[known])
    if shapes.edges is not None and pred.any():
        boundary = boundary_errors(pred, shapes.edges, VERSION)
    if shapes.camera is not None:
        (fx, _, cx), (_, fy, cy), _ = shapes.camera.tolist()
        planes = plane_errors(
            pred, target, [(where & known, normal) for where, normal in shapes.planes], (fx, fy, cx, cy)
        )
    return ShapeErrors(directed, boundary, tuple(planes))


def mean_shape_errors(images: Sequence[ShapeErrors]) -> dict[str, float]:
    """Means over images, of planes over those of all images; NaN where nothing is known."""
    columns: dict[str, list[float]] = {name: [one.directed[name] for one in images] for name in images[0].directed}
    columns |= {name: [one.boundary[i] for one in images] for i, name in enumerate(("dbe_acc", "dbe_com"))}
    planes = [plane for one in images for plane in one.planes]
    columns |= {name: [plane[i] for plane in planes] for i, name in enumerate(("pe_fla", "pe_ori"))}
    known = {name: [value for value in values if not math.isnan(value)] for name, values in columns.items()}
    return {name: math.fsum(values) / len(values) if values else math.nan for name, values in known.items()}
