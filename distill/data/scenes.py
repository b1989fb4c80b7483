"""Procedural streets and rooms with exact depth: training and test data that nobody has to download."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from distill.data.sample import Sample
from distill.data.scene_geometry import (
    SHAPES,
    Camera,
    Material,
    Solid,
    Vec,
    intersect_plane,
    light_reaching,
    openness,
    rotation,
    trace,
)

MAX_DEPTH = {"road": 80.0, "room": 10.0}  # metres
ROAD_FOCAL = 721.5 / 1242  # KITTI's focal length in image widths
ROOM_FOCAL = 518.86 / 640  # NYU's
Number = TypeVar("Number", float, Tensor)


@dataclass(frozen=True)
class Scene:
    """A rendered view.

    `image` is RGB (3, H, W) in [0, 1], float32. `depth` is the exact z-depth (H, W) in metres, 0 for the sky and
    beyond the scene's `max_depth`. `intrinsics` is the float64 camera matrix (3, 3) in pixels, pixel centres at whole
    numbers. `grazing` (H, W) is the cosine between the ray and the surface's normal: 0 along the surface and for the
    sky, 1 face on.
    """

    image: Tensor
    depth: Tensor
    intrinsics: Tensor
    grazing: Tensor


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


# ---------------------------------------------------------------------------------------------------------- streets


class Draw:
    """Random numbers in the forms that layouts need."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def __call__(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))

    def colour(self, low: float, high: float, saturation: float = 0.5) -> Vec:
        """Any hue, of a brightness between the limits."""
        hue = self.rng.uniform(0, 1, 3)
        level = self.rng.uniform(low, high)
        rgb = level * (1 + self.rng.uniform(0, saturation) * 2 * (hue - hue.mean()))
        red, green, blue = np.clip(rgb, 0.01, 0.95).tolist()
        return red, green, blue


def scaled(colour: Vec, gain: float) -> Vec:
    return colour[0] * gain, colour[1] * gain, colour[2] * gain


def tint(colour: Vec, gain: float) -> Vec:
    """A lighter or darker paint of the same hue; no paint returns more than 95 % of the light."""
    return scaled(colour, min(gain, 0.95 / max(colour)))


def plain(draw: Draw, low: float = 0.05, high: float = 0.8, saturation: float = 0.5) -> Material:
    scale = 2 ** draw(-1, 3)
    colour = draw.colour(low, high, saturation)
    return Material(colour, colour, noise=draw(0.1, 0.6), grain=(scale, scale))


def bricks(draw: Draw) -> Material:
    base, scale = draw.colour(0.1, 0.6), draw(0.7, 2.5)
    return Material(
        base,
        tint(base, draw(0.5, 1.8)),
        cell=(0.4 * scale, 0.2 * scale),
        gap=(0.06, 0.12),
        stagger=0.5,
        jitter=draw(0.2, 0.8),
        noise=draw(0.1, 0.5),
        grain=(2.0, 2.0),
    )


def windows(draw: Draw, width: float, height: float) -> Material:
    """A facade `width` by `height` metres with whole windows on it."""
    columns, rows = max(round(width / draw(1.8, 4)), 1), max(round(height / draw(2.6, 3.6)), 1)
    return Material(
        draw.colour(0.03, 0.25, 0.3),
        draw.colour(0.15, 0.8, 0.5),
        cell=(width / columns, height / rows),
        gap=(draw(0.4, 0.7), draw(0.4, 0.65)),
        jitter=draw(0.3, 1.2),
        noise=draw(0.1, 0.45),
        grain=(1.5, 1.0),
    )


def wood(draw: Draw) -> Material:
    level = draw(0.08, 0.5)
    base = (level, level * draw(0.55, 0.85), level * draw(0.25, 0.6))
    return Material(
        base, tint(base, 0.4), (draw(0.08, 0.25), draw(1, 2.5)), (0.05, 0.01), 0.37, draw(0.1, 0.5), 0.5, (25.0, 1.5)
    )


def tiles(draw: Draw) -> Material:
    base, side = draw.colour(0.15, 0.8, 0.3), draw(0.15, 0.6)
    return Material(base, tint(base, draw(0.4, 1.5)), (side, side), (0.05, 0.05), 0, draw(0, 0.5), draw(0.05, 0.4))


def wallpaper(draw: Draw) -> Material:
    base, stripe = draw.colour(0.25, 0.8, 0.4), draw(0.1, 0.5)
    if draw.chance(0.4):
        return Material(base, base, noise=draw(0.05, 0.4), grain=(1.5, 1.5))
    gap = (draw(0.2, 0.5), 0.0 if draw.chance(0.6) else draw(0.2, 0.5))
    return Material(base, tint(base, draw(0.7, 1.3)), (stripe, draw(0.2, 0.6)), gap, draw(0, 0.5), 0.1, 0.15)


