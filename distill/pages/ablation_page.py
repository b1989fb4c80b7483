"""What an ablation leaves: `results.md`, `results.csv`, and `report.html` with plots."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

from distill.ablation.gather import Line
from distill.ablation.lines import MEANING, SHOWN, Tables
from distill.evaluation import LOWER_IS_BETTER, MEASURES
from distill.files import write_atomically
from distill.pages.machine import environment
from distill.report import (
    CHART_SIZE,
    Marks,
    chart_section,
    dot_chart,
    line_chart,
    markdown_table,
    points_of,
    read_metrics,
    table_section,
    write_page,
)

CHANGES = ("change", "low", "high", "agreeing", "seeds")
COSTS = ("parameters", "gflops", "latency_ms")
Curve = list[tuple[float, float]]


def write_files(tables: Tables, output: Path, command: str) -> None:
    """Write all three, each whole or not at all; `command` makes them again."""
    write_atomically(output / "results.md", as_markdown(tables, command))
    write_atomically(output / "results.csv", as_csv(tables))
    write_report(tables, output / "report.html", command)


def as_markdown(tables: Tables, command: str) -> str:
    protocol, fingerprint = tables.lines[0].protocol
    parts = [f"# {tables.preset.title}\n\n`{command}`\n\nProtocol `{protocol}`, fingerprint `{fingerprint}`.\n"]
    parts.append(markdown_table(tables.result_rows()))
    parts += [f"## {heading}\n\n{markdown_table(rows)}" for heading, rows in tables.sections()]
    return "\n".join([*parts, "".join(f"- {note}\n" for note in (*tables.notes, *MEANING))])


def as_csv(tables: Tables) -> str:
    """One record a line and metric, numbers as they are; empty where there is none."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    changes = [f"{to}_{name}" for to in ("first", "above") for name in CHANGES]
    writer.writerow(["row", "metric", "seeds", "mean", "deviation", *changes, *COSTS, "step_seconds", "steps"])
    for line in tables.lines:
        paid = [*map(line.cost, COSTS), line.step_seconds(), line.steps()]
        for metric in MEASURES:
            numbers = [line.mean(metric), line.deviation(metric)]
            for differences in (tables.to_first, tables.to_above):
                one = differences.get(line.name, {}).get(metric)
                numbers += [getattr(one, name) if one else math.nan for name in CHANGES]
            known = ["" if math.isnan(number) else number for number in numbers + paid]
            writer.writerow([line.name, metric, len(line.results), *known])
    return file.getvalue()


def write_report(tables: Tables, path: Path, command: str) -> None:
    options, lines = tables.preset, tables.lines
    seeds = len({seed for line in lines for seed in line.results})
    images = max(len(one.images) for line in lines for one in line.results.values())
    content = {"base": options.base, "rows": options.rows, "seeds": list(options.seeds)}
    differences = [table_section(heading, rows) for heading, rows in tables.sections()]
    write_page(
        path,
        title=options.title,
        lead=f"{len(lines)} rows, {seeds} {'seed' if seeds == 1 else 'seeds'}, {images} test images.",
        rows=tables.result_rows(),
        protocol=lines[0].protocol[0],
        charts=validation_charts(lines),
        more=[chart_section("Plots", plots(tables)), *differences],
        config_text=yaml.safe_dump(content, sort_keys=False),
        environment=environment(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        command=command,
        notes=[*tables.notes, *MEANING, "Each run's own page is ROW/seed_N/report.html beside this one."],
    )


def plots(tables: Tables) -> list[str]:
    """Of a few metrics: every seed and the mean of each line; then its difference to the first with the interval."""
    charts = []
    for metric in SHOWN:
        lines = {line.name: Marks(line.mean(metric), dots=tuple(line.values(metric))) for line in tables.lines}
        charts.append(dot_chart(lines, title=f"{metric} ({direction(metric)})"))
    for metric in SHOWN:
        result = {name: one[metric] for name, one in tables.to_first.items() if one}
        first = tables.lines[0].name
        marks = {first: Marks(0.0)} | {name: Marks(one.change, one.low, one.high) for name, one in result.items()}
        title = f"{metric}, difference to {first} ({direction(metric)})"
        charts += [dot_chart(marks, title=title, zero=True)] if result else []
    return charts


def validation_charts(lines: Sequence[Line]) -> list[str]:
    """Validation metrics over the steps, means over seeds, one curve a row."""
    records = {line.name: [read_metrics(run.folder / "metrics.jsonl") for run in line.runs.values()] for line in lines}
    charts = []
    for metric in SHOWN:
        curves = {name: mean_curve([points_of(one, "val", metric) for one in runs]) for name, runs in records.items()}
        drawn = {name: curve for name, curve in curves.items() if curve}
        title = f"Validation {metric} ({direction(metric)})"
        charts += [line_chart(drawn, title=title, size=CHART_SIZE)] if drawn else []
    return charts


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean of several curves at the steps that all of them have."""
    result = [dict(curve) for curve in curves]
    steps = [step for step in result[0] if all(step in one for one in result)] if result else []
    return [(step, statistics.fmean(one[step] for one in result)) for step in steps]


def direction(metric: str) -> str:
    return "lower is better" if metric in LOWER_IS_BETTER else "higher is better"
