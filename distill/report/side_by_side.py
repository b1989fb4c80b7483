"""One model by several protocols: numbers beside each other that are not to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from distill.report.tables import ABSENT, metric_text


@dataclass(frozen=True)
class Column:
    """What one protocol gave: facts about it as text, such as its fingerprint, and the metrics."""

    name: str
    facts: dict[str, str]
    metrics: dict[str, float]


def side_by_side(columns: Sequence[Column], title: str) -> Table:
    """A table for a terminal, a column each. Nothing is in bold: the best of several protocols means nothing."""
    table = Table(title=Text(title), title_justify="left", caption="measured differently: rows do not compare")
    table.add_column("")
    for column in columns:
        *start, first, last = column.name.rsplit("_", 2)
        table.add_column(Text("".join(f"{one}_\n" for one in start) + f"{first}_{last}"), justify="right")
    for row in dict.fromkeys(name for column in columns for name in column.facts):
        table.add_row(row, *(Text(column.facts.get(row, ABSENT)) for column in columns))
    table.add_section()
    for metric in dict.fromkeys(name for column in columns for name in column.metrics):
        table.add_row(metric, *(metric_text(column.metrics[metric]) for column in columns))
    return table
