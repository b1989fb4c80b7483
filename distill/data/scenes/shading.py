"""From rays to a picture: what is hit, its surface and texture, light and shadow, haze, and the camera's tone curve."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from distill.data.scenes.geometry import (
    NEAR,
    SHAPES,
    corners,
    intersect,
    intersect_plane,
    light_reaching,
    openness,
    screen_rects,
)
from distill.data.scenes.layout import Draw, Ground, Layout


@dataclass(frozen=True)
class Surface:
    """What each pixel sees: world point and unit normal (3, H, W), texture coordinates and footprints in metres."""

    point: Tensor
    normal: Tensor
    uv: tuple[Tensor, Tensor]
    footprint: tuple[Tensor, Tensor]


SHAPE_CODES = {name: float(code) for code, name in enumerate((*SHAPES, "ground"))}
GROUND_ROW = (0, 0, 0, 1, 1, 1, 1, 0, SHAPE_CODES["ground"])


def trace(layout: Layout, rays: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest hit of every ray: z-depth (H, W), +inf without any, and what is hit (H, W).

    That is the number of a solid, len(solids) for the ground, -1 for nothing.
    """
    camera, solids, ground = layout.camera, layout.solids, layout.ground
    depth = torch.full_like(rays[0], torch.inf)
    index = torch.full_like(depth, -1, dtype=torch.int64)
    origin = torch.tensor(camera.position, dtype=torch.float32, device=rays.device)[:, None, None]
    for number, (solid, rect) in enumerate(zip(solids, screen_rects(corners(solids), camera), strict=True)):
        if solid.shape == "inside":
            rect = (slice(None), slice(None))
        if rect is None:
            continue
        near, far = intersect(origin, rays[:, *rect], solid)
        hit = far if solid.shape == "inside" else near
        closer = (near <= far) & (hit > NEAR) & (hit < depth[rect])
        depth[rect] = torch.where(closer, hit, depth[rect])
        index[rect] = torch.where(closer, number, index[rect])
    if ground is None:
        return depth, index
    flat = intersect_plane(origin, rays, (0.0, -1.0, 0.0), 0.0)
    hill = intersect_plane(origin, rays, (0.0, -1.0, -ground.slope), -ground.slope * ground.crest)
    # Uphill both planes are solid, downhill only what lies below both. Asking either for its own side of the crest
    # would leave cracks.
    before = rays[2] * flat + origin[2] <= ground.crest
    land = torch.minimum(flat, hill) if ground.slope >= 0 else torch.where(before, flat, hill)
    return torch.minimum(depth, land), torch.where(land < depth, len(solids), index)


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

    # How far the surface point moves to the next pixel at the right, and below.
    facing, steps = (normal * rays).sum(0).clamp(max=-1e-4), []
    for ex, ey, ez in (layout.camera.rotation[:, :2].T / layout.camera.focal_px).tolist():
        along = (normal[0] * ex + normal[1] * ey + normal[2] * ez) / facing
        mx, my, mz = (depth * (e - d * along) for e, d in zip((ex, ey, ez), rays, strict=True))
        steps.append(on_face((c * mx - s * mz).abs(), my.abs(), (s * mx + c * mz).abs()))
    footprint = steps[0][0] + steps[1][0], steps[0][1] + steps[1][1]
    uv = on_face(torch.where(round_, torch.atan2(x, z) * half[0], x + half[0]), y + half[1], z + half[2])
    surface = Surface(point, normal, uv, footprint)
    return surface if layout.ground is None else outdoors(layout, layout.ground, rays, index, surface)


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


@lru_cache(maxsize=8)
def lattice(device: torch.device) -> Tensor:
    """Random values at the corners of 256 x 256 noise cells, (65536, 4): a cell, its right, lower and diagonal one."""
    values = np.random.default_rng(0).uniform(-1, 1, (256, 256)).astype(np.float32)
    corner = [np.roll(values, (-down, -right), (0, 1)) for down in (0, 1) for right in (0, 1)]
    return torch.from_numpy(np.stack(corner, -1).reshape(-1, 4)).to(device)


def cell_of(x: Tensor, y: Tensor) -> Tensor:
    """The number of a cell of the noise, from its place."""
    return ((y.long() & 255) << 8) | (x.long() & 255)


