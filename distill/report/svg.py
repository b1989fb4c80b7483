"""What charts are drawn with: inline SVG, readable without a script, in colours that the page around it may set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape as escape_html

from distill.console import printable

# Custom properties with a default each, so that a chart is also readable on its own.
COLOURS = ("#3565c4", "#c4532c", "#2c8a63", "#8a55b8", "#a87a12", "#b23a6e")
INK, GRID = "var(--chart-ink, #6b7280)", "var(--chart-grid, #8883)"
FONT = "font:13px system-ui, sans-serif; font-variant-numeric:tabular-nums"
CHART_START = '<svg xmlns="http://www.w3.org/2000/svg" class="chart"'
LETTER = 7.2  # pixels of an average letter of that font


def escape(text: str) -> str:
    """A text inside an SVG file, which takes no control characters."""
    return escape_html(printable(text))


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
        if self.log and len(ticks := self._log_ticks(count)) > 1:
            return ticks
        step = round_step(self.high - self.low, count)
        first, last = math.ceil(self.low / step - 1e-6), math.floor(self.high / step + 1e-6)
        return [float(f"{i * step:.10g}") for i in range(first, last + 1)]  # 3 * 0.1 is 0.30000000000000004

    def _log_ticks(self, count: int) -> list[float]:
        """Of 1, 2, 5 times powers of ten, or the powers alone, or some of them."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for multiples in ((1, 2, 5), (1,)):
            values = [float(f"{m}e{e}") for e in powers for m in multiples]
            ticks = [value for value in values if self.low <= value <= self.high]
            if len(ticks) <= count + 2:
                return ticks
        return ticks[:: math.ceil(len(ticks) / (count + 2))]


def round_step(span: float, count: int) -> float:
    """The smallest of 1, 2, 5, 10, 20 ... (or 0.5, 0.2 ...) that fits into the span at most about `count` times."""
    least = span / (count + 0.5)
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least)


def tick_text(value: float) -> str:
    """A tick's text: 2M, 20k, 0.05, 1e-5."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if unit <= abs(value) < 1000 * unit:
            return f"{value / unit:g}{letter}"
    return f"{value:.10g}".replace("e-0", "e-").replace("e+0", "e")


def chart_svg(title: str, summary: str, size: tuple[int, int], body: str) -> str:
    """An SVG of (width, height) pixels around finished `body`; a screen reader reads `summary` in its place."""
    return (
        f'{CHART_START} viewBox="0 0 {size[0]} {size[1]}" role="img" '
        f'aria-label="{escape(f"{title}. {summary}")}" style="{FONT}">'
        f'<text x="0" y="15" style="font-weight:600;fill:currentColor">{escape(title)}</text>{body}</svg>'
    )


def text_at(x: float, y: float, text: str, anchor: str) -> str:
    """A text whose "start", "middle" or "end" is at these pixels."""
    return f'<text x="{x:.1f}" y="{y:.1f}" style="text-anchor:{anchor};fill:{INK}">{escape(text)}</text>'


def stroke(path: str, colour: str, more: str = "") -> str:
    """A line along an SVG path; `more` is further style."""
    return f'<path d="{path}" style="stroke:{colour}{more}"/>'


def colour_of(index: int) -> str:
    """The colour of a chart's line or row, which repeat after the last."""
    index %= len(COLOURS)
    return f"var(--series-{index + 1}, {COLOURS[index]})"
