"""Results side by side: for the terminal, for Markdown, for HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from rich.table import Table
from rich.text import Text

HIGHER_IS_BETTER = ("d1", "d2", "d3")
LOWER_IS_BETTER = ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog", "mae")
LABELS = {
    "d1": "δ<sub>1</sub>",
    "d2": "δ<sub>2</sub>",
    "d3": "δ<sub>3</sub>",
    "abs_rel": "AbsRel",
    "sq_rel": "SqRel (m)",
    "rmse": "RMSE (m)",
    "rmse_log": "RMSE log",
    "log10": "log<sub>10</sub>",
    "silog": "SIlog",
    "mae": "MAE (m)",
}
ABSENT = "–"
FEW = 3  # models whose names fit beside each other on a line of 80 characters, where ten metrics would not
UNKNOWN_PROTOCOL = "† protocol unknown (no fingerprint): shown for orientation, not compared"


@dataclass(frozen=True)
class Row:
    """One model's results.

    Attributes:
        fingerprint: The protocol's.
        extra: Further columns as text ("latency").
        texts: How a metric is shown, where it is more than its number.
        bold: Metrics in bold; None where that is the best value of each column.
    """

    name: str
    metrics: dict[str, float]
    fingerprint: str | None = None
    extra: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    bold: frozenset[str] | None = None


@dataclass(frozen=True)
class Cell:
    text: str
    best: bool = False


@dataclass(frozen=True)
class Grid:
    """What every form of the table shows: metric names, further columns, and each row's cells in that order."""

    metrics: list[str]
    extras: list[str]
    rows: list[tuple[str, list[Cell]]]
    note: str


def results_table(rows: Sequence[Row], title: str) -> Table:
    """The table for a terminal, the best value of each metric in bold: models run across where there are `FEW`.

    Raises:
        ValueError: If two rows have different fingerprints.
    """
    grid = _grid(rows)
    heads = [Text(name) for name in ("", *map(_with_arrow, grid.metrics), *grid.extras)]
    lines = [heads]
    for name, cells in grid.rows:
        lines.append([Text(name), *(Text(cell.text, style="bold" if cell.best else "") for cell in cells)])
    if len(rows) <= FEW:
        lines = [list(line) for line in zip(*lines, strict=True)]
    table = Table(title=Text(title), caption=Text(grid.note) if grid.note else None, title_justify="left")
    for index, head in enumerate(lines[0]):
        table.add_column(
            head, justify="right" if index else "left", overflow="fold"
        )  # names are told apart by their ends
    for line in lines[1:]:
        table.add_row(*line)
    return table


def markdown_table(rows: Sequence[Row]) -> str:
    """The table in Markdown; raises as `results_table` does."""
    grid = _grid(rows)
    columns = [*map(_with_arrow, grid.metrics), *grid.extras]
    lines = [["", *map(_markdown_text, columns)], [":--", *["--:"] * len(columns)]]
    for name, cells in grid.rows:
        texts = [_markdown_text(cell.text) for cell in cells]
        bold = [f"**{text}**" if cell.best else text for text, cell in zip(texts, cells, strict=True)]
        lines.append([_markdown_text(name), *bold])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{grid.note}\n" if grid.note else f"{table}\n"


def html_table(rows: Sequence[Row]) -> str:
    """The table in HTML, everything in it escaped; raises as `results_table` does."""
    grid = _grid(rows)
    heads = [_html_head(name) for name in grid.metrics]
    heads += [f'<th scope="col">{escape(name)}</th>' for name in grid.extras]
    body = []
    for name, cells in grid.rows:
        values = (f"<b>{escape(cell.text)}</b>" if cell.best else escape(cell.text) for cell in cells)
        body.append(
            f'<tr><th scope="row">{_breakable(name)}</th>{"".join(f"<td>{value}</td>" for value in values)}</tr>'
        )
    note = f"<caption><span>{escape(grid.note)}</span></caption>" if grid.note else ""
    head = f'<tr><th scope="col">Model</th>{"".join(heads)}</tr>'
    return f'<table class="results">{note}<thead>{head}</thead><tbody>{"".join(body)}</tbody></table>'


