"""Furnished rooms, seen by a hand-held camera from near one of their walls."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from distill.data.scenes.geometry import Material, Pinhole, Solid, Vec, rotation
from distill.data.scenes.layout import MAX_DEPTH, Draw, Layout, plain, scaled, tiles, tint, wallpaper, wood

ROOM_FOCAL = 518.86 / 640  # NYU's focal length in image widths

Span = tuple[float, float]


def interior(draw: Draw, size: tuple[int, int]) -> Layout:
    """All of a room, for an image of `size` (height, width)."""
    room = Room(draw)
    wide, long, high = room.wide / 2, room.long / 2, room.high / 2
    shell = Solid("inside", (0.0, -high, long), (wide, high, long), 0.0, wallpaper(draw))
    camera = room.camera(size)
    pieces = room.pieces_at_walls() + room.pieces_in_the_middle()
    furniture = [s for piece in pieces if not any(in_the_way(part, camera.position) for part in piece) for s in piece]
    lamps = room.lamps()
    glowing = Solid("ellipsoid", lamps[0][0], (0.2, 0.12, 0.2), 0.0, plain(draw, 0.5, 0.9, 0.2)._replace(glow=1.0))
    fixed = [shell] if draw.chance(0.4) or in_the_way(glowing, camera.position) else [shell, glowing]
    level = draw(0.12, 0.4)
    return Layout(
        camera,
        MAX_DEPTH["room"],
        [*fixed, *furniture],
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


class Room:
    """A room of random width, length and height in metres, and what is in it."""

    def __init__(self, draw: Draw) -> None:
        self.draw, self.wide, self.long, self.high = draw, draw(2.8, 7.5), draw(3.5, 9.5), draw(2.3, 3.2)

    def camera(self, size: tuple[int, int]) -> Pinhole:
        """A camera with about NYU's field of view, aimed at the far wall."""
        draw = self.draw
        spot = (draw(-0.35, 0.35) * self.wide, -draw(0.8, 1.8), draw(0.3, 0.12 * self.long))
        aim = float(np.arctan2(draw(-0.45, 0.45) * self.wide - spot[0], self.long - spot[2]))
        return Pinhole(
            position=spot,
            rotation=rotation(aim, draw(-0.35, 0.35 if draw.chance(0.3) else 0.1), draw(-0.087, 0.087)),
            focal_px=ROOM_FOCAL * size[1] * draw(0.9, 1.1),
            centre_px=(size[1] * draw(0.48, 0.52) - 0.5, size[0] * draw(0.47, 0.53) - 0.5),
            size=size,
        )

    def lamps(self) -> list[tuple[Vec, Vec]]:
        """Position and colour of one or two lamps at the ceiling, brighter in larger rooms."""
        draw, lamps = self.draw, []
        for _ in range(draw.whole(1, 2)):
            place = (draw(-0.35, 0.35) * self.wide, -self.high + draw(0.1, 0.6), draw(0.15, 0.85) * self.long)
            strength = draw(0.5, 1) * (self.wide * self.long) ** 0.5 * 0.35
            lamps.append((place, scaled((1.0, draw(0.75, 1), draw(0.5, 1)), strength)))
        return lamps

    def pieces_at_walls(self) -> list[list[Solid]]:
        """Furniture, doors, windows and pictures along the left, right and far wall, with gaps."""
        draw, pieces = self.draw, []
        for yaw, x, z, length in (
            (np.pi / 2, -self.wide / 2, self.long / 2, self.long),
            (-np.pi / 2, self.wide / 2, self.long / 2, self.long),
            (np.pi, 0.0, self.long, self.wide),
        ):
            along = -length / 2 + draw(0.1, 0.8)
            while along < length / 2 - 0.5:
                kind = draw.whole(0, len(WALL_PIECES))
                width = min(draw(0.6, 2.0), length / 2 - along)
                middle = along + width / 2
                along += width + draw(0, 1.2)
                # The piece's own x runs along the wall, its z into the room.
                spot = (x + middle * float(np.cos(yaw)), z - middle * float(np.sin(yaw)))
                if kind < len(WALL_PIECES):
                    piece = WALL_PIECES[kind](Place(spot, yaw), draw, width, self.high)
                    pieces.append(named("furniture" if kind < OPENINGS else "opening", piece))
        return pieces

    def pieces_in_the_middle(self) -> list[list[Solid]]:
        """A rug, tables with chairs, boxes, balls and standing lamps on the floor."""
        draw, wide, long, pieces = self.draw, self.wide, self.long, []
        if draw.chance(0.5):
            rug = tiles(draw)._replace(base=draw.colour(0.1, 0.7, 1), line=draw.colour(0.1, 0.7, 1), gap=(0.3, 0.3))
            place = Place((draw(-0.2, 0.2) * wide, draw(0.4, 0.6) * long), draw(-0.2, 0.2))
            pieces.append([place.box(rug, draw(1.2, 2.4), (-0.01, 0.012), (-draw(0.8, 1.4), 0.9))])
        for _ in range(draw.whole(1, 2)):
            place = Place((draw(-0.35, 0.35) * wide, draw(0.3, 0.8) * long), draw(-np.pi, np.pi))
            pieces.append(named("furniture", place.table(draw)))
            for _ in range(draw.whole(0, 3)):
                angle = draw(-np.pi, np.pi)
                spot = (place.spot[0] + 0.9 * float(np.sin(angle)), place.spot[1] + 0.9 * float(np.cos(angle)))
                if abs(spot[0]) < wide / 2 - 0.4 and spot[1] < long - 0.4:
                    pieces.append(named("furniture", Place(spot, angle + draw(-0.3, 0.3)).chair(draw)))
        for _ in range(draw.whole(0, 4)):
            place = Place((draw(-0.42, 0.42) * wide, draw(0.25, 0.92) * long), draw(-np.pi, np.pi))
            pieces.append(place.thing(draw))
        return pieces


