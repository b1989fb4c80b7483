"""Depth, error and attention maps as pictures: uint8 RGB (H, W, 3), with the scales of their colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

NOTHING = 56  # grey level of a pixel without a value; none of the colour ramps comes near it
PAPER, INK = 18, 235  # grey levels of a montage's background and its writing
FONT, LETTERS = cv2.FONT_HERSHEY_SIMPLEX, 0.42  # and their size
ENTRY, LINE = 200, 18  # pixels of a name's column and line in the legend of classes
LEGEND = 12  # names that it has room for, where there are as many, below a picture that is as high
EASY = 1000  # pixels of a picture's width for which letters are large enough as they are


def _ramp(*anchors: tuple[int, int, int]) -> np.ndarray:
    """256 colours, uint8 (256, 3), that run through the given ones at equal distances."""
    at = np.linspace(0, 255, len(anchors))
    channels = [np.interp(np.arange(256), at, [anchor[c] for anchor in anchors]) for c in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


# Plasma runs from dark blue to yellow, gets lighter all the way and is never grey.
FAR_TO_NEAR = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_PLASMA)[:, 0, ::-1].copy()
RIGHT_TO_WRONG = _ramp((12, 52, 70), (34, 104, 110), (168, 122, 78), (240, 146, 56), (255, 238, 168))
LESS_TO_MORE = _ramp((20, 72, 138), (96, 160, 206), (242, 240, 236), (238, 150, 88), (160, 42, 20))


@dataclass(frozen=True)
class Scale:
    """What the colours of a picture mean: uint8 colours (N, 3) from left to right, ticks as (place in [0, 1], text)."""

    label: str
    colours: np.ndarray
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Panel:
    """Pictures of one image that belong side by side, uint8 RGB by label, and the scales of their colours.

    `compare` names those that a page lays over each other, under one slider, in this order; fewer than two are not.
    `legend` has the colours, uint8 (3,), of what has no scale, by name.
    """

    name: str
    pictures: dict[str, np.ndarray]
    caption: str = ""
    scales: tuple[Scale, ...] = ()
    compare: tuple[str, ...] = ()
    legend: Mapping[str, np.ndarray] = field(default_factory=dict)


# ----------------------------------------------------------------------------------------------------------- colours


def colourise(depth: np.ndarray, low: float, high: float, *, radius: int = 0) -> np.ndarray:
    """Depth as colours of the Plasma map over log depth: near is yellow, far is dark blue.

    Args:
        depth: Metres, float (H, W). What is not a positive finite number becomes dark grey.
        low: Metres; this and all that is nearer get the nearest colour.
        high: Metres; this and all that is farther get the farthest colour.
        radius: Draw each measured pixel as a square of 2 * radius + 1, the nearer one on top. For sparse lidar.

    Raises:
        ValueError: Unless 0 < low < high < infinity.
    """
    _check_limits(low, high)
    missing = ~(np.isfinite(depth) & (depth > 0))
    known = np.where(missing, high, depth)
    return _paint(np.log(high / known) / math.log(high / low), FAR_TO_NEAR, missing, radius)


def colourise_error(
    pred: np.ndarray, target: np.ndarray, valid: np.ndarray, limit: float = 0.2, *, radius: int = 0
) -> np.ndarray:
    """Relative error |pred - target| / target as colours: deep teal is right, pale yellow is wrong by `limit`.

    A prediction that is not a finite number is as wrong as can be. Maps are (H, W), in metres; pixels that are not
    `valid` (bool) become dark grey; `radius` is that of `colourise`, the worse error on top.
    """
    if limit <= 0:
        raise ValueError(f"the error that gets the last colour must be positive, got {limit}")
    missing = ~(valid & np.isfinite(target) & (target > 0))
    truth = np.where(missing, 1.0, target)
    finite = np.isfinite(pred)
    error = np.where(finite, np.abs(np.where(finite, pred, 0) - truth) / truth, np.inf)
    return _paint(error / limit, RIGHT_TO_WRONG, missing, radius)


def colourise_weight(attention: np.ndarray, limit: float = 4.0) -> np.ndarray:
    """Weights of mean 1, float (H, W), as colours over their logarithm: blue 1 / limit, white 1, red `limit`."""
    if limit <= 1:
        raise ValueError(f"the weight that gets the last colour must be above 1, got {limit}")
    missing = ~np.isfinite(attention)
    weight = np.clip(np.where(missing, 1.0, attention), 1 / limit, limit)
    return _paint(0.5 + 0.5 * np.log(weight) / math.log(limit), LESS_TO_MORE, missing)


def colour_limits(depth: np.ndarray) -> tuple[float, float]:
    """Limits in metres for `colourise` that spend the colours on most of what was measured in these depths.

    They are the 2nd and the 98th percentile of the positive finite numbers, rounded outwards to two digits; without
    any, 1 and 10.
    """
    known = depth[np.isfinite(depth) & (depth > 0)]
    if not known.size:
        return 1.0, 10.0
    low, high = np.percentile(known, (2, 98)).tolist()
    low, high = _two_digits(low, math.floor), _two_digits(high, math.ceil)
    return (low, high) if high > low else (low, 2 * low)


def _two_digits(metres: float, rounded: Callable[[float], int]) -> float:
    unit = 10.0 ** (math.floor(math.log10(metres)) - 1)
    return float(f"{rounded(metres / unit) * unit:.3g}")


def _paint(place: np.ndarray, ramp: np.ndarray, missing: np.ndarray, radius: int = 0) -> np.ndarray:
    """Colours at places (H, W) of a ramp, from 0 to 1, and grey where there is no value."""
    place = np.where(missing, -1.0, np.clip(place, 0, 1)).astype(np.float32)
    if radius > 0:
        place = cv2.dilate(place, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8))
    picture: np.ndarray = ramp[np.rint(place.clip(0) * 255).astype(np.uint8)]
    picture[place < 0] = NOTHING
    return picture


def palette(count: int) -> np.ndarray:
    """Colours of classes, uint8 (count, 3), the same for a number whatever their count: neighbours differ in hue."""
    number = np.arange(count)
    hue = number * 0.618034 % 1  # golden section: no two of the first hundreds are alike
    light, grey = 1 - 0.12 * (number // 3 % 5), 0.45 + 0.25 * (number % 3)
    colours = np.stack([360 * hue, grey, light], axis=-1).astype(np.float32)
    bytes_: np.ndarray = (cv2.cvtColor(colours[None], cv2.COLOR_HSV2RGB)[0] * 255).round().astype(np.uint8)
    return bytes_


def class_blend(image: np.ndarray, classes: np.ndarray, count: int) -> np.ndarray:
    """An image, uint8 RGB (H, W, 3), under the colours of its classes of so many, from 0, (H, W): half of each."""
    return cv2.addWeighted(image, 0.5, palette(count)[classes], 0.5, 0)


def class_overlay(image: np.ndarray, classes: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The same with the names of the largest and their shares below it; a small image is enlarged by a whole factor.

    The legend has the same size below every image of one size, as films need it, and is not higher than the image.
    """
    times = max(1, -(-2 * ENTRY // image.shape[1]))
    blend = class_blend(image, classes, len(names)).repeat(times, 0).repeat(times, 1)
    zoom, columns = _legend_grid(blend.shape[1])
    rows = max(1, min(-(-min(LEGEND, len(names)) // columns), (blend.shape[0] // zoom - 6) // LINE))
    count, colours = np.bincount(classes.ravel(), minlength=len(names)), palette(len(names))
    order = [n for n in np.argsort(-count, kind="stable") if count[n]]
    entries = {f"{names[n]} {count[n] / classes.size:.1%}": colours[n] for n in order}
    return np.concatenate([blend, legend_strip(entries, blend.shape[1], rows)])


def legend_strip(entries: Mapping[str, np.ndarray], width: int, rows: int = 0) -> np.ndarray:
    """Colours and what they mean, in columns of a strip of this width; in so many rows as far as they go, 0 for all."""
    zoom, columns = _legend_grid(width)
    rows, shown = rows or -(-len(entries) // columns), list(entries.items())
    strip = np.full((zoom * (LINE * rows + 6), width, 3), PAPER, np.uint8)
    if (more := len(shown) - rows * columns) > 0:
        shown[rows * columns - 1 :] = [(f"and {more + 1} more", strip[0, 0])]
    for place, (text, colour) in enumerate(shown):
        x, y = place % columns * ENTRY * zoom + 6 * zoom, (place // columns * LINE + 4) * zoom
        strip[y : y + 12 * zoom, x : x + 12 * zoom] = colour
        _write(strip, text, x + 17 * zoom, y + 11 * zoom, zoom)
    return strip


def _legend_grid(width: int) -> tuple[int, int]:
    """How much larger letters are in a picture of this width, and how many columns of names it has."""
    zoom = max(1, round(width / EASY))
    return zoom, max(1, width // (ENTRY * zoom))


# ------------------------------------------------------------------------------------------------------------ scales


def depth_scale(low: float, high: float) -> Scale:
    """The scale of `colourise` with these limits in metres, near at the left."""
    _check_limits(low, high)
    span = math.log(high / low)
    tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    multiples = (1, 1.5, 2, 3, 4, 5, 6, 8) if span < 2 else (1, 2, 5) if span < 7 else (1,)
    round_numbers = [m * 10.0**e for e in tens for m in multiples]
    places = [(math.log(metres / low) / span, f"{metres:g}") for metres in round_numbers]
    inner = tuple((place, text) for place, text in places if 0.08 < place < 0.9)
    return Scale("Depth (m)", FAR_TO_NEAR[::-1], ((0.0, f"{low:g}"), *inner, (1.0, f"{high:g}")))


def error_scale(limit: float = 0.2) -> Scale:
    """The scale of `colourise_error` with this limit."""
    ticks = [(0.0, "0"), (0.5, f"{50 * limit:.3g}"), (1.0, f"{100 * limit:.3g}+")]
    return Scale("Relative error (%)", RIGHT_TO_WRONG, tuple(ticks))


def weight_scale(limit: float = 4.0) -> Scale:
    """The scale of `colourise_weight` with this limit."""
    weights = [limit**power for power in (-1, -0.5, 0, 0.5, 1)]
    ticks = [(0.25 * i, f"{weight:.3g}") for i, weight in enumerate(weights)]
    return Scale("Weight (1 = mean)", LESS_TO_MORE, tuple(ticks))


def scale_bar(picture: np.ndarray, scale: Scale) -> np.ndarray:
    """The picture with its scale below: a bar of colours, its ticks, what they measure; larger below a large one."""
    width = max(picture.shape[1], 160)
    zoom = max(1, round(width / EASY))
    strip = np.full((58 * zoom, width, 3), PAPER, np.uint8)
    left, right = 12 * zoom, width - 13 * zoom
    columns = np.linspace(0, len(scale.colours) - 1, right - left).round().astype(int)
    strip[26 * zoom : 36 * zoom, left:right] = scale.colours[columns]
    _write(strip, scale.label, left, 17 * zoom, zoom)
    for place, text in scale.ticks:
        x = left + round(place * (right - left - 1))
        strip[36 * zoom : 40 * zoom, x : x + zoom] = INK
        half = cv2.getTextSize(text, FONT, LETTERS * zoom, zoom)[0][0] // 2
        _write(strip, text, min(max(x - half, 2), width - 2 * half - 2), 53 * zoom, zoom)
    return np.concatenate([_widened(picture, width), strip])


def _widened(picture: np.ndarray, width: int) -> np.ndarray:
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=PAPER)


def _check_limits(low: float, high: float) -> None:
    if not 0 < low < high < math.inf:
        raise ValueError(f"limits in metres must be 0 < low < high, got low={low}, high={high}")


# ---------------------------------------------------------------------------------------------------------- montages


def panel_strip(panel: Panel) -> np.ndarray:
    """All pictures of a panel in one, each under its label: wide ones in two columns, others in a row, and their keys.

    The first picture's size, enlarged to at least 320 pixels' width, is everyone's.
    """
    if not panel.pictures:
        raise ValueError(f"panel {panel.name!r} has no pictures")
    height, width = next(iter(panel.pictures.values())).shape[:2]
    zoom = max(1.0, 320 / width)
    size = (round(height * zoom), round(width * zoom))
    cells = []
    for label, picture in panel.pictures.items():
        head = np.full((24, size[1], 3), PAPER, np.uint8)
        _write(head, label, 1, 17)
        cell = np.concatenate([head, resize_to(picture, size)])
        cells.append(np.pad(cell, ((4, 4), (4, 4), (0, 0)), constant_values=PAPER))
    columns = min(2, len(cells)) if width >= 2 * height else len(cells)
    cells += [np.full_like(cells[0], PAPER)] * (-len(cells) % columns)
    rows = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
    montage = np.concatenate(rows)
    for scale in panel.scales:
        montage = scale_bar(montage, scale)
    return np.concatenate([montage, legend_strip(panel.legend, montage.shape[1])]) if panel.legend else montage


def resize_to(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture at another size (height, width): averaged where it shrinks, interpolated where it grows."""
    height, width = size
    shrinks = height * width < picture.shape[0] * picture.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=how)


def _write(picture: np.ndarray, text: str, x: int, y: int, zoom: int = 1) -> None:
    """Writes into the picture, from the baseline's left end. OpenCV's built-in letters are ASCII."""
    printable = text.encode("ascii", "replace").decode()
    cv2.putText(picture, printable, (x, y), FONT, LETTERS * zoom, (INK, INK, INK), zoom, cv2.LINE_AA)


# ------------------------------------------------------------------------------------------------------------- files


def encode_png(picture: np.ndarray) -> bytes:
    """A PNG file of a uint8 RGB picture (H, W, 3)."""
    return _encode(picture, ".png", [])


def encode_jpeg(picture: np.ndarray) -> bytes:
    """A JPEG file of a uint8 RGB picture (H, W, 3), its colours as sharp as its brightness."""
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return _encode(picture, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, 90, *sampling])


def _encode(picture: np.ndarray, kind: str, options: list[int]) -> bytes:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture is uint8 RGB (H, W, 3), got {picture.dtype} {picture.shape}")
    done, data = cv2.imencode(kind, np.ascontiguousarray(picture[..., ::-1]), options)
    if not done:
        raise ValueError(f"OpenCV could not write a {kind} of {picture.shape}")
    return data.tobytes()