def _breakable(name: str) -> str:
    """An escaped name that breaks behind a comma, a slash or an equals sign rather than within a word."""
    return re.sub(r"([,/=])(?=\S)", r"\1<wbr>", escape(name))


def common_fingerprint(rows: Iterable[Row]) -> str | None:
    """The fingerprint that all rows share; rows without one do not count.

    Raises:
        ValueError: If there are two.
    """
    known = [row for row in rows if row.fingerprint]
    for row in known[1:]:
        if row.fingerprint != known[0].fingerprint:
            raise ValueError(
                f"{known[0].name!r} was measured by protocol {known[0].fingerprint}, {row.name!r} by "
                f"{row.fingerprint}: their metrics do not compare. Evaluate both by one protocol"
            )
    return known[0].fingerprint if known else None


def metric_text(value: float) -> str:
    """Four significant digits: 0.06512, 2.720, 12345."""
    if not math.isfinite(value):
        return str(float(value))
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.4g}"


def spread_text(mean: float, deviation: float) -> str:
    """A mean and its standard deviation, where there is one, to the same digit: 0.3012 ± 0.0021."""
    text = metric_text(mean)
    if not math.isfinite(deviation):
        return text
    return f"{text} ± {deviation:.{len(text.partition('.')[2])}f}"


def difference_text(difference: float, low: float, high: float) -> str:
    """A change and its interval, to two digits of the interval's half: −0.012 [−0.020, −0.004]."""
    unsure = max(high - difference, difference - low)
    scale = unsure if math.isfinite(unsure) and unsure > 0 else abs(difference) / 100
    digits = min(max(1 - math.floor(math.log10(scale)), 0), 9) if math.isfinite(scale) and scale > 0 else 0
    value, *ends = (f"{number:+.{digits}f}".replace("-", "−") for number in (difference, low, high))
    return f"{value} [{', '.join(ends)}]" if math.isfinite(unsure) else value


def _grid(rows: Sequence[Row]) -> Grid:
    fingerprint = common_fingerprint(rows)
    options = {name: None for row in rows for name in row.metrics}
    known = [name for name in (*HIGHER_IS_BETTER, *LOWER_IS_BETTER) if name in options]
    metrics = known + [name for name in options if name not in known]
    extras = list({name: None for row in rows for name in row.extra})
    compared = [row for row in rows if row.fingerprint == fingerprint]
    best = {name: _best(name, compared) for name in metrics}
    lines = []
    for row in rows:
        competes = row.fingerprint == fingerprint
        cells = [_metric_cell(row, name, best[name] if competes else None) for name in metrics]
        cells += [Cell(row.extra.get(name, ABSENT)) for name in extras]
        lines.append((row.name if competes else f"{row.name} †", cells))
    return Grid(metrics, extras, lines, UNKNOWN_PROTOCOL if len(compared) < len(rows) else "")


def _best(name: str, rows: Sequence[Row]) -> str | None:
    """The best value of a metric as it is shown; None where there are no two to compare or no better to know."""
    finite = [row.metrics[name] for row in rows if math.isfinite(row.metrics.get(name, math.nan))]
    if len(rows) < 2 or not finite or name not in LABELS:
        return None
    return metric_text(max(finite) if name in HIGHER_IS_BETTER else min(finite))


def _metric_cell(row: Row, name: str, best: str | None) -> Cell:
    if name not in row.metrics:
        return Cell(ABSENT)
    text = metric_text(row.metrics[name])
    # What reads the same is equally good.
    return Cell(row.texts.get(name, text), text == best if row.bold is None else name in row.bold)


def _with_arrow(name: str) -> str:
    return f"{name} {'↑' if name in HIGHER_IS_BETTER else '↓'}" if name in LABELS else name


def _html_head(name: str) -> str:
    if name not in LABELS:
        return f'<th scope="col">{escape(name)}</th>'
    better, arrow = ("higher", "↑") if name in HIGHER_IS_BETTER else ("lower", "↓")
    hint = f'<span class="arrow" role="img" aria-label="{better} is better">{arrow}</span>'
    return f'<th scope="col" title="{name}, {better} is better">{LABELS[name]} {hint}</th>'


def _markdown_text(text: str) -> str:
    """Text that cannot end its cell, start a tag or become bold."""
    for char in "\\|*`<[":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split())
