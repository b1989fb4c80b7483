"""Streets: a curved road between houses, walls and trees, with cars, people and poles, under an open sky."""

from __future__ import annotations

import numpy as np

from distill.data.scenes.geometry import Material, Pinhole, Solid, Vec, rotation
from distill.data.scenes.layout import MAX_DEPTH, Draw, Ground, Layout, bricks, plain, scaled, tint, windows

ROAD_FOCAL = 721.5 / 1242  # KITTI's focal length in image widths


def street(draw: Draw, size: tuple[int, int]) -> Layout:
    """All of a street, for an image of `size` (height, width)."""
    road = Street(draw)
    # A camera on a car's roof, with about KITTI's field of view.
    camera = Pinhole(
        focal_px=ROAD_FOCAL * size[1] * draw(0.9, 1.1),
        position=(0.0, -draw(1.5, 1.8), 0.0),
        rotation=rotation(draw(-0.06, 0.06), draw(-0.04, 0.03), draw(-0.02, 0.02)),
        centre_px=(size[1] * draw(0.47, 0.53) - 0.5, size[0] * draw(0.42, 0.54) - 0.5),
        size=size,
    )
    solids = road.houses() + road.cars() + road.poles() + road.people_and_boxes()
    sky, sun, ambient, fog = road.weather()
    return Layout(camera, MAX_DEPTH["road"], solids, road.ground, sky, lights=[sun], ambient=ambient, fog=fog)


def verge(draw: Draw) -> Material:
    """Grass or slabs."""
    if draw.chance(0.5):
        level = draw(0.06, 0.25)
        grass = (level * draw(0.5, 1.1), level, level * draw(0.2, 0.5))
        return Material(grass, grass, noise=draw(0.5, 1.2), grain=(3.0, 3.0))
    slab, base = draw(0.4, 1.2), draw.colour(0.15, 0.5, 0.2)
    return Material(base, tint(base, 0.6), (slab, slab), (0.05, 0.05), draw(0, 0.5), draw(0.1, 0.4), 0.4)


def tree(draw: Draw, x: float, floor: float, z: float) -> list[Solid]:
    """A trunk and a crown."""
    trunk, wide = draw(1, 3.5), draw(1, 3)
    level = draw(0.03, 0.2)
    leaf = (level * draw(0.5, 1.6), level, level * draw(0.2, 0.7))
    crown = Material(leaf, leaf, noise=1.5, grain=(2.0, 2.0))
    tall, thick = wide * draw(0.8, 1.6), 0.05 * wide + 0.05
    bark = plain(draw, 0.03, 0.2, 0.2)
    return [
        Solid("cylinder", (x, floor - trunk / 2, z), (thick, trunk / 2 + 0.5, thick), 0, bark, "tree"),
        Solid("ellipsoid", (x, floor - trunk - tall * 0.8, z), (wide, tall, wide * draw(0.7, 1.2)), 0, crown, "tree"),
    ]