@dataclass(frozen=True)
class Place:
    """Where a piece of furniture stands, and what may stand there: the piece's x and z start at `spot` (world x, z).

    What stands or hangs against a wall takes the width of its part of the wall and the height of the room.
    """

    spot: tuple[float, float]
    yaw: float

    def solid(self, shape: str, surface: Material, x: float, y: float, z: float, half: Vec) -> Solid:
        """A box of the room's own coordinates."""
        c, s = float(np.cos(self.yaw)), float(np.sin(self.yaw))
        return Solid(shape, (self.spot[0] + c * x + s * z, -y, self.spot[1] - s * x + c * z), half, self.yaw, surface)

    def box(self, surface: Material, width: float, above: Span, ahead: Span, x: float = 0) -> Solid:
        """A box `width` wide, between two heights and between two distances from the spot, moved sideways by `x`."""
        (low, high), (back, front) = above, ahead
        half = (width / 2, (high - low) / 2, (front - back) / 2)
        return self.solid("box", surface, x, (low + high) / 2, (back + front) / 2, half)

    def cupboard(self, draw: Draw, width: float, high: float) -> list[Solid]:
        """A cupboard with doors."""
        tall = draw(0.7, min(2.2, high - 0.1))
        cells = (width / draw.whole(1, 3), tall / draw.whole(1, 4))
        if draw.chance(0.5):
            surface = wood(draw)._replace(cell=cells, gap=(0.02, 0.02), stagger=0.0)
        else:
            base = draw.colour(0.1, 0.85, 0.4)
            surface = Material(base, tint(base, 0.35), cells, (0.03, 0.03), jitter=0.1, noise=0.15)
        return [self.box(surface, width, (0.0, tall), (0.0, draw(0.35, 0.6)))]

    def shelf(self, draw: Draw, width: float, high: float) -> list[Solid]:
        """A shelf with boards and books."""
        surface = wood(draw) if draw.chance(0.7) else plain(draw)
        tall, deep = draw(1.0, min(2.2, high - 0.1)), draw(0.25, 0.4)
        boards = draw.whole(3, 5)
        solids = [self.box(surface, 0.03, (0, tall), (0, deep), side * width / 2) for side in (-1, 1)]
        solids.append(self.box(plain(draw), width, (0, tall), (0, 0.02)))
        for level in range(boards):
            floor = level * tall / (boards - 1)
            solids.append(self.box(surface, width, (floor, floor + 0.03), (0, deep)))
            if level < boards - 1 and draw.chance(0.8):  # a row of books
                spine = Material(draw.colour(0.1, 0.7, 1), draw.colour(0.1, 0.7, 1), (0.07, 2.0), (0.4, 0), jitter=1.2)
                stack, tip = width * draw(0.3, 0.9), min(draw(0.18, 0.3), tall / (boards - 1) - 0.05)
                solids.append(self.box(spine, stack, (floor, floor + tip), (0, deep - 0.05), (stack - width) / 2))
        return solids

    def sofa(self, draw: Draw, width: float, high: float) -> list[Solid]:
        """A sofa with a back and two arms."""
        width = max(width, 0.9)
        cloth, seat = plain(draw, 0.05, 0.7, 0.8), draw(0.35, 0.5)
        if draw.chance(0.5):
            cloth = cloth._replace(line=draw.colour(0.1, 0.8), cell=(draw(0.05, 0.3),) * 2, gap=(0.3, draw(0, 0.4)))
        deep = draw(0.8, 1.0) if draw.chance(0.7) else 1.9  # the long ones are beds
        back = self.box(cloth, width, (0, seat + draw(0.3, 0.5)), (0, 0.2))
        arms = [self.box(cloth, 0.18, (0, seat + 0.15), (0, deep), side * (width / 2 - 0.09)) for side in (-1, 1)]
        return [self.box(cloth, width, (0.08, seat), (0, deep)), back, *(arms if deep < 1.5 else [])]

    def door(self, draw: Draw, width: float, high: float) -> list[Solid]:
        """A door, a little before the wall."""
        surface = plain(draw, 0.1, 0.8) if draw.chance(0.5) else wood(draw)
        return [self.box(surface, 0.9, (0.0, 2.05), (0.0, 0.06))]

    def window(self, draw: Draw, width: float, high: float) -> list[Solid]:
        """A window that may be bright."""
        pane = draw.colour(0.5, 0.95, 0.3)
        frame = Material(pane, draw.colour(0.2, 0.9, 0.1), (width / 2, 0.6), (0.1, 0.08), glow=draw(0, 1.2))
        return [self.box(frame, width, (0.9, draw(1.6, high - 0.15)), (0.0, 0.04))]

    def painting(self, draw: Draw, width: float, high: float) -> list[Solid]:
        """A picture on the wall."""
        low = draw(1.0, 1.5)
        canvas = Material(draw.colour(0.1, 0.8, 1), draw.colour(0.1, 0.8, 1), (0.3, 0.2), (0.4, 0.4), noise=1)
        return [self.box(canvas, width * 0.6, (low, low + draw(0.3, 0.8)), (0.0, 0.03))]

    def table(self, draw: Draw) -> list[Solid]:
        """A table on four legs."""
        width, deep, tall = draw(0.7, 1.8), draw(0.6, 1.0), draw(0.42, 0.8)
        surface = wood(draw) if draw.chance(0.7) else plain(draw)
        solids = [self.box(surface, width, (tall - 0.04, tall), (-deep / 2, deep / 2))]
        for x, z in product((-1, 1), repeat=2):
            foot, aside = z * (deep / 2 - 0.06), x * (width / 2 - 0.06)
            solids.append(self.box(surface, 0.05, (0, tall - 0.04), (foot - 0.025, foot + 0.025), aside))
        for _ in range(draw.whole(0, 3)):
            half = (draw(0.04, 0.18), draw(0.02, 0.16), draw(0.04, 0.15))
            shape = ("box", "cylinder", "ellipsoid")[draw.whole(0, 2)]
            aside, ahead = draw(-0.35, 0.35) * width, draw(-0.3, 0.3) * deep
            solids.append(self.solid(shape, plain(draw, 0.05, 0.9, 0.9), aside, tall + half[1], ahead, half))
        return solids

    def chair(self, draw: Draw) -> list[Solid]:
        """A chair with a back."""
        surface = wood(draw) if draw.chance(0.6) else plain(draw, 0.03, 0.7, 0.8)
        seat, wide = draw(0.42, 0.5), draw(0.36, 0.46)
        legs = [
            self.box(surface, 0.035, (0, seat), (z * wide / 2 - 0.02, z * wide / 2 + 0.015), x * (wide / 2 - 0.02))
            for x, z in product((-1, 1), repeat=2)
        ]
        board = self.box(surface, wide, (seat, seat + draw(0.35, 0.5)), (wide / 2 - 0.03, wide / 2))
        return [self.box(surface, wide, (seat - 0.03, seat + 0.02), (-wide / 2, wide / 2)), board, *legs]

    def thing(self, draw: Draw) -> list[Solid]:
        """A ball, a box or a standing lamp."""
        if draw.chance(0.4):
            radius = draw(0.08, 0.3)
            ball = tiles(draw)._replace(base=draw.colour(0.1, 0.8, 1))
            return [self.solid("ellipsoid", ball, 0, radius, 0, (radius,) * 3)]
        if draw.chance(0.5):
            return [self.box(plain(draw, 0.1, 0.6), draw(0.2, 0.7), (0, draw(0.2, 0.6)), (0, draw(0.2, 0.6)))]
        stem, tall = plain(draw, 0.02, 0.5), draw(1.2, 1.7)
        shade = plain(draw, 0.4, 0.9)._replace(glow=draw(0, 0.8))
        foot = self.solid("cylinder", stem, 0, tall / 2, 0, (0.02, tall / 2, 0.02))
        return [foot, self.solid("cylinder", shade, 0, tall, 0, (0.2, 0.14, 0.2))]


WALL_PIECES = (Place.cupboard, Place.shelf, Place.sofa, Place.door, Place.window, Place.painting)
OPENINGS = 3  # from here on, what is in a wall or hangs on it


def named(surface: str, piece: list[Solid]) -> list[Solid]:
    """A piece of furniture, of which it is said what it is."""
    return [solid._replace(surface=surface) for solid in piece]