def street(draw: Draw, size: tuple[int, int]) -> Layout:
    """A street: a curved road between houses, walls and trees, with cars, people and poles, under an open sky."""
    half_road = draw(3, 6.5)
    position = draw(-half_road + 1.5, half_road - 1.2)
    ground = Ground(
        crest=draw(8, 45),
        slope=draw(-0.06, 0.1) if draw.chance(0.3) else 0.0,
        start=-position,
        heading=draw(-0.07, 0.07),
        bend=draw(-1, 1) / (90 if draw.chance(0.4) else 500),
        bands=street_bands(draw, half_road),
        marks=street_marks(draw, half_road),
        paint=(draw(0.5, 0.9),) * 3,
    )
    focal = ROAD_FOCAL * size[1] * draw(0.9, 1.1)
    camera = Camera(
        position=(0.0, -draw(1.5, 1.8), 0.0),
        rotation=rotation(draw(-0.06, 0.06), draw(-0.04, 0.03), draw(-0.02, 0.02)),
        focal_px=focal,
        centre_px=(size[1] * draw(0.47, 0.53) - 0.5, size[0] * draw(0.42, 0.54) - 0.5),
        size=size,
    )
    scenery = houses(draw, ground, half_road)
    traffic = cars(draw, ground, half_road) + roadside(draw, ground, half_road)
    azimuth, height = draw(-np.pi, np.pi), draw(0.25, 1.2)
    sun = (float(np.sin(azimuth) * np.cos(height)), -float(np.sin(height)), float(np.cos(azimuth) * np.cos(height)))
    clear = draw(0, 1)  # 0 is overcast
    haze = draw(0.55, 0.95)
    sky_colour = (haze * (1 - 0.55 * clear), haze * (1 - 0.3 * clear), haze)
    return Layout(
        camera,
        max_depth=MAX_DEPTH["road"],
        solids=scenery + traffic,
        ground=ground,
        sky=Material(sky_colour, (haze, haze, haze), noise=draw(0.2, 1.6), grain=(draw(0.6, 2), draw(0.6, 2))),
        lights=[(sun, scaled((1.0, draw(0.8, 1), draw(0.6, 0.95)), 2.2 * clear**1.5))],
        ambient=(0.75 - 0.5 * clear, 0.75 - 0.46 * clear, 0.78 - 0.4 * clear),
        fog=(float(np.exp(draw(np.log(0.0006), np.log(0.02)))), (haze * draw(0.85, 1), haze * 0.95, haze)),
    )


def street_bands(draw: Draw, half_road: float) -> list[tuple[float, Material, Material]]:
    """Asphalt, then on either side a kerb, a pavement or verge, and whatever lies behind."""

    def land() -> Material:
        if draw.chance(0.5):
            level = draw(0.06, 0.25)
            grass = (level * draw(0.5, 1.1), level, level * draw(0.2, 0.5))
            return Material(grass, grass, noise=draw(0.5, 1.2), grain=(3.0, 3.0))
        slab, base = draw(0.4, 1.2), draw.colour(0.15, 0.5, 0.2)
        return Material(base, tint(base, 0.6), (slab, slab), (0.05, 0.05), draw(0, 0.5), draw(0.1, 0.4), 0.4)

    grey = draw.colour(0.06, 0.3, 0.1)
    asphalt = Material(grey, grey, noise=draw(0.3, 0.7), grain=(draw(1, 4), draw(0.2, 1.5)))
    stone = draw.colour(0.25, 0.6, 0.1)
    kerb = Material(stone, stone, (9.0, 1.0), (0.0, 0.05), jitter=0.3)
    pavement = half_road + draw(1, 3.5)
    return [
        (half_road, asphalt, asphalt),
        (half_road + 0.25, kerb, kerb),
        (pavement, land(), land()),
        (np.inf, land(), land()),
    ]


def street_marks(draw: Draw, half_road: float) -> list[tuple[float, float, float, float]]:
    marks = []
    if draw.chance(0.75):
        marks.append((0.0, draw(0.1, 0.2), draw(4, 12), draw(0.3, 1)))
    if draw.chance(0.6):
        marks += [(side * (half_road - draw(0.2, 0.5)), 0.13, 10.0, 1.0) for side in (-1, 1)]
    if half_road > 5 and draw.chance(0.5):
        marks += [(side * half_road / 2, 0.12, 6.0, 0.5) for side in (-1, 1)]
    return marks