class Street:
    """A curved road that reaches `half_road` metres to either side of its axis, and what is on it and beside it."""

    def __init__(self, draw: Draw) -> None:
        self.draw, self.half_road = draw, draw(3, 6.5)
        position = draw(-self.half_road + 1.5, self.half_road - 1.2)  # of the camera
        self.ground = Ground(
            crest=draw(8, 45),
            slope=draw(-0.06, 0.1) if draw.chance(0.3) else 0.0,
            start=-position,
            heading=draw(-0.07, 0.07),
            bend=draw(-1, 1) / (90 if draw.chance(0.4) else 500),
            bands=self.bands(),
            marks=self.marks(),
            paint=(draw(0.5, 0.9),) * 3,
        )

    def bands(self) -> list[tuple[float, Material, Material]]:
        """Asphalt, then on either side a kerb, a pavement or verge, and whatever lies behind."""
        draw = self.draw
        grey = draw.colour(0.06, 0.3, 0.1)
        asphalt = Material(grey, grey, noise=draw(0.3, 0.7), grain=(draw(1, 4), draw(0.2, 1.5)))
        stone = draw.colour(0.25, 0.6, 0.1)
        kerb = Material(stone, stone, (9.0, 1.0), (0.0, 0.05), jitter=0.3)
        pavement = self.half_road + draw(1, 3.5)
        return [
            (self.half_road, asphalt, asphalt),
            (self.half_road + 0.25, kerb, kerb),
            (pavement, verge(draw), verge(draw)),
            (np.inf, verge(draw), verge(draw)),
        ]

    def marks(self) -> list[tuple[float, float, float, float]]:
        """Painted lines: place across the road, width and length of a dash in metres, and how much of it is painted."""
        draw, half_road = self.draw, self.half_road
        marks = []
        if draw.chance(0.75):
            marks.append((0.0, draw(0.1, 0.2), draw(4, 12), draw(0.3, 1)))
        if draw.chance(0.6):
            marks += [(side * (half_road - draw(0.2, 0.5)), 0.13, 10.0, 1.0) for side in (-1, 1)]
        if half_road > 5 and draw.chance(0.5):
            marks += [(side * half_road / 2, 0.12, 6.0, 0.5) for side in (-1, 1)]
        return marks

    def houses(self) -> list[Solid]:
        """Houses, walls, hedges and woods along both sides, from beside the camera to past the limit of depth."""
        draw, ground = self.draw, self.ground
        solids = []
        for side in (-1, 1):
            density, setback = draw(0.15, 1), self.half_road + draw(1.5, 14)
            storeys = draw(3, 12)
            z = draw(-8, 6)
            while z < 85:
                length, depth, height = draw(6, 18), draw(6, 12), storeys * draw(0.7, 1.3)
                z += length / 2
                (x, floor), yaw = ground.foot(z, 0.0), ground.yaw(z)
                if draw.chance(density):
                    across = side * (setback + draw(0, 2) + depth / 2)
                    solids += self.house((x + across, floor, z), (depth, height, length), yaw)
                elif draw.chance(0.4):
                    surface, low = plain(draw, 0.03, 0.5) if draw.chance(0.5) else bricks(draw), draw(0.4, 1.4)
                    centre = (x + side * (setback - draw(0, 1)), floor - low + 0.5, z)
                    solids.append(Solid("box", centre, (draw(0.1, 0.4), low + 0.5, length / 2), yaw, surface, "wall"))
                elif draw.chance(0.6):
                    for _ in range(draw.whole(1, 2)):
                        solids += tree(draw, x + side * (setback + draw(-1, 6)), floor, z + draw(-4, 4))
                z += length / 2 + draw(0, 4)
        return solids

    def cars(self) -> list[Solid]:
        """Cars and vans in both lanes, parked at the kerb, and now and then across."""
        draw, ground, half_road = self.draw, self.ground, self.half_road
        solids: list[Solid] = []
        taken: list[tuple[float, float]] = []
        for _ in range(draw.whole(2, 9)):
            parked = draw.chance(0.6)
            across = (1 if draw.chance(0.5) else -1) * (half_road - 1.1 if parked else half_road * draw(0.25, 0.55))
            z = draw(5, 30) if draw.chance(0.6) else draw(20, 75)
            if any(abs(z - other_z) < 7 and abs(across - other_x) < 2.2 for other_x, other_z in taken):
                continue
            taken.append((across, z))
            yaw = ground.yaw(z) + draw(-0.06, 0.06)
            if draw.chance(0.12):
                yaw = draw(-np.pi, np.pi)
            solids += self.car(*ground.foot(z, across), z, yaw)
        return solids

    def poles(self) -> list[Solid]:
        """A row of poles along one side, some with a sign, or none."""
        draw = self.draw
        solids = []
        spacing, side = draw(8, 30), 1 if draw.chance(0.5) else -1
        thick, tall, metal = draw(0.06, 0.18), draw(3, 8), plain(draw, 0.05, 0.6, 0.2)
        for z in np.arange(draw(3, 12), 75, spacing).tolist() if draw.chance(0.7) else []:
            x, floor = self.ground.foot(z, side * (self.half_road + 0.5))
            solids.append(Solid("cylinder", (x, floor - tall / 2, z), (thick, tall / 2, thick), 0, metal))
            if draw.chance(0.3):
                sign = plain(draw, 0.1, 0.9, 0.9)
                solids.append(Solid("box", (x, floor - 2.5, z - thick), (0.4, 0.4, 0.02), 0, sign))
        return solids

    def people_and_boxes(self) -> list[Solid]:
        """People and boxes on the pavement."""
        draw, ground = self.draw, self.ground
        solids: list[Solid] = []
        for _ in range(draw.whole(1, 6)):
            z, side = draw(4, 35), 1 if draw.chance(0.5) else -1
            x, floor = ground.foot(z, side * (self.half_road + draw(0.3, 3)))
            if draw.chance(0.6):
                tall, cloth = draw(0.65, 0.78), plain(draw, 0.02, 0.7, 0.9)
                solids.append(Solid("cylinder", (x, floor - tall, z), (0.22, tall, 0.16), draw(0, 3), cloth))
                skin = plain(draw, 0.1, 0.5, 0.2)
                solids.append(Solid("ellipsoid", (x, floor - 2 * tall - 0.12, z), (0.1, 0.14, 0.11), 0, skin))
            else:
                half = (draw(0.2, 0.6), draw(0.3, 0.7), draw(0.2, 0.6))
                solids.append(Solid("box", (x, floor - half[1], z), half, draw(-1, 1), plain(draw)))
        return solids

    def weather(self) -> tuple[Material, tuple[Vec, Vec], Vec, tuple[float, Vec]]:
        """Sky, sun (direction and colour), ambient light and fog (density per metre and colour)."""
        draw = self.draw
        azimuth, height = draw(-np.pi, np.pi), draw(0.25, 1.2)
        towards = (
            float(np.sin(azimuth) * np.cos(height)),
            -float(np.sin(height)),
            float(np.cos(azimuth) * np.cos(height)),
        )
        clear = draw(0, 1)  # 0 is overcast
        haze = draw(0.55, 0.95)
        colour = (haze * (1 - 0.55 * clear), haze * (1 - 0.3 * clear), haze)
        sky = Material(colour, (haze, haze, haze), noise=draw(0.2, 1.6), grain=(draw(0.6, 2), draw(0.6, 2)))
        sun = towards, scaled((1.0, draw(0.8, 1), draw(0.6, 0.95)), 2.2 * clear**1.5)
        ambient = (0.75 - 0.5 * clear, 0.75 - 0.46 * clear, 0.78 - 0.4 * clear)
        fog = float(np.exp(draw(np.log(0.0006), np.log(0.02)))), (haze * draw(0.85, 1), haze * 0.95, haze)
        return sky, sun, ambient, fog

    def house(self, foot: Vec, size: Vec, yaw: float) -> list[Solid]:
        """A house on the ground at `foot`, of metres across, up and along the road, with or without a gable roof."""
        draw = self.draw
        (x, floor, z), (depth, height, length) = foot, size
        facade = windows(draw, length, height) if draw.chance(0.75) else bricks(draw)
        walls = Solid(
            "box", (x, floor - height / 2 + 1, z), (depth / 2, height / 2 + 1, length / 2), yaw, facade, "building"
        )
        if not draw.chance(0.6):
            return [walls]
        rise = draw(0.8, 2)
        half = (depth / 2 + 0.3, rise, length / 2 + 0.2)
        return [walls, Solid("roof", (x, floor - height - rise, z), half, yaw, bricks(draw), "building")]

    def car(self, x: float, floor: float, z: float, yaw: float) -> list[Solid]:
        """A body, a cabin and wheels."""
        draw = self.draw
        long, wide, dark = draw(1.8, 2.4), draw(0.8, 0.95), draw.colour(0.01, 0.05)
        paint = draw.colour(0.03, 0.8, 0.9)
        glass = Material(draw.colour(0.02, 0.15), paint, (long / 2, 2.0), (0.12, 0.0), jitter=0.6, noise=0.2)
        body = Material(paint, tint(paint, 0.5), (long, 0.45), (0.02, 0.12), noise=0.15, grain=(0.7, 2.0))
        tyres = Material(dark, tint(paint, 0.25), (long * 0.9, 4.0), (0.55, 0.0), noise=0.2)

        def part(low: float, high: float, half_x: float, half_z: float, surface: Material, ahead: float = 0) -> Solid:
            centre = (x + ahead * float(np.sin(yaw)), floor - (low + high) / 2, z + ahead * float(np.cos(yaw)))
            return Solid("box", centre, (half_x, (high - low) / 2, half_z), yaw, surface, "vehicle")

        if draw.chance(0.2):
            top, load = draw(2.2, 3.4), draw(1, 1.8)
            return [
                part(-0.2, 0.5, wide, long * load * 0.95, tyres),
                part(0.4, top, wide + 0.1, long * load, body._replace(cell=(9.0, 1.2))),
            ]
        waist, top, cabin, behind = draw(0.85, 1.05), draw(1.35, 1.7), long * draw(0.5, 0.68), draw(-0.6, 0.0)
        return [
            part(-0.2, 0.4, wide * 0.95, long * 0.9, tyres),
            part(0.28, waist, wide, long, body),
            part(waist - 0.05, top, wide * 0.86, cabin, glass, behind),
            part(top - 0.02, top + 0.05, wide * 0.82, cabin * 0.92, body, behind),
        ]
