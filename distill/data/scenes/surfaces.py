"""The surface under every pixel of a scene: where it lies, how it is turned, and its texture coordinates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from distill.data.scenes.geometry import SHAPES, Camera
from distill.data.scenes.layout import Ground, Layout


@dataclass(frozen=True)
class Surface:
    """What each pixel sees: world point and unit normal (3, H, W), texture coordinates and footprints in metres."""

    point: Tensor
    normal: Tensor
    uv: tuple[Tensor, Tensor]
    footprint: tuple[Tensor, Tensor]


SHAPE_CODES = {name: float(code) for code, name in enumerate((*SHAPES, "ground"))}
GROUND_ROW = (0, 0, 0, 1, 1, 1, 1, 0, SHAPE_CODES["ground"])


def outward(q: Tensor, half: Tensor, shape: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normals (3, H, W) at points `q` of unit shapes, and whether each lies on an x face, a y face or a round side."""
    qx, qy, qz = q
    ax, ay, az = q.abs()
    land, ball, drum, roof = (shape == SHAPE_CODES[name] for name in ("ground", "ellipsoid", "cylinder", "roof"))
    # A point on a box is on the face whose coordinate reaches furthest; other shapes replace what differs.
    slant = roof & (2 * ax - qy > az)
    on_y = torch.where(drum, ay * ay > qx * qx + qz * qz, (ay > ax) & (ay > az)) | land | slant
    round_ = ball | (drum & ~on_y)
    on_y = on_y & ~ball
    on_x = (ax >= az) & ~on_y & ~round_
    on_z = ~(on_x | on_y | round_)
    nx = torch.where(round_, qx / half[0], torch.where(slant, 2 * qx.sign() / half[0], on_x * qx.sign()))
    ny = torch.where(ball, qy / half[1], torch.where(slant, -1 / half[1], torch.where(land, -1.0, on_y * qy.sign())))
    nz = torch.where(round_, qz / half[2], on_z * qz.sign())
    return torch.stack([nx, ny, nz]), on_x, on_y, round_


def frames_at(layout: Layout, index: Tensor) -> Tensor:
    """Each pixel's solid as (9, H, W): centre, half extents, cosine and sine of its yaw, number of its shape."""
    frames = [(*s.centre, *s.half, np.cos(s.yaw), np.sin(s.yaw), SHAPE_CODES[s.shape]) for s in layout.solids]
    table = torch.from_numpy(np.array([*frames, GROUND_ROW], dtype=np.float32).T.copy()).to(index.device)
    return table.index_select(1, torch.where(index < 0, len(frames), index).flatten()).reshape(9, *index.shape)


def surface_at(layout: Layout, rays: Tensor, depth: Tensor, index: Tensor) -> Surface:
    """The surface under every pixel; `index` is a solid's number, len(solids) for the ground, -1 for the sky."""
    pixel = frames_at(layout, index)
    (cx, cy, cz), half, (c, s, shape) = pixel[:3], pixel[3:6], pixel[6:]
    point = torch.stack([d * depth + o for d, o in zip(rays, layout.camera.position, strict=True)])
    x, y, z = point[0] - cx, point[1] - cy, point[2] - cz
    x, z = c * x - s * z, s * x + c * z
    (nx, ny, nz), on_x, on_y, round_ = outward(torch.stack([x, y, z]) / half, half, shape)
    normal = torch.stack([c * nx + s * nz, ny, c * nz - s * nx])
    if layout.ground is not None:
        hill = (index == len(layout.solids)) & (point[2] > layout.ground.crest)
        normal[2] = torch.where(hill, -layout.ground.slope, normal[2])
    normal *= torch.where((normal * rays).sum(0) > 0, -1.0, 1.0) / normal.square().sum(0).sqrt()

    def on_face(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(on_x, z, x), torch.where(on_y, z, y)

    steps = []
    for mx, my, mz in pixel_steps(layout.camera, rays, depth, normal):
        steps.append(on_face((c * mx - s * mz).abs(), my.abs(), (s * mx + c * mz).abs()))
    footprint = steps[0][0] + steps[1][0], steps[0][1] + steps[1][1]
    uv = on_face(torch.where(round_, torch.atan2(x, z) * half[0], x + half[0]), y + half[1], z + half[2])
    surface = Surface(point, normal, uv, footprint)
    return surface if layout.ground is None else outdoors(layout, layout.ground, rays, index, surface)


def pixel_steps(camera: Camera, rays: Tensor, depth: Tensor, normal: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """How far, in world axes (3 times (H, W)), the surface point moves to the next pixel at the right, and below."""
    facing = (normal * rays).sum(0).clamp(max=-1e-4)
    steps = []
    for ex, ey, ez in (camera.rotation[:, :2].T / camera.focal_px).tolist():
        along = (normal[0] * ex + normal[1] * ey + normal[2] * ez) / facing
        mx, my, mz = (depth * (e - d * along) for e, d in zip((ex, ey, ez), rays, strict=True))
        steps.append((mx, my, mz))
    return steps


def outdoors(layout: Layout, ground: Ground, rays: Tensor, index: Tensor, surface: Surface) -> Surface:
    """The same with the textures of land, which follow the road, and of the sky."""
    (u, v), (du, dv) = surface.uv, surface.footprint
    land, sky = index == len(layout.solids), index < 0
    x, _, z = surface.point
    u, v = torch.where(land, x - ground.axis(z), u), torch.where(land, z, v)
    # Clouds hang on a plane overhead, which bends down at the horizon.
    rise = (-rays[1]).clamp(min=0) + 0.1
    u, v = torch.where(sky, rays[0] / rise, u), torch.where(sky, rays[2] / rise, v)
    haze = 1 / (layout.camera.focal_px * rise * rise)
    du, dv = torch.where(sky, haze, du), torch.where(sky, haze, dv)
    return replace(surface, uv=(u, v), footprint=(du, dv))
