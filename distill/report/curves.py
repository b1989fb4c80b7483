"""A run's records, and the curves that are drawn of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from distill.report.charts import CHART_SIZE, Point, line_chart
from distill.report.tables import direction

VALIDATION = (
    ("abs_rel", ""),
    ("rmse", "m, "),
    ("d1", ""),
    ("miou", ""),
    ("pixel_accuracy", ""),
)  # metrics that are drawn, and their units

Record = dict[str, Any]  # what was logged of one step: "step", "kind" ("train" or "val"), and values by name


def read_metrics(path: Path | str) -> list[Record]:
    """The records of a metrics.jsonl, one JSON object a line; an interrupted line is left out.

    A killed run may leave its last line unfinished, and a resumed one writes after it: one elsewhere is warned of.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").split("\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            records.append(record)
        elif line.strip() and number < len(lines):
            warnings.warn(f"{path}, line {number} is no JSON object and is left out: {line[:60]!r}", stacklevel=2)
    return records


def points_of(records: Iterable[Record], kind: str, name: str) -> list[Point]:
    """(step, value) in order of steps. A resumed run repeats some: what it recorded last counts."""
    points = {}
    for record in records:
        step, value = record.get("step", ""), record.get(name, "")
        if record.get("kind") == kind and type(step) in (int, float) and type(value) in (int, float):
            points[float(step)] = float(value)
    return sorted(points.items())


def run_charts(records: Sequence[Record]) -> list[str]:
    """Charts of a run's losses, validation metrics, learning rate and LAM entropy, as far as it recorded them."""
    entropy = "lam_entropy_"
    finest = sorted({int(name[len(entropy) :]) for record in records for name in record if name.startswith(entropy)})
    strides = {f"{entropy}{stride}": f"stride {stride}" for stride in finest}
    plans = [
        ("Training losses", "train", {name: name for name in ("loss", "task", "ghost")}, True),
        ("Distillation loss", "train", {"kd": "kd"}, True),
        *((f"Validation {name} ({unit}{direction(name)})", "val", {name: name}, False) for name, unit in VALIDATION),
        ("LAM entropy (1: all positions alike)", "train", strides, False),
        ("Learning rate", "train", {"lr": "lr"}, False),
    ]
    charts = []
    for title, kind, labels, log in plans:
        lines = {label: points_of(records, kind, name) for name, label in labels.items()}
        if drawn := {label: points for label, points in lines.items() if points}:
            charts.append(line_chart(drawn, title=title, y_log=log, size=CHART_SIZE))
    return charts
