"""The rows of an ablation's tables: means with their spread, costs, and differences with their intervals."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from rich.table import Table

from distill.ablation.gather import Difference, Line, difference
from distill.ablation.preset import Preset
from distill.evaluation import common_images
from distill.report.tables import Row, difference_text, results_table, short_names, spread_text

MEANING = (
    "± is the standard deviation over seeds.",
    "A difference is the mean over test images, of which each stands with its mean over seeds. Its interval holds 95 % "
    "of what 10000 other draws of the test images give, the same images for both rows.",
    "After the interval: how many of the seeds, taken alone, differ in the same direction. Bold: the interval leaves "
    "out 0 and every seed agrees.",
    "Step, training and latency were measured beside whatever else ran on the machine: compare those of --jobs 1.",
)

Differences = dict[str, dict[str, Difference]]  # by line and metric


@dataclass(frozen=True)
class Tables:
    """Lines, and the differences of each from the first and from the one above it, by its name and metric.

    `to_twins` are those from the rows that the preset names besides, by that row.
    """

    preset: Preset
    lines: list[Line]
    to_first: Differences
    to_above: Differences
    to_twins: dict[str, Differences]
    notes: list[str]

    def sections(self) -> list[tuple[str, list[Row]]]:
        """Headings and rows of the tables of differences."""
        sections = [
            (f"Difference to {self.lines[0].name}", self.difference_rows(self.to_first)),
            ("Difference to the row above", self.difference_rows(self.to_above)),
            *(
                (f"Difference to {twin}", self.difference_rows(differences))
                for twin, differences in self.to_twins.items()
            ),
        ]
        return [(heading, rows) for heading, rows in sections if rows]

    def result_rows(self) -> list[Row]:
        """Means over seeds, and what each line costs."""
        return [result_row(line) for line in self.lines]

    def difference_rows(self, differences: Differences) -> list[Row]:
        return [difference_row(line, differences[line.name]) for line in self.lines if differences.get(line.name)]

    def for_terminal(self) -> list[Table]:
        """A few metrics, and how each line differs from the first."""
        short = short_names(self.lines[0].measures)
        rows = [result_row(line, short, ("seeds", "latency")) for line in self.lines]
        tables = [results_table(rows, " · ".join([self.preset.title, *self.lines[0].protocol]))]
        for heading, rows in self.sections()[:1]:
            few = [replace(row, metrics={metric: row.metrics[metric] for metric in short}) for row in rows]
            tables.append(results_table(few, heading))
        return tables


def make_tables(preset: Preset, lines: list[Line], missing: int, damaged: Sequence[str] = ()) -> Tables:
    """Compute what is shown; `missing` runs are not finished, `damaged` says which cannot be read."""
    results = [one for line in lines for one in line.results.values()]
    left_out = len({name for one in results for name in one.images}) - len(common_images(results))
    notes = [f"{missing} runs are not finished: their seeds are missing here."] if missing else []
    notes += damaged
    notes += [f"{left_out} images are missing in some runs; differences leave them out."] if left_out else []
    to_first = {line.name: difference(lines[0], line) for line in lines[1:]}
    to_above = {line.name: difference(above, line) for above, line in pairwise(lines)}
    return Tables(preset, lines, to_first, to_above, compare_twins(preset, lines), notes)


def compare_twins(preset: Preset, lines: Sequence[Line]) -> dict[str, Differences]:
    """Differences from the rows that the preset names as twins, in the order of the rows."""
    known = {line.name: line for line in lines}
    differences: dict[str, Differences] = {}
    for twin in (line for line in lines if any(line.name in others for others in preset.twins.values())):
        rows = [row for row, others in preset.twins.items() if twin.name in others and row in known]
        differences[twin.name] = {row: difference(twin, known[row]) for row in rows}
    return differences


def result_row(line: Line, metrics: Iterable[str] | None = None, extras: Container[str] | None = None) -> Row:
    """One line with some metrics and some of the further columns, by default all."""
    means = {metric: line.mean(metric) for metric in (line.measures if metrics is None else metrics)}
    texts = {metric: spread_text(mean, line.deviation(metric)) for metric, mean in means.items()}
    known = {"seeds": str(len(line.results)), **costs(line)}
    chosen = {name: text for name, text in known.items() if extras is None or name in extras}
    return Row(line.name, means, line.protocol[1], chosen, texts)


def difference_row(line: Line, differences: dict[str, Difference]) -> Row:
    """Changes with their intervals; clear ones in bold."""
    values = {metric: one.change for metric, one in differences.items()}
    texts = {metric: difference_cell(one) for metric, one in differences.items()}
    clear = frozenset(metric for metric, one in differences.items() if one.clear)
    return Row(line.name, values, line.protocol[1], {}, texts, clear)


def costs(line: Line) -> dict[str, str]:
    """What is known of a line's costs, in words."""
    values = {
        "parameters": (line.cost("parameters") / 1e6, "{:.2f} M"),
        "GFLOPs": (line.cost("gflops"), "{:.3g}"),
        "latency": (line.cost("latency_ms"), "{:.1f} ms"),
        "step": (line.step_seconds(), "{:.3g} s"),
        "training": (line.steps() * line.step_seconds() / 60, "{:.1f} min"),
    }
    return {name: form.format(value) for name, (value, form) in values.items() if math.isfinite(value)}


def difference_cell(one: Difference) -> str:
    """−0.012 [−0.020, −0.004] 3/3."""
    agreeing = f" {one.agreeing}/{one.seeds}" if one.seeds > 1 else ""
    return difference_text(one.change, one.low, one.high) + agreeing
