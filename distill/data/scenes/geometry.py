"""Ray casting for procedural scenes: unit solids, planes, and the nearest hit of every pixel.

Axes are a camera's, in the world as well: x right, y down, z forward, metres. A ray is `origin + t * direction` with
the direction scaled to 1 along the camera's axis, so that t is the z-depth itself and no conversion is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

NEAR = 0.05  # metres: closer hits are behind the lens
TINY = 1e-12  # keeps a ray parallel to a face from dividing 0 by 0

Vec = tuple[float, float, float]
Rect = tuple[slice, slice]


class Material(NamedTuple):
    """A surface of cells (bricks, tiles, planks, windows) in one colour between lines of another, under noise."""

    base: Vec = (0.5, 0.5, 0.5)  # linear RGB inside a cell
    line: Vec = (0.5, 0.5, 0.5)  # linear RGB between cells
    cell: tuple[float, float] = (1.0, 1.0)  # metres
    gap: tuple[float, float] = (0.0, 0.0)  # share of a cell that is line
    stagger: float = 0.0  # shift of every next row, in cells
    jitter: float = 0.0  # brightness differences between cells
    noise: float = 0.3
    grain: tuple[float, float] = (1.0, 1.0)  # noise cells per metre
    glow: float = 0.0  # light of its own


class Solid(NamedTuple):
    """A convex body: "box", "cylinder" (vertical), "ellipsoid", "roof" (ridge along z) or "inside" (a box seen
    from within), of half extents `half` around `centre`, turned by `yaw` radians about the vertical. `surface` names
    what it is, as of `surfaces.SURFACES`."""

    shape: str
    centre: Vec
    half: Vec
    yaw: float
    material: Material
    surface: str = "object"


@dataclass(frozen=True)
class Pinhole:
    """A pinhole camera: position in the world, rotation from camera to world, focal length and centre in pixels."""

    position: Vec
    rotation: np.ndarray
    focal_px: float
    centre_px: tuple[float, float]
    size: tuple[int, int]

    def intrinsics(self) -> Tensor:
        """The camera matrix (3, 3) in pixels, float64."""
        (u, v), f = self.centre_px, self.focal_px
        return torch.tensor([[f, 0.0, u], [0.0, f, v], [0.0, 0.0, 1.0]], dtype=torch.float64)

    def rays(self, device: torch.device | str = "cpu") -> Tensor:
        """World directions (3, H, W) of the pixel centres, 1 along the camera's axis; pixel (0, 0) is at u = v = 0."""
        x = (torch.arange(self.size[1], device=device) - self.centre_px[0]) / self.focal_px
        y = (torch.arange(self.size[0], device=device) - self.centre_px[1]) / self.focal_px
        rows = [float(a) * x + (float(b) * y[:, None] + float(c)) for a, b, c in self.rotation]
        return torch.stack(rows)


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Pinhole-to-world rotation (3, 3) from angles in radians: right, up and clockwise are positive."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    tilt = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    return turn @ tilt @ np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])