def houses(draw: Draw, ground: Ground, half_road: float) -> list[Solid]:
    """Houses, walls, hedges and woods along both sides, from beside the camera to past the limit of depth."""
    solids = []
    for side in (-1, 1):
        density, setback = draw(0.15, 1), half_road + draw(1.5, 14)
        storeys = draw(3, 12)
        z = draw(-8, 6)
        while z < 85:
            length, depth, height = draw(6, 18), draw(6, 12), storeys * draw(0.7, 1.3)
            z += length / 2
            x, yaw = ground.axis(z), float(np.arctan(ground.heading + ground.bend * z))
            floor = ground.height(z)
            if draw.chance(density):
                across = side * (setback + draw(0, 2) + depth / 2)
                centre = (x + across, floor - height / 2 + 1, z)
                facade = windows(draw, length, height) if draw.chance(0.75) else bricks(draw)
                solids.append(Solid("box", centre, (depth / 2, height / 2 + 1, length / 2), yaw, facade))
                if draw.chance(0.6):
                    rise = draw(0.8, 2)
                    top = (centre[0], floor - height - rise, z)
                    solids.append(Solid("roof", top, (depth / 2 + 0.3, rise, length / 2 + 0.2), yaw, bricks(draw)))
            elif draw.chance(0.4):
                wall, low = plain(draw, 0.03, 0.5) if draw.chance(0.5) else bricks(draw), draw(0.4, 1.4)
                centre = (x + side * (setback - draw(0, 1)), floor - low + 0.5, z)
                solids.append(Solid("box", centre, (draw(0.1, 0.4), low + 0.5, length / 2), yaw, wall))
            elif draw.chance(0.6):
                for _ in range(draw.whole(1, 2)):
                    solids += tree(draw, x + side * (setback + draw(-1, 6)), floor, z + draw(-4, 4))
            z += length / 2 + draw(0, 4)
    return solids


def tree(draw: Draw, x: float, floor: float, z: float) -> list[Solid]:
    trunk, wide = draw(1, 3.5), draw(1, 3)
    level = draw(0.03, 0.2)
    leaf = (level * draw(0.5, 1.6), level, level * draw(0.2, 0.7))
    crown = Material(leaf, leaf, noise=1.5, grain=(2.0, 2.0))
    tall = wide * draw(0.8, 1.6)
    return [
        Solid(
            "cylinder",
            (x, floor - trunk / 2, z),
            (0.05 * wide + 0.05, trunk / 2 + 0.5, 0.05 * wide + 0.05),
            0,
            plain(draw, 0.03, 0.2, 0.2),
        ),
        Solid("ellipsoid", (x, floor - trunk - tall * 0.8, z), (wide, tall, wide * draw(0.7, 1.2)), 0, crown),
    ]


def cars(draw: Draw, ground: Ground, half_road: float) -> list[Solid]:
    """Cars and vans in both lanes, parked at the kerb, and now and then across."""
    solids: list[Solid] = []
    taken: list[tuple[float, float]] = []
    for _ in range(draw.whole(2, 9)):
        parked = draw.chance(0.6)
        across = (1 if draw.chance(0.5) else -1) * (half_road - 1.1 if parked else half_road * draw(0.25, 0.55))
        z = draw(5, 30) if draw.chance(0.6) else draw(20, 75)
        if any(abs(z - other_z) < 7 and abs(across - other_x) < 2.2 for other_x, other_z in taken):
            continue
        taken.append((across, z))
        yaw = float(np.arctan(ground.heading + ground.bend * z)) + draw(-0.06, 0.06)
        if draw.chance(0.12):
            yaw = draw(-np.pi, np.pi)
        solids += car(draw, ground.axis(z) + across, ground.height(z), z, yaw)
    return solids


def car(draw: Draw, x: float, floor: float, z: float, yaw: float) -> list[Solid]:
    long, wide, dark = draw(1.8, 2.4), draw(0.8, 0.95), draw.colour(0.01, 0.05)
    paint = draw.colour(0.03, 0.8, 0.9)
    glass = Material(draw.colour(0.02, 0.15), paint, (long / 2, 2.0), (0.12, 0.0), jitter=0.6, noise=0.2)
    body = Material(paint, tint(paint, 0.5), (long, 0.45), (0.02, 0.12), noise=0.15, grain=(0.7, 2.0))
    tyres = Material(dark, tint(paint, 0.25), (long * 0.9, 4.0), (0.55, 0.0), noise=0.2)

    def part(shape: str, low: float, high: float, half_x: float, half_z: float, surface: Material, ahead: float = 0):
        centre = (x + ahead * float(np.sin(yaw)), floor - (low + high) / 2, z + ahead * float(np.cos(yaw)))
        return Solid(shape, centre, (half_x, (high - low) / 2, half_z), yaw, surface)

    if draw.chance(0.2):
        top, load = draw(2.2, 3.4), draw(1, 1.8)
        return [
            part("box", -0.2, 0.5, wide, long * load * 0.95, tyres),
            part("box", 0.4, top, wide + 0.1, long * load, body._replace(cell=(9.0, 1.2))),
        ]
    waist, top, cabin, behind = draw(0.85, 1.05), draw(1.35, 1.7), long * draw(0.5, 0.68), draw(-0.6, 0.0)
    return [
        part("box", -0.2, 0.4, wide * 0.95, long * 0.9, tyres),
        part("box", 0.28, waist, wide, long, body),
        part("box", waist - 0.05, top, wide * 0.86, cabin, glass, behind),
        part("box", top - 0.02, top + 0.05, wide * 0.82, cabin * 0.92, body, behind),
    ]


