"""From surfaces to a picture: textures, light and shadow, haze, and the camera's tone curve."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from distill.data.scenes.geometry import light_reaching, openness
from distill.data.scenes.layout import Ground, Layout
from distill.data.scenes.materials import Draw
from distill.data.scenes.surfaces import Surface, surface_at


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
