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
from distill.ablation.lines import MEANING, Tables
from distill.deploy.latency import environment
from distill.files import write_atomically
from distill.report.charts import CHART_SIZE, Marks, Point, dot_chart, line_chart
from distill.report.curves import points_of, read_metrics
from distill.report.page import chart_section, origin_sections, results_section, table_section, write_page
from distill.report.tables import direction, markdown_table, markdown_text, short_names

CHANGES = ("change", "low", "high", "agreeing", "seeds")
COSTS = ("parameters", "gflops", "latency_ms")
FILES = ("results.md", "results.csv", "report.html")


def write_files(tables: Tables, output: Path, command: str) -> None:
    """Write all three, each whole or not at all; `command` makes them again."""
    protocol, fingerprint = tables.lines[0].protocol
    title, command_line = markdown_text(tables.preset.title), " ".join(command.replace("`", "?").split())
    parts = [f"# {title}\n\n`{command_line}`\n\nProtocol `{protocol}`, fingerprint `{fingerprint}`.\n"]
    parts.append(markdown_table(tables.result_rows()))
    parts += [f"## {markdown_text(heading)}\n\n{markdown_table(rows)}" for heading, rows in tables.sections()]
    parts.append("".join(f"- {markdown_text(note)}\n" for note in (*tables.notes, *MEANING)))
    text, table, page = (output / name for name in FILES)
    write_atomically(text, "\n".join(parts))
    write_atomically(table, as_csv(tables))
    write_report(tables, page, command)


def as_csv(tables: Tables) -> str:
    """One record a line and metric, numbers as they are; empty where there is none."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    changes = [f"{to}_{name}" for to in ("first", "above") for name in CHANGES]
    writer.writerow(["row", "metric", "seeds", "mean", "deviation", *changes, *COSTS, "step_seconds", "steps"])
    for line in tables.lines:
        paid = [*map(line.cost, COSTS), line.step_seconds(), line.steps()]
        for metric in line.measures:
            numbers = [line.mean(metric), line.deviation(metric)]
            for differences in (tables.to_first, tables.to_above):
                one = differences.get(line.name, {}).get(metric)
                numbers += [getattr(one, name) if one else math.nan for name in CHANGES]
            known = ["" if math.isnan(number) else number for number in numbers + paid]
            writer.writerow([line.name, metric, len(line.results), *known])
    return file.getvalue()


def write_report(tables: Tables, path: Path, command: str) -> None:
    """The page: the tables, plots, curves of validation, and what makes them again."""
    preset, lines = tables.preset, tables.lines
    seeds = len({seed for line in lines for seed in line.results})
    images = max(len(one.images) for line in lines for one in line.results.values())
    notes = [*tables.notes, *MEANING, "Each run's own page is ROW/seed_N/report.html beside this one."]
    content = {"base": preset.base, "rows": preset.rows, "seeds": list(preset.seeds)}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sections = [
        results_section(tables.result_rows(), lines[0].protocol[0], notes),
        chart_section("Plots", plots(tables)),
        *(table_section(heading, rows) for heading, rows in tables.sections()),
        chart_section("Curves", validation_charts(lines)),
        *origin_sections(environment(device), command, yaml.safe_dump(content, sort_keys=False)),
    ]
    lead = f"{len(lines)} rows, {seeds} {'seed' if seeds == 1 else 'seeds'}, {images} test images."
    write_page(path, preset.title, lead, sections, "ablate")


def plots(tables: Tables) -> list[str]:
    """Of a few metrics: every seed and the mean of each line; then its difference to the first with the interval."""
    charts = []
    for metric in short_names(tables.lines[0].measures):
        lines = {line.name: Marks(line.mean(metric), dots=tuple(line.values(metric))) for line in tables.lines}
        charts.append(dot_chart(lines, title=f"{metric} ({direction(metric)})"))
    for metric in short_names(tables.lines[0].measures):
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
    for metric in short_names(lines[0].measures):
        curves = {name: mean_curve([points_of(one, "val", metric) for one in runs]) for name, runs in records.items()}
        drawn = {name: curve for name, curve in curves.items() if curve}
        title = f"Validation {metric} ({direction(metric)})"
        charts += [line_chart(drawn, title=title, size=CHART_SIZE)] if drawn else []
    return charts


def mean_curve(curves: Sequence[list[Point]]) -> list[Point]:
    """The mean of several curves at the steps that all of them have."""
    result = [dict(curve) for curve in curves]
    steps = [step for step in result[0] if all(step in one for one in result)] if result else []
    return [(step, statistics.fmean(one[step] for one in result)) for step in steps]
