"""What a seed decides about a scene before any pixel is drawn: draws, paints, camera, solids, ground and light."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from torch import Tensor

from distill.data.scenes.geometry import Material, Pinhole, Solid, Vec

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

    def foot(self, z: float, aside: float) -> tuple[float, float]:
        """The x and y of the ground so far from the axis at a distance: y is negative uphill, as it points down."""
        return self.axis(z) + aside, -self.slope * max(z - self.crest, 0.0)

    def yaw(self, z: float) -> float:
        """Where the road turns to at a distance, in radians."""
        return float(np.arctan(self.heading + self.bend * z))


@dataclass
class Layout:
    """All that a seed decides before any pixel is drawn."""

    camera: Pinhole
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


class Draw:
    """Random numbers in the forms that layouts need. Their order decides what the scene of a seed looks like."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def __call__(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))

    def colour(self, low: float, high: float, saturation: float = 0.5) -> Vec:
        """A colour of any hue, of a brightness between the limits."""
        hue = self.rng.uniform(0, 1, 3)
        level = self.rng.uniform(low, high)
        rgb = level * (1 + self.rng.uniform(0, saturation) * 2 * (hue - hue.mean()))
        red, green, blue = np.clip(rgb, 0.01, 0.95).tolist()
        return red, green, blue


def scaled(colour: Vec, gain: float) -> Vec:
    """A colour, lighter or darker."""
    return colour[0] * gain, colour[1] * gain, colour[2] * gain


def tint(colour: Vec, gain: float) -> Vec:
    """A lighter or darker paint of the same hue; no paint returns more than 95 % of the light."""
    return scaled(colour, min(gain, 0.95 / max(colour)))


def plain(draw: Draw, low: float = 0.05, high: float = 0.8, saturation: float = 0.5) -> Material:
    """One colour, with a little noise."""
    scale = 2 ** draw(-1, 3)
    colour = draw.colour(low, high, saturation)
    return Material(colour, colour, noise=draw(0.1, 0.6), grain=(scale, scale))


def bricks(draw: Draw) -> Material:
    """Rows of bricks and their joints."""
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
    """Planks of one grain."""
    level = draw(0.08, 0.5)
    base = (level, level * draw(0.55, 0.85), level * draw(0.25, 0.6))
    return Material(
        base, tint(base, 0.4), (draw(0.08, 0.25), draw(1, 2.5)), (0.05, 0.01), 0.37, draw(0.1, 0.5), 0.5, (25.0, 1.5)
    )


def tiles(draw: Draw) -> Material:
    """Square tiles and their joints."""
    base, side = draw.colour(0.15, 0.8, 0.3), draw(0.15, 0.6)
    return Material(base, tint(base, draw(0.4, 1.5)), (side, side), (0.05, 0.05), 0, draw(0, 0.5), draw(0.05, 0.4))


def wallpaper(draw: Draw) -> Material:
    """Paper, plain or striped."""
    base, stripe = draw.colour(0.25, 0.8, 0.4), draw(0.1, 0.5)
    if draw.chance(0.4):
        return Material(base, base, noise=draw(0.05, 0.4), grain=(1.5, 1.5))
    gap = (draw(0.2, 0.5), 0.0 if draw.chance(0.6) else draw(0.2, 0.5))
    return Material(base, tint(base, draw(0.7, 1.3)), (stripe, draw(0.2, 0.6)), gap, draw(0, 0.5), 0.1, 0.15)
