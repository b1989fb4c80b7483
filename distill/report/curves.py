"""Curves of a run as inline SVG: readable without a script, in colours that the page around them may set."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

Point = tuple[float, float]
Series = dict[str, list[Point]]

# Custom properties with a default each, so that a chart is also readable on its own.
COLOURS = ("#3565c4", "#c4532c", "#2c8a63", "#8a55b8", "#a87a12", "#b23a6e")
INK, GRID = "var(--chart-ink, #6b7280)", "var(--chart-grid, #8883)"
FONT = "font:13px system-ui, sans-serif; font-variant-numeric:tabular-nums"
LETTER = 7.2  # pixels of an average letter of that font

MANY = 160  # points; above, a line shows the mean of neighbours over the band of their extremes
DOTTED = 40  # points; up to here each is a dot with its value as a tooltip

LOSSES = {"loss": "loss", "task": "task", "ghost": "ghost"}
VALIDATION = {"abs_rel": "lower is better", "rmse": "m, lower is better", "d1": "higher is better"}
CHART_SIZE = (380, 240)  # small enough for letters to stay legible where a phone scales the chart down


@dataclass(frozen=True)
class Axis:
    """One direction of a chart: values from `low` to `high` are drawn from pixel `start` to pixel `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        return self.start + self.place(value) * (self.end - self.start)

    def place(self, value: float) -> float:
        """0 at `low`, 1 at `high`."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, count: int) -> list[float]:
        """About `count` round numbers within the limits."""
        result = _log_ticks(self.low, self.high, count) if self.log else []
        return result or _linear_ticks(self.low, self.high, count)


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
    lines = {name: _drawable(points, x_log, y_log) for name, points in series.items()}
    lines = {name: points for name, points in lines.items() if points}
    width, height = size
    legend, top = _legend(lines, width)
    summary = "; ".join(f"{name}: {_summary(points)}" for name, points in lines.items()) or "no points"
    if lines:
        x, y = _axes(lines.values(), x_log, y_log, (width, height), top)
        body = _frame(x, y, x_label) + "".join(_line(*item, x, y, colour_of(i)) for i, item in enumerate(lines.items()))
    else:
        body = text_at(width / 2, height / 2, "No finite values", "middle")
    return chart_svg(title, summary, size, legend + body)


def chart_svg(title: str, summary: str, size: tuple[int, int], body: str) -> str:
    """An SVG of (width, height) pixels around finished `body`; `summary` is what a screen reader says of it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {size[0]} {size[1]}" role="img" '
        f'aria-label="{escape(f"{title}. {summary}")}" style="{FONT}">'
        f'<text x="0" y="15" style="font-weight:600;fill:currentColor">{escape(title)}</text>{body}</svg>'
    )


# -------------------------------------------------------------------------------------------------------------- axes


def _axes(
    lines: Iterable[list[Point]], x_log: bool, y_log: bool, size: tuple[int, int], top: float
) -> tuple[Axis, Axis]:
    """The two axes around all points, the vertical one ending at round numbers."""
    points = [point for line in lines for point in line]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = _widen(min(ys), max(ys), y_log)
    if not y_log:
        step = _round_step(high - low, 4)  # a value that is above a round number by rounding alone gets no room
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


def _round_step(span: float, count: int) -> float:
    """The smallest of 1, 2, 5, 10, 20 ... (or 0.5, 0.2 ...) that fits into the span at most about `count` times."""
    least = span / (count + 0.5)
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least)


def _linear_ticks(low: float, high: float, count: int) -> list[float]:
    step = _round_step(high - low, count)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [float(f"{i * step:.10g}") for i in range(first, last + 1)]  # 3 * 0.1 is 0.30000000000000004


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    """Of 1, 2, 5 times powers of ten, or the powers alone, or some of them; none where fewer than two fit."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1, 2, 5), (1,)):
        ticks = [float(f"{m}e{e}") for e in powers for m in multiples if low <= float(f"{m}e{e}") <= high]
        if len(ticks) <= count + 2:
            break
    return ticks[:: math.ceil(len(ticks) / (count + 2))] if len(ticks) > 1 else []


def tick_text(value: float) -> str:
    """A tick's text: 2M, 20k, 0.05, 1e-5."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if unit <= abs(value) < 1000 * unit:
            return f"{value / unit:g}{letter}"
    return f"{value:.10g}".replace("e-0", "e-").replace("e+0", "e")


# ------------------------------------------------------------------------------------------------------------- marks


def _frame(x: Axis, y: Axis, x_label: str) -> str:
    """Grid lines with their numbers, and the label of the horizontal axis."""
    parts = []
    for tick in y.ticks(4):
        parts.append(f'<path d="M{x.start:.1f} {y(tick):.1f}H{x.end:.1f}" style="stroke:{GRID}"/>')
        parts.append(text_at(x.start - 7, y(tick) + 4.5, tick_text(tick), "end"))
    for tick in x.ticks(int((x.end - x.start) / 48)):
        parts.append(f'<path d="M{x(tick):.1f} {y.start:.1f}v4" style="stroke:{INK}"/>')
        anchor = "end" if x.place(tick) > 0.97 else "middle"
        parts.append(text_at(x(tick), y.start + 18, tick_text(tick), anchor))
    parts.append(f'<path d="M{x.start:.1f} {y.start:.1f}H{x.end:.1f}" style="stroke:{INK}"/>')
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
        tip = f"{escape(name)} at {{}}: {{}}"
        dots = "".join(
            f'<circle cx="{x(px):.1f}" cy="{y(py):.1f}" r="3" style="fill:{colour}">'
            f"<title>{tip.format(f'{px:.10g}', f'{py:.4g}')}</title></circle>"
            for px, py in points
        )
    stroke = f"fill:none;stroke:{colour};stroke-width:2;stroke-linejoin:round;stroke-linecap:round"
    tip = f"<title>{escape(name)}: {_summary(points)}</title>"
    return f'<g>{tip}{band}<path d="{_path(path, x, y)}" style="{stroke}"/>{dots}</g>'


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


def _legend(lines: Series, width: int) -> tuple[str, float]:
    """A coloured stroke, the name and the last value of each line, in as many rows as they need; and where they end."""
    parts, x, y = [], 0.0, 36.0
    for i, (name, points) in enumerate(lines.items()):
        text = f"{name} {points[-1][1]:.4g}"
        needed = 36 + LETTER * len(text)
        if x > 0 and x + needed > width:
            x, y = 0.0, y + 19
        parts.append(f'<path d="M{x:.1f} {y - 4.5}h14" style="stroke:{colour_of(i)};stroke-width:3"/>')
        parts.append(text_at(x + 20, y, text, "start"))
        x += needed
    return "".join(parts), y


def text_at(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" style="text-anchor:{anchor};fill:{INK}">{escape(text)}</text>'


def colour_of(index: int) -> str:
    index %= len(COLOURS)
    return f"var(--series-{index + 1}, {COLOURS[index]})"


def _summary(points: list[Point]) -> str:
    values = [y for _, y in points]
    return f"last {values[-1]:.4g}, lowest {min(values):.4g}, highest {max(values):.4g}, {len(values)} points"


def _drawable(points: Iterable[Point], x_log: bool, y_log: bool) -> list[Point]:
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    return [(x, y) for x, y in finite if (x > 0 or not x_log) and (y > 0 or not y_log)]


# -------------------------------------------------------------------------------------------------------------- runs


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl, one JSON object a line; an interrupted line is left out.

    A killed run may leave its last line unfinished, and a resumed one writes after it: one elsewhere is warned of.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").split("\n")
    records = []
    for number, line in enumerate(lines, start=1):
        record = _json_object(line)
        if record is not None:
            records.append(record)
        elif line.strip() and number < len(lines):
            warnings.warn(f"{path}, line {number} is no JSON object and is left out: {line[:60]!r}", stacklevel=2)
    return records


def run_charts(records: Sequence[dict[str, Any]]) -> list[str]:
    """Charts of a run's losses, validation metrics, learning rate and LAM entropy, as far as it recorded them."""
    train = {name: points_of(records, "train", name) for name in sorted({key for record in records for key in record})}
    charts = [
        _chart({LOSSES[name]: train.get(name, []) for name in LOSSES}, "Training losses", y_log=True),
        _chart({"kd": train.get("kd", [])}, "Distillation loss", y_log=True),
    ]
    for name, hint in VALIDATION.items():
        charts.append(_chart({name: points_of(records, "val", name)}, f"Validation {name} ({hint})"))
    entropies = [name for name in train if name.startswith("lam_entropy_")]
    entropies.sort(key=lambda name: (len(name), name))
    strides = {f"stride {name.removeprefix('lam_entropy_')}": train[name] for name in entropies}
    charts.append(_chart(strides, "LAM entropy (1: all positions alike)"))
    charts.append(_chart({"lr": train.get("lr", [])}, "Learning rate"))
    return [chart for chart in charts if chart]


def points_of(records: Iterable[dict[str, Any]], kind: str, name: str) -> list[Point]:
    """(step, value) in order of steps. A resumed run repeats some: what it recorded last counts."""
    result = {}
    for record in records:
        step, value = record.get("step"), record.get(name)
        if record.get("kind") == kind and _is_number(step) and _is_number(value):
            result[float(step)] = float(value)  # type: ignore[arg-type]
    return sorted(result.items())


def _chart(series: Series, title: str, y_log: bool = False) -> str:
    options = {name: points for name, points in series.items() if points}
    return line_chart(options, title=title, y_log=y_log, size=CHART_SIZE) if options else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