def roadside(draw: Draw, ground: Ground, half_road: float) -> list[Solid]:
    """Poles, people and boxes on the pavement."""
    solids = []
    spacing, side = draw(8, 30), 1 if draw.chance(0.5) else -1
    thick, tall, metal = draw(0.06, 0.18), draw(3, 8), plain(draw, 0.05, 0.6, 0.2)
    for z in np.arange(draw(3, 12), 75, spacing).tolist() if draw.chance(0.7) else []:
        x, floor = ground.axis(z) + side * (half_road + 0.5), ground.height(z)
        solids.append(Solid("cylinder", (x, floor - tall / 2, z), (thick, tall / 2, thick), 0, metal))
        if draw.chance(0.3):
            solids.append(Solid("box", (x, floor - 2.5, z - thick), (0.4, 0.4, 0.02), 0, plain(draw, 0.1, 0.9, 0.9)))
    for _ in range(draw.whole(1, 6)):
        z, side = draw(4, 35), 1 if draw.chance(0.5) else -1
        x, floor = ground.axis(z) + side * (half_road + draw(0.3, 3)), ground.height(z)
        if draw.chance(0.6):
            tall, cloth = draw(0.65, 0.78), plain(draw, 0.02, 0.7, 0.9)
            solids.append(Solid("cylinder", (x, floor - tall, z), (0.22, tall, 0.16), draw(0, 3), cloth))
            skin = plain(draw, 0.1, 0.5, 0.2)
            solids.append(Solid("ellipsoid", (x, floor - 2 * tall - 0.12, z), (0.1, 0.14, 0.11), 0, skin))
        else:
            half = (draw(0.2, 0.6), draw(0.3, 0.7), draw(0.2, 0.6))
            solids.append(Solid("box", (x, floor - half[1], z), half, draw(-1, 1), plain(draw)))
    return solids


# ------------------------------------------------------------------------------------------------------------ rooms


def interior(draw: Draw, size: tuple[int, int]) -> Layout:
    """A furnished room, seen by a hand-held camera from near one of its walls."""
    wide, long, high = draw(2.8, 7.5), draw(3.5, 9.5), draw(2.3, 3.2)
    shell = Solid("inside", (0.0, -high / 2, long / 2), (wide / 2, high / 2, long / 2), 0.0, wallpaper(draw))
    spot = (draw(-0.35, 0.35) * wide, -draw(0.8, 1.8), draw(0.3, 0.12 * long))
    aim = float(np.arctan2(draw(-0.45, 0.45) * wide - spot[0], long - spot[2]))
    camera = Camera(
        position=spot,
        rotation=rotation(aim, draw(-0.35, 0.35 if draw.chance(0.3) else 0.1), draw(-0.087, 0.087)),
        focal_px=ROOM_FOCAL * size[1] * draw(0.9, 1.1),
        centre_px=(size[1] * draw(0.48, 0.52) - 0.5, size[0] * draw(0.47, 0.53) - 0.5),
        size=size,
    )
    pieces = against_walls(draw, wide, long, high) + in_the_middle(draw, wide, long)
    furniture = [s for piece in pieces if not any(in_the_way(part, spot) for part in piece) for s in piece]
    lamps: list[tuple[Vec, Vec]] = []
    for _ in range(draw.whole(1, 2)):
        place = (draw(-0.35, 0.35) * wide, -high + draw(0.1, 0.6), draw(0.15, 0.85) * long)
        strength = draw(0.5, 1) * (wide * long) ** 0.5 * 0.35
        lamps.append((place, scaled((1.0, draw(0.75, 1), draw(0.5, 1)), strength)))
    glowing = Solid("ellipsoid", lamps[0][0], (0.2, 0.12, 0.2), 0.0, plain(draw, 0.5, 0.9, 0.2)._replace(glow=1.0))
    fixed = [shell] if draw.chance(0.4) or in_the_way(glowing, spot) else [shell, glowing]
    level = draw(0.12, 0.4)
    return Layout(
        camera,
        max_depth=MAX_DEPTH["room"],
        solids=[*fixed, *furniture],
        lights=lamps,
        ambient=(level, level * draw(0.9, 1.05), level * draw(0.8, 1.1)),
        floor=(wood, tiles, plain)[draw.whole(0, 2)](draw),
        ceiling=plain(draw, 0.4, 0.9, 0.2)._replace(noise=0.1),
        casters=len(fixed),
    )


def in_the_way(solid: Solid, spot: Vec) -> bool:
    """Whether a solid is so close to the camera that it would fill the view."""
    x, y, z = (a - b for a, b in zip(spot, solid.centre, strict=True))
    c, s = np.cos(solid.yaw), np.sin(solid.yaw)
    local = (c * x - s * z, y, s * x + c * z)
    return all(abs(a) < half + 0.4 for a, half in zip(local, solid.half, strict=True))


