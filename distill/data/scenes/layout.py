"""What a seed decides about a scene before any pixel is drawn: camera, solids, ground and light."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from distill.data.scenes.geometry import Camera, Material, Solid, Vec, intersect_plane

MAX_DEPTH = {"road": 80.0, "room": 10.0}  # metres
Number = TypeVar("Number", float, Tensor)


@dataclass(frozen=True)
class Ground:
    """The land of a street: flat for `crest` metres ahead, then rising by `slope`, in bands that follow a curve.

    The road's axis is at x = start + heading * z + bend * z^2 / 2. `bands` are (outer limit in metres from the axis,
    left material, right material), from the axis outwards. `marks` are (offset from the axis, width, period, share of
    the period that is painted) in metres.
    """

    crest: float
    slope: float
    start: float
    heading: float
    bend: float
    bands: list[tuple[float, Material, Material]]
    marks: list[tuple[float, float, float, float]]
    paint: Vec

    def axis(self, z: Number) -> Number:
        """The x of the road's middle at a distance."""
        return self.start + (self.heading + self.bend / 2 * z) * z

    def height(self, z: float) -> float:
        """The ground's y at a distance: negative uphill, as y points down."""
        return -self.slope * max(z - self.crest, 0.0)


@dataclass
class Layout:
    """All that a seed decides before any pixel is drawn."""

    camera: Camera
    max_depth: float
    solids: list[Solid] = field(default_factory=list)
    ground: Ground | None = None
    sky: Material = field(default_factory=Material)
    lights: list[tuple[Vec, Vec]] = field(default_factory=list)  # direction (street) or position (room), and colour
    ambient: Vec = (0.3, 0.3, 0.3)
    fog: tuple[float, Vec] = (0.0, (0.5, 0.5, 0.5))  # density per metre, colour
    floor: Material = field(default_factory=Material)
    ceiling: Material = field(default_factory=Material)
    casters: int = 0  # solids from here on throw shadows


def add_ground(layout: Layout, rays: Tensor, depth: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """The nearer of what was hit and the ground, numbered len(solids)."""
    ground = layout.ground
    if ground is None:
        return depth, index
    origin = torch.tensor(layout.camera.position, device=rays.device)
    flat = intersect_plane(origin, rays, (0.0, -1.0, 0.0), 0.0)
    hill = intersect_plane(origin, rays, (0.0, -1.0, -ground.slope), -ground.slope * ground.crest)
    # Uphill both planes are solid, downhill only what lies below both. Asking either for its own side of the crest
    # would leave cracks.
    before = rays[2] * flat + origin[2] <= ground.crest
    land = torch.minimum(flat, hill) if ground.slope >= 0 else torch.where(before, flat, hill)
    return torch.minimum(depth, land), torch.where(land < depth, len(layout.solids), index)
