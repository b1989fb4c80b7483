"""Charts as inline SVG: lines over steps, values side by side with their intervals, a histogram of errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from distill.report.svg import (
    GRID,
    INK,
    LETTER,
    Axis,
    chart_svg,
    colour_of,
    escape,
    round_step,
    stroke,
    text_at,
    tick_text,
)

Point = tuple[float, float]
Series = dict[str, list[Point]]

CHART_SIZE = (380, 240)  # small enough for letters to stay legible where a phone scales the chart down

MANY = 160  # points; above, a line shows the mean of neighbours over the band of their extremes
DOTTED = 40  # points; up to here each is a dot with its value as a tooltip


def line_chart(
    series: Series,
    *,
    title: str,
    x_label: str = "step",
    x_log: bool = False,
    y_log: bool = False,
    size: tuple[int, int] = (640, 260),
) -> str:
    """An SVG of named lines, each a list of (x, y), with axes, a legend of last values, and tooltips.

    Points that are not finite are left out, on a log axis also those that are not positive. Long lines are thinned to
    means over the band of their extremes. `size` is (width, height) in pixels at full scale.
    """
    lines = {}
    for name, points in series.items():
        finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        if drawn := [(x, y) for x, y in finite if (x > 0 or not x_log) and (y > 0 or not y_log)]:
            lines[name] = drawn
    if not lines:
        return chart_svg(title, "no points", size, text_at(size[0] / 2, size[1] / 2, "No finite values", "middle"))
    legend, top = _legend([f"{name} {points[-1][1]:.4g}" for name, points in lines.items()], size[0])
    x, y = _axes(lines.values(), x_log, y_log, size, top)
    body = "".join(_line(*line, x, y, colour_of(i)) for i, line in enumerate(lines.items()))
    summary = "; ".join(f"{name}: {_summary(points)}" for name, points in lines.items())
    return chart_svg(title, summary, size, legend + _frame(x, y, x_label) + body)


def _axes(
    lines: Iterable[list[Point]], x_log: bool, y_log: bool, size: tuple[int, int], top: float
) -> tuple[Axis, Axis]:
    """The two axes around all points, the vertical one ending at round numbers."""
    points = [point for line in lines for point in line]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = _widen(min(ys), max(ys), y_log)
    if not y_log:
        step = round_step(high - low, 4)  # a value that is above a round number by rounding alone gets no room
        low, high = math.floor(low / step + 0.01) * step, math.ceil(high / step - 0.01) * step
    y = Axis(low, high, size[1] - 40.0, top + 20.0, y_log)
    margin = 12 + LETTER * max(len(tick_text(tick)) for tick in y.ticks(4))
    # Curves of one run share an axis from 0, though the first is logged at step 20 and the next at 1.
    first = 0.0 if not x_log and 0 < min(xs) < 0.2 * max(xs) else min(xs)
    return Axis(*_widen(first, max(xs), x_log), margin, size[0] - 10.0, x_log), y


def _widen(low: float, high: float, log: bool) -> tuple[float, float]:
    """Limits with room between them even for one value."""
    if high > low:
        return (low / 1.1, high * 1.1) if log else (low, high)
    return (low / 2, low * 2) if log else (low - (abs(low) * 0.1 or 1), low + (abs(low) * 0.1 or 1))


def _frame(x: Axis, y: Axis, x_label: str) -> str:
    """Grid lines with their numbers, and the label of the horizontal axis."""
    parts = []
    for tick in y.ticks(4):
        parts.append(stroke(f"M{x.start:.1f} {y(tick):.1f}H{x.end:.1f}", GRID))
        parts.append(text_at(x.start - 7, y(tick) + 4.5, tick_text(tick), "end"))
    for tick in x.ticks(int((x.end - x.start) / 48)):
        parts.append(stroke(f"M{x(tick):.1f} {y.start:.1f}v4", INK))
        anchor = "end" if x.place(tick) > 0.97 else "middle"
        parts.append(text_at(x(tick), y.start + 18, tick_text(tick), anchor))
    parts.append(stroke(f"M{x.start:.1f} {y.start:.1f}H{x.end:.1f}", INK))
    parts.append(text_at(x.end, y.start + 35, x_label, "end"))
    return "".join(parts)


def _line(name: str, points: list[Point], x: Axis, y: Axis, colour: str) -> str:
    """A curve: the line itself, the band of a thinned one, the dots of a short one."""
    path, band, dots = points, "", ""
    if len(points) > MANY:
        path, low, high = _thin(points)
        outline = _path([*high, *reversed(low)], x, y)
        band = f'<path d="{outline}Z" style="fill:{colour};opacity:.16"/>'
    elif len(points) <= DOTTED:
        dots = "".join(
            f'<circle cx="{x(px):.1f}" cy="{y(py):.1f}" r="3" style="fill:{colour}">'
            f"<title>{escape(name)} at {px:.10g}: {py:.4g}</title></circle>"
            for px, py in points
        )
    style = f"fill:none;stroke:{colour};stroke-width:2;stroke-linejoin:round;stroke-linecap:round"
    tip = f"<title>{escape(name)}: {_summary(points)}</title>"
    return f'<g>{tip}{band}<path d="{_path(path, x, y)}" style="{style}"/>{dots}</g>'


def _path(points: Sequence[Point], x: Axis, y: Axis) -> str:
    return "M" + "L".join(f"{x(px):.1f} {y(py):.1f}" for px, py in points)


def _thin(points: list[Point]) -> tuple[list[Point], list[Point], list[Point]]:
    """Means, lowest and highest values of `MANY` groups of neighbours, each at the middle of its group."""
    bounds = [i * len(points) // MANY for i in range(MANY + 1)]
    groups = [points[first:last] for first, last in pairwise(bounds)]
    middles = [math.fsum(x for x, _ in group) / len(group) for group in groups]
    ys = [[y for _, y in group] for group in groups]
    means = [math.fsum(group) / len(group) for group in ys]
    mean, low, high = (list(zip(middles, values, strict=True)) for values in (means, map(min, ys), map(max, ys)))
    return mean, low, high


def _legend(entries: Iterable[str], width: int) -> tuple[str, float]:
    """A coloured stroke and the text of each entry, in as many rows as they need; and where they end."""
    parts, x, y = [], 0.0, 36.0
    for i, text in enumerate(entries):
        needed = 36 + LETTER * len(text)
        if x > 0 and x + needed > width:
            x, y = 0.0, y + 19
        parts.append(stroke(f"M{x:.1f} {y - 4.5}h14", colour_of(i), ";stroke-width:3"))
        parts.append(text_at(x + 20, y, text, "start"))
        x += needed
    return "".join(parts), y


def _summary(points: list[Point]) -> str:
    values = [y for _, y in points]
    return f"last {values[-1]:.4g}, lowest {min(values):.4g}, highest {max(values):.4g}, {len(values)} points"


# ----------------------------------------------------------------------------------------------------------- scatter

HIGH = 15  # pixels of a line of text


def scatter_chart(
    groups: Mapping[str, Mapping[str, Point]], *, title: str, x_label: str, size: tuple[int, int] = (760, 460)
) -> str:
    """An SVG of points with their names, on logarithmic axes, one colour a group. Less is better in both directions.

    A broken line joins those that no other beats in both. A name for which there is no room is a tooltip only.
    """
    named = [(name, i, point) for i, group in enumerate(groups.values()) for name, point in group.items()]
    points = [point for _, _, point in named]
    if not points:
        return chart_svg(title, "no points", size, text_at(size[0] / 2, size[1] / 2, "No points", "middle"))
    legend, top = _legend(groups, size[0])
    x, y = _axes([points], x_log=True, y_log=True, size=size, top=top)
    front = pareto_front(points)
    line = stroke(_path(front, x, y), INK, ";fill:none;stroke-dasharray:4 4") if len(front) > 1 else ""
    places = [(x(px), y(py)) for px, py in points]
    parts, taken = [], [(px - 5, py - 5, px + 5, py + 5) for px, py in places]
    for (name, i, (px, py)), (left, up) in zip(named, places, strict=True):
        tip = f"<title>{escape(name)}: {px:.4g}, {py:.4g}</title>"
        parts.append(f'<circle cx="{left:.1f}" cy="{up:.1f}" r="4" style="fill:{colour_of(i)}">{tip}</circle>')
        wide = LETTER * len(name)
        for dx, dy, anchor in ((8, 4, "start"), (-8, 4, "end"), (0, -8, "middle"), (0, 17, "middle")):
            begin = left + dx - wide * {"start": 0, "middle": 0.5, "end": 1}[anchor]
            box = (begin, up + dy - HIGH + 4, begin + wide, up + dy + 4)
            inside = x.start < box[0] and box[2] < size[0] and box[1] > y.end
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                parts.append(text_at(left + dx, up + dy, name, anchor))
                break
    return chart_svg(title, f"{len(points)} points", size, legend + _frame(x, y, x_label) + line + "".join(parts))


def pareto_front(points: Iterable[Point]) -> list[Point]:
    """The points that no other beats in both directions, from left to right; less is better."""
    ordered = sorted(points)
    return [point for i, point in enumerate(ordered) if all(point[1] < earlier[1] for earlier in ordered[:i])]


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


# -------------------------------------------------------------------------------------------------------------- dots

WIDTH, ROW_HEIGHT = 380, 26  # pixels; wide enough for a phone's screen to show letters at their size
TOP, BOTTOM = 30, 26  # of the title, and of the axis below
LONGEST = 22  # letters of a name; longer ones lose their middle, their tooltips do not
END = 14  # letters that are kept of such a name's end, which tells rows apart


@dataclass(frozen=True)
class Marks:
    """A value with its interval and single measurements around it; what is not finite is left out."""

    value: float
    low: float = math.nan
    high: float = math.nan
    dots: tuple[float, ...] = ()


def dot_chart(rows: Mapping[str, Marks], *, title: str, zero: bool = False) -> str:
    """An SVG of one line a row, in their order; with `zero` the axis holds 0 and marks it."""
    rows = {name: marks for name, marks in rows.items() if math.isfinite(marks.value)}
    end = TOP + ROW_HEIGHT * len(rows)
    size = WIDTH, end + BOTTOM
    if not rows:
        return chart_svg(title, "no values", size, text_at(WIDTH / 2, size[1] / 2, "No finite values", "middle"))
    numbers = [number for one in rows.values() for number in (one.value, one.low, one.high, *one.dots)]
    values = [number for number in numbers if math.isfinite(number)] + ([0.0] if zero else [])
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or abs(low) / 10 or 1.0
    x = Axis(low - room, high + room, LETTER * min(max(map(len, rows)), LONGEST) + 12, WIDTH - 8.0)
    parts = []
    for tick in x.ticks(4):
        parts.append(stroke(f"M{x(tick):.1f} {TOP}V{end}", GRID))
        parts.append(text_at(x(tick), end + 18, tick_text(tick), "middle"))
    if zero:
        parts.append(stroke(f"M{x(0):.1f} {TOP}V{end}", INK, ";stroke-dasharray:3 3"))
    for i, (name, marks) in enumerate(rows.items()):
        parts.append(_row(name, marks, x, TOP + ROW_HEIGHT * (i + 0.5), colour_of(i)))
    summary = "; ".join(f"{name}: {marks.value:.4g}" for name, marks in rows.items())
    return chart_svg(title, summary, size, "".join(parts))


def _row(name: str, marks: Marks, x: Axis, y: float, colour: str) -> str:
    """A name, the bar of an interval, small dots of single measurements, a large one of the value."""
    label = name if len(name) <= LONGEST else f"{name[: LONGEST - END - 1]}…{name[-END:]}"
    interval = f" [{marks.low:.4g}, {marks.high:.4g}]" if math.isfinite(marks.low + marks.high) else ""
    parts = [f"<title>{escape(f'{name}: {marks.value:.4g}{interval}')}</title>", text_at(0, y + 4.5, label, "start")]
    if interval:
        parts.append(stroke(f"M{x(marks.low):.1f} {y:.1f}H{x(marks.high):.1f}", colour, ";stroke-width:3"))
    for dot in filter(math.isfinite, marks.dots):
        parts.append(f'<circle cx="{x(dot):.1f}" cy="{y:.1f}" r="3" style="fill:none;stroke:{colour}"/>')
    parts.append(f'<circle cx="{x(marks.value):.1f}" cy="{y:.1f}" r="5" style="fill:{colour}"/>')
    return f"<g>{''.join(parts)}</g>"


# --------------------------------------------------------------------------------------------------------- histogram

MARGIN = 40  # pixels above the bars and below them


def error_chart(bounds: Sequence[float], pixels: Sequence[int], title: str) -> str:
    """An SVG of how many pixels have which relative error (p - t) / t.

    Args:
        bounds: Between the bins, (N - 1,), from the lowest; the outer bins are open.
        pixels: In each bin, (N,).
    """
    width, height = CHART_SIZE
    total, most = max(sum(pixels), 1), max(*pixels, 1)
    step, room, floor = width / len(pixels), height - 2 * MARGIN, height - MARGIN
    inner = [f"{low:+.0%} to {high:+.0%}" for low, high in pairwise(bounds)]
    ranges = [f"below {bounds[0]:+.0%}", *inner, f"above {bounds[-1]:+.0%}"]
    parts = []
    for i, (label, count) in enumerate(zip(ranges, pixels, strict=True)):
        tall = room * count / most
        parts.append(
            f'<rect x="{i * step + 1:.1f}" y="{floor - tall:.1f}" width="{step - 2:.1f}" height="{tall:.1f}" '
            f'style="fill:{colour_of(0)}"><title>{label}: {count / total:.1%} of pixels</title></rect>'
        )
    parts.append(stroke(f"M0 {floor}H{width}", INK))
    for x, text, anchor in ((0, "too near", "start"), (width / 2, "right", "middle"), (width, "too far", "end")):
        parts.append(text_at(x, floor + 36, text, anchor))
    ticks = [(i + 1, bound) for i, bound in enumerate(bounds) if i % 4 == 1 and bound]
    parts += [text_at(i * step, floor + 18, f"{bound:+.0%}", "middle") for i, bound in ticks]
    near = sum(pixels[: len(pixels) // 2]) / total
    summary = f"{near:.0%} of pixels nearer than the truth; most in one bar {most / total:.0%}"
    return chart_svg(title, summary, CHART_SIZE, "".join(parts))