def against_walls(draw: Draw, wide: float, long: float, high: float) -> list[list[Solid]]:
    """Cupboards, shelves, sofas, doors, windows and pictures along the left, right and far wall."""
    pieces = []
    for yaw, x, z, length in (
        (np.pi / 2, -wide / 2, long / 2, long),
        (-np.pi / 2, wide / 2, long / 2, long),
        (np.pi, 0.0, long, wide),
    ):
        along = -length / 2 + draw(0.1, 0.8)
        while along < length / 2 - 0.5:
            kind = draw.whole(0, 6)
            width = min(draw(0.6, 2.0), length / 2 - along)
            middle = along + width / 2
            along += width + draw(0, 1.2)
            # The piece's own x runs along the wall, its z into the room.
            spot = (x + middle * float(np.cos(yaw)), z - middle * float(np.sin(yaw)))
            place = Place(spot, yaw)
            if kind == 0:
                tall = draw(0.7, min(2.2, high - 0.1))
                surface = cupboard(draw, width, tall)
                pieces.append([place.box(surface, width, (0.0, tall), (0.0, draw(0.35, 0.6)))])
            elif kind == 1:
                pieces.append(shelf(draw, place, width, high))
            elif kind == 2:
                pieces.append(sofa(draw, place, max(width, 0.9)))
            elif kind == 3:
                surface = plain(draw, 0.1, 0.8) if draw.chance(0.5) else wood(draw)
                pieces.append([place.box(surface, 0.9, (0.0, 2.05), (0.0, 0.06))])
            elif kind == 4:
                pane = draw.colour(0.5, 0.95, 0.3)
                frame = Material(pane, draw.colour(0.2, 0.9, 0.1), (width / 2, 0.6), (0.1, 0.08), glow=draw(0, 1.2))
                pieces.append([place.box(frame, width, (0.9, draw(1.6, high - 0.15)), (0.0, 0.04))])
            elif kind == 5:
                low = draw(1.0, 1.5)
                picture = Material(draw.colour(0.1, 0.8, 1), draw.colour(0.1, 0.8, 1), (0.3, 0.2), (0.4, 0.4), noise=1)
                pieces.append([place.box(picture, width * 0.6, (low, low + draw(0.3, 0.8)), (0.0, 0.03))])
    return pieces


@dataclass(frozen=True)
class Place:
    """Where a piece of furniture stands: its own x and z start at `spot` (world x, z), turned by `yaw`."""

    spot: tuple[float, float]
    yaw: float

    def solid(self, shape: str, surface: Material, x: float, y: float, z: float, half: Vec) -> Solid:
        c, s = float(np.cos(self.yaw)), float(np.sin(self.yaw))
        return Solid(shape, (self.spot[0] + c * x + s * z, -y, self.spot[1] - s * x + c * z), half, self.yaw, surface)

    def box(
        self, surface: Material, width: float, above: tuple[float, float], ahead: tuple[float, float], x: float = 0
    ) -> Solid:
        """A box `width` wide, between two heights and between two distances from the spot, moved sideways by `x`."""
        (low, high), (back, front) = above, ahead
        half = (width / 2, (high - low) / 2, (front - back) / 2)
        return self.solid("box", surface, x, (low + high) / 2, (back + front) / 2, half)


def cupboard(draw: Draw, width: float, tall: float) -> Material:
    cells = (width / draw.whole(1, 3), tall / draw.whole(1, 4))
    if draw.chance(0.5):
        return wood(draw)._replace(cell=cells, gap=(0.02, 0.02), stagger=0.0)
    base = draw.colour(0.1, 0.85, 0.4)
    return Material(base, tint(base, 0.35), cells, (0.03, 0.03), jitter=0.1, noise=0.15)


def shelf(draw: Draw, place: Place, width: float, high: float) -> list[Solid]:
    surface = wood(draw) if draw.chance(0.7) else plain(draw)
    tall, deep = draw(1.0, min(2.2, high - 0.1)), draw(0.25, 0.4)
    boards = draw.whole(3, 5)
    solids = [place.box(surface, 0.03, (0, tall), (0, deep), side * width / 2) for side in (-1, 1)]
    solids.append(place.box(plain(draw), width, (0, tall), (0, 0.02)))
    for level in range(boards):
        floor = level * tall / (boards - 1)
        solids.append(place.box(surface, width, (floor, floor + 0.03), (0, deep)))
        if level < boards - 1 and draw.chance(0.8):  # a row of books
            spine = Material(draw.colour(0.1, 0.7, 1), draw.colour(0.1, 0.7, 1), (0.07, 2.0), (0.4, 0), jitter=1.2)
            stack, tip = width * draw(0.3, 0.9), min(draw(0.18, 0.3), tall / (boards - 1) - 0.05)
            solids.append(place.box(spine, stack, (floor, floor + tip), (0, deep - 0.05), (stack - width) / 2))
    return solids