def value_noise(u: Tensor, v: Tensor, footprint: Tensor, octaves: int = 4) -> Tensor:
    """Smooth noise of several octaves about 0; an octave fades out as a pixel's footprint nears its cell."""
    table, total = lattice(u.device), torch.zeros_like(u)
    for octave in range(octaves):
        scale = 2.0**octave
        # Each octave looks elsewhere, or all of them would share a corner at the origin.
        x, y = u * scale + 17.3 * octave, v * scale + 41.7 * octave
        left, top = x.floor(), y.floor()
        a, b, c, d = table.index_select(0, cell_of(left, top).flatten()).t().reshape(4, *u.shape)
        x, y = x - left, y - top
        x, y = x * x * (3 - 2 * x), y * y * (3 - 2 * y)
        upper = torch.lerp(a, b, x)
        smooth = torch.lerp(upper, torch.lerp(c, d, x), y)
        total += smooth * (0.7**octave * (1.5 - footprint * (2 * scale)).clamp(0, 1))
    return total


def line_cover(x: Tensor, width: Tensor, footprint: Tensor) -> Tensor:
    """The share of a pixel's footprint that lies in lines of `width` at whole numbers of `x`: a box filter."""

    def covered(x: Tensor) -> Tensor:
        whole = x.floor()
        return whole * width + torch.minimum(x - whole, width)

    return (covered(x + footprint / 2) - covered(x - footprint / 2)) / footprint


def materials(layout: Layout, surface: Surface, index: Tensor) -> tuple[Tensor, Tensor]:
    """Each pixel's material number (H, W) and the table of materials (fields, M); the sky's is the last."""
    listed = [s.material for s in layout.solids] + [layout.floor, layout.ceiling]
    level = surface.normal[1].abs() > 0.9
    number = index
    if layout.ground is None:
        shell = level & (index == 0)
        number = torch.where(shell, torch.where(surface.normal[1] < 0, len(listed) - 2, len(listed) - 1), number)
    else:
        side = surface.uv[0] > 0
        band = torch.zeros_like(number)
        for limit, left, right in layout.ground.bands:
            listed += [left, right]
            band += 2 * (surface.uv[0].abs() > limit)
        number = torch.where(index == len(layout.solids), len(layout.solids) + 2 + band + side, number)
    number = torch.where(index < 0, len(listed), number)
    rows = [(*m.base, *m.line, *m.cell, *m.gap, m.stagger, m.jitter, m.noise, *m.grain, m.glow) for m in listed]
    rows.append((*layout.sky.base, *layout.sky.line, 1, 1, 0, 0, 0, 0, layout.sky.noise, *layout.sky.grain, 0))
    return number, torch.from_numpy(np.array(rows, dtype=np.float32).T.copy()).to(index.device)


def colours(layout: Layout, surface: Surface, index: Tensor) -> tuple[Tensor, Tensor]:
    """Albedo (3, H, W), or for the sky its colour, and the light that surfaces give off themselves (H, W)."""
    number, table = materials(layout, surface, index)
    pixel = table.index_select(1, number.flatten()).reshape(-1, *index.shape)
    base, line = pixel[:3], pixel[3:6]
    cell_u, cell_v, gap_u, gap_v, stagger, jitter, amplitude, grain_u, grain_v, glow = pixel[6:]
    u, v = surface.uv
    du, dv = surface.footprint
    sky = index < 0
    column, row = u / cell_u, v / cell_v
    column = column + stagger * row.floor()
    wide, tall = (du / cell_u).clamp(min=1e-3), (dv / cell_v).clamp(min=1e-3)
    cover = 1 - (1 - line_cover(column, gap_u, wide)) * (1 - line_cover(row, gap_v, tall))
    cell = lattice(u.device)[:, 0].take(cell_of(column.floor() + 7 * number, row.floor()))
    shade = 1 + 0.5 * jitter * cell * (1 - torch.maximum(wide, tall)).clamp(min=0)
    noise = value_noise(u * grain_u + 3.1 * number, v * grain_v, torch.maximum(du * grain_u, dv * grain_v))
    cover = torch.where(sky, (0.2 + amplitude * noise).clamp(0, 1), cover)
    albedo = torch.lerp(base * shade, line, cover)
    albedo *= torch.where(sky, 1.0, (1 + 0.6 * amplitude * noise).clamp(0.2, 2))
    if layout.ground is not None:
        on_land = (index == len(layout.solids)) * (0.8 + 0.2 * noise)
        albedo = marked(layout.ground, surface, albedo, on_land)
    return albedo, glow


