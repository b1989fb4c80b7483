"""Where the errors are: a table by distance and at depth edges, and a histogram of relative errors as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from rich.table import Table
from rich.text import Text

from distill.report.curves import CHART_SIZE, INK, chart_svg, text_at
from distill.report.page import PageSection
from distill.report.tables import ABSENT, LABELS, metric_text

SHOWN = ("abs_rel", "rmse", "d1")
TOP, BOTTOM = 40, 40

Breakdown = Mapping[str, Mapping[str, Any]]  # by part: "images", "pixels" and "metrics"


def errors_section(parts: Breakdown, bounds: Sequence[float], pixels: Sequence[int], name: str) -> PageSection:
    """The part of a page that says where a model's errors are: `name` is the model's."""
    chart = error_chart(bounds, pixels, f"Relative error of {name}, pixels of all images")
    box = '<div class="scroll" tabindex="0" role="region" aria-label="Errors by distance and at depth edges">'
    html = f'{box}{breakdown_html(parts)}</div><div class="charts"><div>{chart}</div></div>'
    return PageSection("errors", "Where the errors are", html)


def breakdown_table(parts: Breakdown) -> Table:
    """The table for a terminal."""
    table = Table()
    for head in ("truth", "images", "pixels", *SHOWN):
        table.add_column(head, justify="left" if head == "truth" else "right")
    for line in _lines(parts):
        table.add_row(*map(Text, line))
    return table


def breakdown_html(parts: Breakdown) -> str:
    """The table for a page, everything in it escaped."""
    heads = "".join(f'<th scope="col">{LABELS.get(head, head)}</th>' for head in ("Truth", "images", "pixels", *SHOWN))
    body = []
    for name, *cells in _lines(parts):
        values = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body.append(f'<tr><th scope="row">{escape(name)}</th>{values}</tr>')
    return f'<table class="results"><thead><tr>{heads}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _lines(parts: Breakdown) -> list[list[str]]:
    return [
        [
            name,
            str(part["images"]),
            str(part["pixels"]),
            *(metric_text(part["metrics"][metric]) if metric in part["metrics"] else ABSENT for metric in SHOWN),
        ]
        for name, part in parts.items()
    ]


def error_chart(bounds: Sequence[float], pixels: Sequence[int], title: str) -> str:
    """An SVG of how many pixels have which relative error (p - t) / t.

    Args:
        bounds: Between the bins, (N - 1,), from the lowest; the outer bins are open.
        pixels: In each bin, (N,).
    """
    width, height = CHART_SIZE
    total, most = max(sum(pixels), 1), max(*pixels, 1)
    step, room = width / len(pixels), height - TOP - BOTTOM
    bars = []
    for i, count in enumerate(pixels):
        tall = room * count / most
        label = f"{_range(bounds, i)}: {count / total:.1%} of pixels"
        bars.append(
            f'<rect x="{i * step + 1:.1f}" y="{height - BOTTOM - tall:.1f}" width="{step - 2:.1f}" height="{tall:.1f}" '
            f'style="fill:var(--series-1, #3565c4)"><title>{label}</title></rect>'
        )
    ticks = [(0, "too near", "start"), (width / 2, "right", "middle"), (width, "too far", "end")]
    ticks += [((i + 1) * step, f"{bound:+.0%}", "middle") for i, bound in enumerate(bounds) if i % 4 == 1 and bound]
    texts = "".join(text_at(x, height - BOTTOM + (18 if text[-1] == "%" else 36), text, how) for x, text, how in ticks)
    axis = f'<path d="M0 {height - BOTTOM}H{width}" style="stroke:{INK}"/>'
    near = sum(pixels[: len(pixels) // 2]) / total
    summary = f"{near:.0%} of pixels nearer than the truth; most in one bar {most / total:.0%}"
    return chart_svg(title, summary, (width, height), "".join(bars) + axis + texts)


def _range(bounds: Sequence[float], i: int) -> str:
    if i == 0:
        return f"below {bounds[0]:+.0%}"
    return f"{bounds[i - 1]:+.0%} to {bounds[i]:+.0%}" if i < len(bounds) else f"above {bounds[-1]:+.0%}"
