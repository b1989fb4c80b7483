"""Results side by side: for the terminal, for Markdown, for HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from distill.console import printable

# The metrics of evaluation, in the order of columns, with what HTML calls them.
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
    "miou": "mIoU",
    "pixel_accuracy": "Pixel accuracy",
}
OF_CLASSES = ("miou", "pixel_accuracy")
HIGHER_IS_BETTER = ("d1", "d2", "d3", *OF_CLASSES)
SHORT = ("abs_rel", "rmse", "d1")  # metrics where there is no room for all
ABSENT = "–"
FEW = 3  # models whose names fit beside each other on a line of 80 characters, where ten metrics would not
LONG = 24  # characters of a name that has a line of its own where there are 80
UNKNOWN_PROTOCOL = "† protocol unknown or different, or other images: shown for orientation, not compared"


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
    """What a table shows at one place; the best value of its column is in bold, what does not compare is faint."""

    text: str
    best: bool = False
    faint: bool = False

    @property
    def style(self) -> str:
        """How a terminal shows it."""
        return "bold" if self.best else "dim" if self.faint else ""


Line = list[Cell]


def results_table(rows: Sequence[Row], title: str) -> Table:
    """The table for a terminal, the best value of each metric in bold: models run across where there are `FEW`.

    Raises:
        ValueError: If two rows have different fingerprints.
    """
    names, lines, note = _grid(rows)
    lines = [[Cell(""), *(Cell(with_arrow(name)) for name in names)], *lines]
    if len(rows) <= FEW:
        lines = [list(line) for line in zip(*lines, strict=True)]
    return terminal_table(lines, title, note)


def markdown_table(rows: Sequence[Row]) -> str:
    """The table in Markdown; raises as `results_table` does."""
    names, lines, note = _grid(rows)
    texts = [["", *(markdown_text(with_arrow(name)) for name in names)], [":--", *["--:"] * len(names)]]
    for line in lines:
        marked = ((markdown_text(cell.text), "**" if cell.best else "") for cell in line)
        texts.append([f"{bold}{text}{bold}" for text, bold in marked])
    table = "\n".join(f"| {' | '.join(line)} |" for line in texts)
    return f"{table}\n\n{note}\n" if note else f"{table}\n"


def html_table(rows: Sequence[Row]) -> str:
    """The table in HTML, everything in it escaped; raises as `results_table` does."""
    names, lines, note = _grid(rows)
    heads = ['<th scope="col">Model</th>', *map(_html_head, names)]
    return _html(heads, lines, f"<caption><span>{escape(note)}</span></caption>" if note else "")


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


def _grid(rows: Sequence[Row]) -> tuple[list[str], list[Line], str]:
    """What every form of the table shows: names of columns, the cells of each row behind its name, a note."""
    fingerprint = common_fingerprint(rows)
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    metrics.sort(key=lambda name: list(LABELS).index(name) if name in LABELS else len(LABELS))
    extras = list(dict.fromkeys(name for row in rows for name in row.extra))
    compared = [row for row in rows if row.fingerprint == fingerprint]
    best = {name: _best(name, compared) for name in metrics}
    lines = []
    for row in rows:
        competes = row.fingerprint == fingerprint
        cells = [Cell(row.name if competes else f"{row.name} †")]
        for name in metrics:
            if name not in row.metrics:
                cells.append(Cell(ABSENT))
                continue
            text = metric_text(row.metrics[name])
            # What reads the same is equally good.
            bold = competes and text == best[name] if row.bold is None else name in row.bold
            cells.append(Cell(row.texts.get(name, text), bold))
        cells += [Cell(row.extra.get(name, ABSENT)) for name in extras]
        lines.append(cells if competes else [replace(cell, faint=True) for cell in cells])
    return metrics + extras, lines, UNKNOWN_PROTOCOL if len(compared) < len(rows) else ""


def _best(name: str, rows: Sequence[Row]) -> str | None:
    """The best value of a metric as it is shown; None where there are no two to compare or no better to know."""
    finite = [row.metrics[name] for row in rows if math.isfinite(row.metrics.get(name, math.nan))]
    if len(rows) < 2 or not finite or name not in LABELS:
        return None
    return metric_text(max(finite) if name in HIGHER_IS_BETTER else min(finite))


def terminal_table(
    lines: Iterable[Iterable[Cell | str]],
    title: str = "",
    caption: str = "",
    sections: Collection[int] = (),
    justify: JustifyMethod = "right",
) -> Table:
    """A table for a terminal, its heads the first line; nothing in a text is taken for markup.

    Columns are folded where the screen is narrow, as the ends of names tell them apart, the first one last. A rule
    follows the lines whose numbers are in `sections`, counted from 1 behind the heads.
    """
    cells = ([Cell(cell) if isinstance(cell, str) else cell for cell in line] for line in lines)
    heads, *rest = ([_text(cell.text, cell.style) for cell in line] for line in cells)
    whole = max(line[0].cell_len for line in (heads, *rest)) <= LONG
    table = Table(title=_text(title) if title else None, title_justify="left")
    table.caption = _text(caption) if caption else None
    for index, head in enumerate(heads):
        first = index == 0
        table.add_column(head, justify="left" if first else justify, overflow="fold", no_wrap=first and whole)
    for number, line in enumerate(rest, start=1):
        table.add_row(*line, end_section=number in sections)
    return table


def _text(content: str, style: str = "") -> Text:
    return Text(printable(content), style=style)


def html_lines(lines: Iterable[Sequence[str]]) -> str:
    """A table in HTML, its heads the first line, of which metrics get their labels; everything is escaped."""
    heads, *rest = lines
    cells = [f'<th scope="col">{LABELS.get(head) or escape(head)}</th>' for head in heads]
    return _html(cells, [list(map(Cell, line)) for line in rest])


def _html(heads: Iterable[str], lines: Iterable[Line], caption: str = "") -> str:
    body = []
    for name, *cells in lines:
        values = (f"<b>{escape(cell.text)}</b>" if cell.best else escape(cell.text) for cell in cells)
        # A name breaks behind a comma, a slash or an equals sign rather than within a word.
        row = re.sub(r"([,/=])(?=\S)", r"\1<wbr>", escape(name.text))
        start = '<tr class="faint">' if name.faint else "<tr>"
        body.append(f'{start}<th scope="row">{row}</th>{"".join(f"<td>{value}</td>" for value in values)}</tr>')
    head = f"<thead><tr>{''.join(heads)}</tr></thead>"
    return f'<table class="results">{caption}{head}<tbody>{"".join(body)}</tbody></table>'


def metric_text(value: float) -> str:
    """Four significant digits: 0.06512, 2.720, 12345."""
    if not math.isfinite(value):
        return str(float(value))
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.4g}"


def short_text(metrics: Mapping[str, float]) -> str:
    """The most important metrics in a line: abs_rel 0.05812, rmse 2.321, d1 0.9642."""
    return ", ".join(f"{name} {metrics[name]:.4g}" for name in short_names(metrics))


def short_names(metrics: Collection[str]) -> list[str]:
    """The most important of some metrics, be they of depth or of classes."""
    return [name for name in (*SHORT, *OF_CLASSES) if name in metrics]


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


def direction(metric: str) -> str:
    """How to read a metric of evaluation."""
    return "higher is better" if metric in HIGHER_IS_BETTER else "lower is better"


def with_arrow(name: str) -> str:
    """A column's name, behind that of a metric which way is better."""
    return f"{name} {'↑' if name in HIGHER_IS_BETTER else '↓'}" if name in LABELS else name


def _html_head(name: str) -> str:
    if name not in LABELS:
        return f'<th scope="col">{escape(name)}</th>'
    better, arrow = direction(name), with_arrow(name)[-1]
    hint = f'<span class="arrow" role="img" aria-label="{better}">{arrow}</span>'
    return f'<th scope="col" title="{name}, {better}">{LABELS[name]} {hint}</th>'


def markdown_text(text: str) -> str:
    """Text that cannot end its cell, start a tag or become bold."""
    for char in "\\|*`<[":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split())