def marked(ground: Ground, surface: Surface, albedo: Tensor, opacity: Tensor) -> Tensor:
    """Albedo (3, H, W) with the road's lines painted over it, as strongly as `opacity` (H, W) says."""
    (u, v), (du, dv) = surface.uv, surface.footprint
    for offset, width, period, share in ground.marks:
        # Half a kilometre between lines: each is drawn once.
        across = line_cover((u - offset + width / 2) / 500, u.new_tensor(width / 500), (du / 500).clamp(min=1e-6))
        ahead = line_cover(v / period, v.new_tensor(share), (dv / period).clamp(min=1e-3)) if share < 1 else 1.0
        albedo = torch.lerp(albedo, u.new_tensor(ground.paint)[:, None, None], across * ahead * opacity)
    return albedo


def lighting(layout: Layout, surface: Surface, glow: Tensor) -> Tensor:
    """Light (3, H, W) on each pixel's surface: its own glow (H, W), its surroundings' and that of lamps or sun."""
    solids, outside = layout.solids[layout.casters :], layout.ground is not None
    stout = [s for s in solids if max(s.half[0], s.half[2]) > 0.05]  # the rest is too thin to darken its foot
    point, normal = surface.point, surface.normal
    start = point + 0.02 * normal
    around = (0.75 - 0.25 * normal[1]) * openness(layout.camera, point, stout)
    light = around * point.new_tensor(layout.ambient)[:, None, None] + glow
    for number, (place, colour) in enumerate(layout.lights):
        source = point.new_tensor(place)[:, None, None]
        if outside:
            strength = (normal * source).sum(0).clamp(min=0)
        else:
            towards = source - start
            square = towards.square().sum(0)
            strength = (normal * towards).sum(0).clamp(min=0) / (square.sqrt() * (0.6 + 0.35 * square))
        blockers = solids if number == 0 else stout
        strength = strength * light_reaching(layout.camera, start, blockers, place, distant=outside)
        light += strength * point.new_tensor(colour)[:, None, None]
    return light


def shade(layout: Layout, rays: Tensor, depth: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """The light (3, H, W) that reaches the camera, linear, and the cosine (H, W) between ray and surface."""
    sky = index < 0
    near = torch.where(sky, 1.0, depth)
    surface = surface_at(layout, rays, near, index)
    distance = rays.square().sum(0).sqrt()
    grazing = torch.where(sky, 0.0, -(surface.normal * rays).sum(0) / distance).clamp(0, 1)
    albedo, glow = colours(layout, surface, index)
    light = lighting(layout, surface, glow)
    density, fog = layout.fog
    seen = torch.exp(-density * near * distance)
    # The sky's own haze thickens towards the horizon.
    seen = torch.where(sky, 1 - torch.exp((-6 / (0.2 + 30 * density)) * (-rays[1]).clamp(min=0)), seen)
    picture = torch.where(sky, albedo, albedo * light)
    return torch.lerp(rays.new_tensor(fog)[:, None, None].expand_as(picture), picture, seen), grazing


def photograph(light: Tensor, draw: Draw) -> Tensor:
    """Linear light (3, H, W) as a camera's picture: exposure, white balance, noise and tone curve."""
    sample = light[:, ::8, ::8].clamp(max=1.5)
    gain = draw(0.16, 0.36) / sample.mean().clamp(min=0.02)
    balance = torch.tensor([draw(0.88, 1.14), 1.0, draw(0.85, 1.17)], device=light.device)
    generator = torch.Generator().manual_seed(int(draw.rng.integers(2**62)))
    noise = torch.randn(light.shape, generator=generator).to(light.device)
    exposed = light * (gain * balance)[:, None, None]
    exposed = exposed / (0.75 + 0.33 * exposed)  # highlights roll off
    grainy = exposed + noise * (draw(0.0, 0.02) * (exposed.clamp(min=0) + 0.02).sqrt())
    return grainy.clamp(1e-4, 1) ** draw(0.42, 0.62)