def sofa(draw: Draw, place: Place, width: float) -> list[Solid]:
    cloth, seat = plain(draw, 0.05, 0.7, 0.8), draw(0.35, 0.5)
    if draw.chance(0.5):
        cloth = cloth._replace(line=draw.colour(0.1, 0.8), cell=(draw(0.05, 0.3),) * 2, gap=(0.3, draw(0, 0.4)))
    deep = draw(0.8, 1.0) if draw.chance(0.7) else 1.9  # the long ones are beds
    back = place.box(cloth, width, (0, seat + draw(0.3, 0.5)), (0, 0.2))
    arms = [place.box(cloth, 0.18, (0, seat + 0.15), (0, deep), side * (width / 2 - 0.09)) for side in (-1, 1)]
    return [place.box(cloth, width, (0.08, seat), (0, deep)), back, *(arms if deep < 1.5 else [])]


def in_the_middle(draw: Draw, wide: float, long: float) -> list[list[Solid]]:
    """Tables with chairs, boxes, balls, a rug and a standing lamp on the floor."""
    pieces = []
    if draw.chance(0.5):
        rug = tiles(draw)._replace(base=draw.colour(0.1, 0.7, 1), line=draw.colour(0.1, 0.7, 1), gap=(0.3, 0.3))
        place = Place((draw(-0.2, 0.2) * wide, draw(0.4, 0.6) * long), draw(-0.2, 0.2))
        pieces.append([place.box(rug, draw(1.2, 2.4), (-0.01, 0.012), (-draw(0.8, 1.4), 0.9))])
    for _ in range(draw.whole(1, 2)):
        place = Place((draw(-0.35, 0.35) * wide, draw(0.3, 0.8) * long), draw(-np.pi, np.pi))
        pieces.append(table(draw, place))
        for _ in range(draw.whole(0, 3)):
            angle = draw(-np.pi, np.pi)
            spot = (place.spot[0] + 0.9 * float(np.sin(angle)), place.spot[1] + 0.9 * float(np.cos(angle)))
            if abs(spot[0]) < wide / 2 - 0.4 and spot[1] < long - 0.4:
                pieces.append(chair(draw, Place(spot, angle + draw(-0.3, 0.3))))
    for _ in range(draw.whole(0, 4)):
        place = Place((draw(-0.42, 0.42) * wide, draw(0.25, 0.92) * long), draw(-np.pi, np.pi))
        if draw.chance(0.4):
            radius = draw(0.08, 0.3)
            ball = tiles(draw)._replace(base=draw.colour(0.1, 0.8, 1))
            pieces.append([place.solid("ellipsoid", ball, 0, radius, 0, (radius,) * 3)])
        elif draw.chance(0.5):
            pieces.append([place.box(plain(draw, 0.1, 0.6), draw(0.2, 0.7), (0, draw(0.2, 0.6)), (0, draw(0.2, 0.6)))])
        else:
            stem, tall = plain(draw, 0.02, 0.5), draw(1.2, 1.7)
            shade = plain(draw, 0.4, 0.9)._replace(glow=draw(0, 0.8))
            foot = place.solid("cylinder", stem, 0, tall / 2, 0, (0.02, tall / 2, 0.02))
            pieces.append([foot, place.solid("cylinder", shade, 0, tall, 0, (0.2, 0.14, 0.2))])
    return pieces


def table(draw: Draw, place: Place) -> list[Solid]:
    width, deep, tall = draw(0.7, 1.8), draw(0.6, 1.0), draw(0.42, 0.8)
    surface = wood(draw) if draw.chance(0.7) else plain(draw)
    solids = [place.box(surface, width, (tall - 0.04, tall), (-deep / 2, deep / 2))]
    for x in (-1, 1):
        for z in (-1, 1):
            foot = z * (deep / 2 - 0.06)
            solids.append(
                place.box(surface, 0.05, (0, tall - 0.04), (foot - 0.025, foot + 0.025), x * (width / 2 - 0.06))
            )
    for _ in range(draw.whole(0, 3)):
        half = (draw(0.04, 0.18), draw(0.02, 0.16), draw(0.04, 0.15))
        shape = ("box", "cylinder", "ellipsoid")[draw.whole(0, 2)]
        aside, ahead = draw(-0.35, 0.35) * width, draw(-0.3, 0.3) * deep
        solids.append(place.solid(shape, plain(draw, 0.05, 0.9, 0.9), aside, tall + half[1], ahead, half))
    return solids


def chair(draw: Draw, place: Place) -> list[Solid]:
    surface = wood(draw) if draw.chance(0.6) else plain(draw, 0.03, 0.7, 0.8)
    seat, wide = draw(0.42, 0.5), draw(0.36, 0.46)
    legs = [
        place.box(surface, 0.035, (0, seat), (z * wide / 2 - 0.02, z * wide / 2 + 0.015), x * (wide / 2 - 0.02))
        for x in (-1, 1)
        for z in (-1, 1)
    ]
    board = place.box(surface, wide, (seat, seat + draw(0.35, 0.5)), (wide / 2 - 0.03, wide / 2))
    return [place.box(surface, wide, (seat - 0.03, seat + 0.02), (-wide / 2, wide / 2)), board, *legs]


# ---------------------------------------------------------------------------------------------------------- picture


