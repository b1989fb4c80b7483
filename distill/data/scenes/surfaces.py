"""What every pixel of a scene shows: the truth of a student that tells surfaces apart."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.data.scenes.layout import Layout

SURFACES = {
    "road": ("sky", "road", "roadside", "building", "wall", "tree", "vehicle", "object"),
    "room": ("wall", "floor", "ceiling", "furniture", "opening", "object"),
}
LEVEL = 0.01  # metres; a room's walls end so near its floor and its ceiling


def surfaces_at(kind: str, layout: Layout, rays: Tensor, depth: Tensor, index: Tensor) -> Tensor:
    """The number from 1 of each pixel's surface among those of its kind of scene, float32 (H, W).

    `index` is a solid's number, len(solids) for the ground, -1 for the sky. A street's ground is the road as far as its
    asphalt; the inside of a room is wall, floor or ceiling.
    """
    numbers = {name: number for number, name in enumerate(SURFACES[kind], start=1)}
    solids = [numbers.get(solid.surface, 0) for solid in layout.solids]
    table = torch.tensor([*solids, 0, 0], dtype=torch.float32, device=index.device)
    surface = table[index]  # of the ground it is 0, and of the sky, which is the last
    x, y, z = (d * depth + o for d, o in zip(rays, layout.camera.position, strict=True))
    if layout.ground is None:
        shell, inside = layout.solids[0], index == 0
        floor, ceiling = shell.centre[1] + shell.half[1], shell.centre[1] - shell.half[1]
        surface = torch.where(inside, float(numbers["wall"]), surface)
        surface = torch.where(inside & (y > floor - LEVEL), float(numbers["floor"]), surface)
        return torch.where(inside & (y < ceiling + LEVEL), float(numbers["ceiling"]), surface)
    asphalt = (x - layout.ground.axis(z)).abs() <= layout.ground.bands[0][0]
    land = torch.where(asphalt, float(numbers["road"]), float(numbers["roadside"]))
    surface = torch.where(index == len(solids), land, surface)
    return torch.where(index < 0, float(numbers["sky"]), surface)
