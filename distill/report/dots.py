"""Values side by side as inline SVG: one line of the chart a row, a dot for its value, a bar for how sure it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from distill.report.curves import GRID, INK, LETTER, Axis, chart_svg, colour_of, text_at, tick_text

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

    def all(self) -> list[float]:
        return [x for x in (self.value, self.low, self.high, *self.dots) if math.isfinite(x)]


def dot_chart(rows: Mapping[str, Marks], *, title: str, zero: bool = False) -> str:
    """An SVG of one line a row, in their order; with `zero` the axis holds 0 and marks it."""
    rows = {name: marks for name, marks in rows.items() if math.isfinite(marks.value)}
    height = TOP + ROW_HEIGHT * len(rows) + BOTTOM
    message = "; ".join(f"{name}: {marks.value:.4g}" for name, marks in rows.items()) or "no values"
    body = _rows(rows, zero) if rows else text_at(WIDTH / 2, height / 2, "No finite values", "middle")
    return chart_svg(title, message, (WIDTH, height), body)


def _rows(rows: Mapping[str, Marks], zero: bool) -> str:
    x = _axis(list(rows.values()), LETTER * min(max(map(len, rows)), LONGEST) + 12, zero)
    end = TOP + ROW_HEIGHT * len(rows)
    parts = []
    for tick in x.ticks(4):
        parts.append(f'<path d="M{x(tick):.1f} {TOP}V{end}" style="stroke:{GRID}"/>')
        parts.append(text_at(x(tick), end + 18, tick_text(tick), "middle"))
    if zero:
        parts.append(f'<path d="M{x(0):.1f} {TOP}V{end}" style="stroke:{INK};stroke-dasharray:3 3"/>')
    for i, (name, marks) in enumerate(rows.items()):
        parts.append(_row(name, marks, x, TOP + ROW_HEIGHT * (i + 0.5), colour_of(i)))
    return "".join(parts)


def _axis(marks: Sequence[Marks], start: float, zero: bool) -> Axis:
    values = [value for one in marks for value in one.all()] + ([0.0] if zero else [])
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or abs(low) / 10 or 1.0
    return Axis(low - room, high + room, start, WIDTH - 8.0)


def _row(name: str, marks: Marks, x: Axis, y: float, colour: str) -> str:
    """A name, the bar of an interval, small dots of single measurements, a large one of the value."""
    label = name if len(name) <= LONGEST else f"{name[: LONGEST - END - 1]}…{name[-END:]}"
    interval = f" [{marks.low:.4g}, {marks.high:.4g}]" if math.isfinite(marks.low + marks.high) else ""
    parts = [f"<title>{escape(f'{name}: {marks.value:.4g}{interval}')}</title>", text_at(0, y + 4.5, label, "start")]
    if interval:
        parts.append(
            f'<path d="M{x(marks.low):.1f} {y:.1f}H{x(marks.high):.1f}" style="stroke:{colour};stroke-width:3"/>'
        )
    for dot in marks.dots:
        if math.isfinite(dot):
            parts.append(f'<circle cx="{x(dot):.1f}" cy="{y:.1f}" r="3" style="fill:none;stroke:{colour}"/>')
    parts.append(f'<circle cx="{x(marks.value):.1f}" cy="{y:.1f}" r="5" style="fill:{colour}"/>')
    return f"<g>{''.join(parts)}</g>"