def unit_box(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays (3, ...) enter and leave the cube [-1, 1]^3; they miss it where they leave before they enter."""
    inverse = 1 / direction
    middle, reach = -origin * inverse, inverse.abs()
    near, far = middle - reach, middle + reach
    return torch.maximum(torch.maximum(near[0], near[1]), near[2]), torch.minimum(torch.minimum(far[0], far[1]), far[2])


def unit_ellipsoid(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays (3, ...) enter and leave the sphere of radius 1; a miss enters at +inf."""
    a, b = (direction * direction).sum(0), (origin * direction).sum(0)
    # The closest point's offset, rather than b^2 - ac, which cancels for a small sphere far away.
    offset = origin - direction * (b / a)
    space = 1 - (offset * offset).sum(0)
    half = (space.clamp(min=0) / a).sqrt()
    middle = -b / a
    return torch.where(space > 0, middle - half, torch.inf), middle + half


def unit_cylinder(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays (3, ...) enter and leave the cylinder x^2 + z^2 <= 1, |y| <= 1, caps included."""
    near, far = unit_ellipsoid(origin[::2], direction[::2])
    inverse = 1 / direction[1]
    middle, reach = -origin[1] * inverse, inverse.abs()
    return torch.maximum(near, middle - reach), torch.minimum(far, middle + reach)


def unit_roof(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays (3, ...) enter and leave the prism 2 |x| - 1 <= y <= 1, |z| <= 1 (y points down)."""
    near, far = unit_box(origin, direction)
    for side in (2.0, -2.0):
        slope = side * direction[0] - direction[1]
        t = (1 - side * origin[0] + origin[1]) / slope
        near = torch.maximum(near, torch.where(slope < 0, t, -torch.inf))
        far = torch.minimum(far, torch.where(slope < 0, torch.inf, t))
    return near, far


SHAPES = {
    "box": unit_box,
    "inside": unit_box,
    "cylinder": unit_cylinder,
    "ellipsoid": unit_ellipsoid,
    "roof": unit_roof,
}


def to_local(vectors: Tensor, solid: Solid) -> Tensor:
    """World vectors (3, ...) in the solid's own axes, in half extents: the solid becomes its unit shape."""
    c, s = float(np.cos(solid.yaw)), float(np.sin(solid.yaw))
    x, y, z = vectors
    hx, hy, hz = solid.half
    local = torch.empty_like(vectors, memory_format=torch.contiguous_format)
    torch.mul(x, c / hx, out=local[0]).add_(z, alpha=-s / hx)
    torch.mul(y, 1 / hy, out=local[1])
    torch.mul(x, s / hz, out=local[2]).add_(z, alpha=c / hz)
    return local


def intersect(origin: Tensor, direction: Tensor, solid: Solid) -> tuple[Tensor, Tensor]:
    """Where rays (both (3, ...), broadcastable) enter and leave a solid, in units of the direction's length."""
    offset = torch.stack([o - c for o, c in zip(origin, solid.centre, strict=True)])
    return SHAPES[solid.shape](to_local(offset, solid), to_local(direction, solid).add_(TINY))


def intersect_plane(origin: Tensor, direction: Tensor, normal: Vec, offset: float) -> Tensor:
    """Where rays (3, ...) meet the plane `normal . x = offset` from the side its normal points to, else +inf."""
    above = offset - sum(n * o for n, o in zip(normal, origin, strict=True))
    approach = sum(n * d for n, d in zip(normal, direction, strict=True))
    t = above / approach
    return torch.where((t > NEAR) & (approach < 0), t, torch.inf)


CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)


def corners(solids: list[Solid], margin: float = 0.0) -> np.ndarray:
    """World corners (N, 8, 3) of the solids' boxes, each grown by `margin` metres."""
    local = CORNERS * (np.array([s.half for s in solids]).reshape(-1, 1, 3) + margin)
    yaw = np.array([s.yaw for s in solids])[:, None]
    c, s = np.cos(yaw), np.sin(yaw)
    x, y, z = np.moveaxis(local, -1, 0)
    return np.stack([c * x + s * z, y, c * z - s * x], -1) + np.array([s.centre for s in solids]).reshape(-1, 1, 3)


def screen_rects(points: np.ndarray, camera: Pinhole) -> list[Rect | None]:
    """For each convex hull of points (N, P, 3), the image rectangle that holds it; None where it is out of view."""
    local = (points - np.array(camera.position)) @ camera.rotation
    first, second = np.triu_indices(local.shape[1], 1)
    a, b = local[:, first], local[:, second]
    # Where the hull passes the lens, its outline there bounds what is seen of it.
    share = (NEAR - a[..., 2]) / np.where(a[..., 2] == b[..., 2], np.inf, b[..., 2] - a[..., 2])
    cut = a + (b - a) * share[..., None]
    seen = np.concatenate([local[..., 2] > NEAR, (a[..., 2] > NEAR) != (b[..., 2] > NEAR)], 1)
    local = np.concatenate([local, cut], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = local[..., :2] / local[..., 2:] * camera.focal_px + np.array(camera.centre_px)
    limit = np.array(camera.size[::-1])
    low = np.where(seen[..., None], np.clip(np.ceil(pixels), 0, limit), limit).min(1).astype(int).tolist()
    high = np.where(seen[..., None], np.clip(np.floor(pixels) + 1, 0, limit), 0).max(1).astype(int).tolist()
    return [
        (slice(y0, y1), slice(x0, x1)) if x0 < x1 and y0 < y1 else None
        for (x0, y0), (x1, y1) in zip(low, high, strict=True)
    ]


def light_reaching(camera: Pinhole, points: Tensor, solids: list[Solid], light: Vec, distant: bool) -> Tensor:
    """The share of a light that reaches each point (3, H, W): 0 in a solid's shadow, 1 in the open.

    `light` is the direction towards a distant light, or the position of a near one.
    """
    lit = torch.ones_like(points[0])
    place = np.array(light)
    hull = corners(solids)
    if distant:
        drop = hull[..., 1:2].clip(max=6.0) - 6.0  # down to 6 m below the camera's ground, lower than any slope falls
        cast = hull + place * drop / -place[1]
    else:
        cast = place + (hull - place) * 40  # leaves any room
    rects = screen_rects(np.concatenate([hull, cast], 1), camera)
    target = torch.tensor(light, dtype=torch.float32, device=points.device)[:, None, None]
    for solid, rect in zip(solids, rects, strict=True):
        if rect is None:
            continue
        start = points[:, *rect]
        near, far = intersect(start, target if distant else target - start, solid)
        blocked = (near <= far) & (far > 0)
        if not distant:
            blocked &= near < 1
        lit[rect] *= ~blocked
    return lit


def openness(camera: Pinhole, points: Tensor, solids: list[Solid], reach: float = 0.3) -> Tensor:
    """How much ambient light (H, W) arrives: less within about `reach` metres of a solid's foot."""
    open_ = torch.ones_like(points[0])
    for solid, rect in zip(solids, screen_rects(corners(solids, 2 * reach), camera), strict=True):
        if rect is None:
            continue
        shifted = torch.stack([p - c for p, c in zip(points[:, *rect], solid.centre, strict=True)])
        x, y, z = to_local(shifted, solid)
        hx, hy, hz = solid.half
        aside = torch.maximum((x.abs() - 1) * hx, (z.abs() - 1) * hz).clamp_(min=0)
        away = aside + (y - 1).abs() * hy
        open_[rect] *= 1 - 0.6 * torch.exp(away * (-1 / reach))
    return open_