@lru_cache(maxsize=8)
def lattice(device: torch.device) -> Tensor:
    """Random values at the corners of 256 x 256 noise cells, (65536, 4): a cell, its right, lower and diagonal one."""
    values = np.random.default_rng(0).uniform(-1, 1, (256, 256)).astype(np.float32)
    corner = [np.roll(values, (-down, -right), (0, 1)) for down in (0, 1) for right in (0, 1)]
    return torch.from_numpy(np.stack(corner, -1).reshape(-1, 4)).to(device)


def cell_of(x: Tensor, y: Tensor) -> Tensor:
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


def surface_at(layout: Layout, rays: Tensor, depth: Tensor, index: Tensor) -> Surface:
    """The surface under every pixel; `index` is a solid's number, len(solids) for the ground, -1 for the sky."""
    frames = [(*s.centre, *s.half, np.cos(s.yaw), np.sin(s.yaw), SHAPE_CODES[s.shape]) for s in layout.solids]
    table = torch.from_numpy(np.array([*frames, GROUND_ROW], dtype=np.float32).T.copy()).to(rays.device)
    sky = index < 0
    pixel = table.index_select(1, torch.where(sky, len(frames), index).flatten()).reshape(9, *index.shape)
    (cx, cy, cz), half, (c, s, shape) = pixel[:3], pixel[3:6], pixel[6:]
    point = torch.stack([d * depth + o for d, o in zip(rays, layout.camera.position, strict=True)])
    x, y, z = point[0] - cx, point[1] - cy, point[2] - cz
    x, z = c * x - s * z, s * x + c * z
    (nx, ny, nz), on_x, on_y, round_ = outward(torch.stack([x, y, z]) / half, half, shape)
    normal = torch.stack([c * nx + s * nz, ny, c * nz - s * nx])
    if layout.ground is not None:
        hill = (index == len(frames)) & (point[2] > layout.ground.crest)
        normal[2] = torch.where(hill, -layout.ground.slope, normal[2])
    facing = (normal * rays).sum(0)
    normal *= torch.where(facing > 0, -1.0, 1.0) / normal.square().sum(0).sqrt()
    facing = (normal * rays).sum(0).clamp(max=-1e-4)

    def on_face(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(on_x, z, x), torch.where(on_y, z, y)

    steps = []
    for ex, ey, ez in (layout.camera.rotation[:, :2].T / layout.camera.focal_px).tolist():
        # How far the surface point moves from this pixel to its neighbour, in the solid's axes.
        along = (normal[0] * ex + normal[1] * ey + normal[2] * ez) / facing
        mx, my, mz = (depth * (e - d * along) for e, d in zip((ex, ey, ez), rays, strict=True))
        steps.append(on_face((c * mx - s * mz).abs(), my.abs(), (s * mx + c * mz).abs()))
    du, dv = steps[0][0] + steps[1][0], steps[0][1] + steps[1][1]
    u, v = on_face(torch.where(round_, torch.atan2(x, z) * half[0], x + half[0]), y + half[1], z + half[2])
    if layout.ground is not None:
        land = index == len(frames)
        u, v = torch.where(land, point[0] - layout.ground.axis(point[2]), u), torch.where(land, point[2], v)
        # Clouds hang on a plane overhead, which bends down at the horizon.
        rise = (-rays[1]).clamp(min=0) + 0.1
        u, v = torch.where(sky, rays[0] / rise, u), torch.where(sky, rays[2] / rise, v)
        haze = 1 / (layout.camera.focal_px * rise * rise)
        du, dv = torch.where(sky, haze, du), torch.where(sky, haze, dv)
    return Surface(point, normal, (u, v), (du, dv))


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
        land = index == len(layout.solids)
        for offset, width, period, share in layout.ground.marks:
            # Half a kilometre between lines: each is drawn once.
            across = line_cover((u - offset + width / 2) / 500, u.new_tensor(width / 500), (du / 500).clamp(min=1e-6))
            ahead = line_cover(v / period, v.new_tensor(share), (dv / period).clamp(min=1e-3)) if share < 1 else 1.0
            worn = across * ahead * land * (0.8 + 0.2 * noise)
            albedo = torch.lerp(albedo, u.new_tensor(layout.ground.paint)[:, None, None], worn)
    return albedo, glow


def shade(layout: Layout, rays: Tensor, depth: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """The light (3, H, W) that reaches the camera, linear, and the cosine (H, W) between ray and surface."""
    sky = index < 0
    near = torch.where(sky, 1.0, depth)
    surface = surface_at(layout, rays, near, index)
    distance = rays.square().sum(0).sqrt()
    grazing = torch.where(sky, 0.0, -(surface.normal * rays).sum(0) / distance).clamp(0, 1)
    albedo, glow = colours(layout, surface, index)

    solids = layout.solids[layout.casters :]
    stout = [s for s in solids if max(s.half[0], s.half[2]) > 0.05]  # the rest is too thin to darken its foot
    start = surface.point + 0.02 * surface.normal
    around = (0.75 - 0.25 * surface.normal[1]) * openness(layout.camera, surface.point, stout)
    light = around * rays.new_tensor(layout.ambient)[:, None, None] + glow
    for number, (place, colour) in enumerate(layout.lights):
        source = rays.new_tensor(place)[:, None, None]
        outdoors = layout.ground is not None
        if outdoors:
            strength = (surface.normal * source).sum(0).clamp(min=0)
        else:
            towards = source - start
            square = towards.square().sum(0)
            strength = (surface.normal * towards).sum(0).clamp(min=0) / (square.sqrt() * (0.6 + 0.35 * square))
        blockers = solids if number == 0 else stout
        strength = strength * light_reaching(layout.camera, start, blockers, place, distant=outdoors)
        light += strength * rays.new_tensor(colour)[:, None, None]
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


SCENE_KINDS = {"road": street, "room": interior}


def render(kind: str, seed: int, size: tuple[int, int] = (96, 320), device: torch.device | str = "cpu") -> Scene:
    """One scene, decided by its kind, seed and size (height, width) alone.

    Raises:
        ValueError: If there is no such kind of scene.
    """
    if kind not in SCENE_KINDS:
        raise ValueError(f"no scenes of kind {kind!r}; known: {', '.join(SCENE_KINDS)}")
    draw = Draw(np.random.default_rng([list(SCENE_KINDS).index(kind), seed]))
    layout = SCENE_KINDS[kind](draw, size)
    rays = layout.camera.rays(device)
    depth, index = trace(layout.camera, rays, layout.solids)
    depth, index = add_ground(layout, rays, depth, index)
    # Beyond some kilometres the ground is a line of haze; without end its texture would overflow.
    index = torch.where(depth < 5000, index, -1)
    light, grazing = shade(layout, rays, depth, index)
    depth = torch.where((index >= 0) & (depth <= layout.max_depth), depth, 0.0)
    return Scene(photograph(light, draw), depth, layout.camera.intrinsics(), grazing)


# ---------------------------------------------------------------------------------------------------------- sensors


def kitti_like_sparse(depth: Tensor, seed: int) -> Tensor:
    """What a 64-beam lidar would keep of a depth map (H, W): about one pixel in twenty, in rows, low in the image."""
    height, width = depth.shape
    rng = np.random.default_rng([2, seed])
    keep = np.zeros((height, width), dtype=bool)
    top = round(0.38 * height)
    beams = np.unique(np.linspace(top, height - 1, min(46, max((height - top) // 2, 1))).round().astype(int))
    # Where scan lines meet the sky fewer echoes come back; the others are dropped less often instead.
    echoes = max(int((depth[beams] > 0).sum()), 1)
    keep[beams] = rng.random((len(beams), width)) < min(0.05 * height * width / echoes, 0.9)
    return torch.where(torch.from_numpy(keep).to(depth.device), depth, 0.0)


def kinect_like_holes(scene: Scene, seed: int) -> Tensor:
    """What a structured-light sensor would measure of a scene (H, W): nothing at edges, on dark or grazing surfaces."""
    depth = scene.depth
    jump = torch.zeros_like(depth)
    for axis in (0, 1):
        step = depth.diff(dim=axis).abs()
        shape = list(depth.shape)
        shape[axis] = 1
        edge = step.new_zeros(shape)
        jump = torch.maximum(jump, torch.maximum(torch.cat([step, edge], axis), torch.cat([edge, step], axis)))
    chance = torch.from_numpy(np.random.default_rng([3, seed]).random(depth.shape, dtype=np.float32)).to(depth.device)
    faint = scene.grazing * (0.1 + scene.image.mean(0)) < 0.1 * chance + 0.01
    speckle = chance > 0.97
    return torch.where(faint | speckle | (jump > 0.08 * depth), 0.0, depth)


class SceneDataset:
    """Scenes rendered as they are asked for: item i of a seed is always the same, and no two seeds share one.

    `sparse` leaves the ground truth that a sensor would give: scan lines in streets, holes in rooms.
    """

    def __init__(self, kind: str, count: int, seed: int, size: tuple[int, int], sparse: bool = False) -> None:
        if kind not in SCENE_KINDS:
            raise ValueError(f"no scenes of kind {kind!r}; known: {', '.join(SCENE_KINDS)}")
        self.kind, self.count, self.seed, self.size, self.sparse = kind, count, seed, size, sparse
        self.max_depth = MAX_DEPTH[kind]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1, np.uint64)[0])
        scene = render(self.kind, seed, self.size)
        depth = scene.depth
        if self.sparse:
            depth = kitti_like_sparse(depth, seed) if self.kind == "road" else kinect_like_holes(scene, seed)
        return Sample(
            image=scene.image.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy(),
            depth=depth.numpy(),
            valid=(depth > 0).numpy(),
            name=f"{self.kind}-{index:010d}",
            intrinsics=scene.intrinsics.numpy(),
        )
