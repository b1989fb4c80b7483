"""What `distill benchmark` shows: tables, records, a plot, and the page that gathers them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from distill.deploy.costs import MEBI
from distill.deploy.latency import Latency
from distill.deploy.paper import Cost, PaperRow
from distill.deploy.ways import ROUNDED, Prepared
from distill.evaluation import Results
from distill.evaluation.results import cost_in_words, cost_of
from distill.report.charts import CHART_SIZE, Marks, dot_chart, line_chart, pareto_front
from distill.report.page import chart_section, origin_sections, results_section, table_section, write_page
from distill.report.tables import Row, short_names

FLOPS = "2 x multiply-accumulates of convolutions and matrix products, one image"
CSV_COLUMNS = (
    *("name", "way", "parameters", "gflops", "abs_rel"),
    *("median_ms", "p90_ms", "first_ms", "joules", "fps", "file_bytes", "peak_bytes", "skipped"),
)


@dataclass
class Measured:
    """One model and how it ran. `skipped` gives the reason for every way in which it did not."""

    name: str
    parameters: int | None  # None where a file does not state it
    gflops: float | None
    paper: PaperRow | None = None
    accuracy: Results | None = None
    ways: dict[str, Prepared] = field(default_factory=dict)
    latency: dict[str, Latency] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def accuracy_of(self, way: str) -> Results | None:
        """The accuracy, where this way has the numbers that it was measured with."""
        return None if way in ROUNDED else self.accuracy

    def way_records(self) -> list[dict[str, object]]:
        """Every way, also those that were skipped, in types that JSON knows."""
        records: list[dict[str, object]] = []
        for way, latency in self.latency.items():
            ready = self.ways[way]
            sizes = {"first_ms": ready.first_ms, "file_bytes": ready.file_bytes, "peak_bytes": ready.peak_bytes}
            accuracy = self.accuracy_of(way)
            abs_rel = accuracy.metrics.get("abs_rel") if accuracy else None
            records.append({"way": way, **asdict(latency), "fps": latency.fps, **sizes, "abs_rel": abs_rel})
        return records + [{"way": way, "skipped": reason} for way, reason in self.skipped.items()]

    def as_dict(self) -> dict[str, object]:
        """Everything in types that JSON knows."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "gflops": self.gflops,
            "paper": asdict(self.paper) if self.paper else None,
            "accuracy": self.accuracy.summary() if self.accuracy else None,
            "ways": self.way_records(),
        }


def paper_rows(rows: Sequence[tuple[PaperRow, Cost]]) -> list[Row]:
    """Parameters and GFLOPs of the paper, of the fitted rule and of this code."""
    lines = []
    for row, ours in rows:
        costs = (row.paper, row.fitted, ours)
        extra = {
            "image": f"{row.data} {row.size[0]}x{row.size[1]}",
            "M params": "/".join(f"{cost.params_m:.2f}" for cost in costs),
            "GFLOPs": "/".join(f"{cost.gflops:.1f}" for cost in costs),
        }
        lines.append(Row(row.name, {}, None, extra))
    return lines


def cost_rows(measured: Sequence[Measured]) -> list[Row]:
    """Parameters and arithmetic of each model, beside the paper's where it has the row."""
    rows = []
    for one in measured:
        extra = {} if one.parameters is None else {"M params": f"{one.parameters / 1e6:.2f}"}
        extra |= {} if one.gflops is None else {"GFLOPs": f"{one.gflops:.1f}"}
        if one.paper:
            extra["the paper's"] = f"{one.paper.paper.params_m:.1f} M, {one.paper.paper.gflops:.1f} GFLOPs"
        rows.append(Row(one.name, {}, None, extra))
    return rows


def latency_rows(measured: Sequence[Measured]) -> list[Row]:
    """Every model in every way that works here, with its accuracy where it is known."""
    rows = []
    for one in measured:
        for way, latency in one.latency.items():
            accuracy = one.accuracy_of(way)
            metrics = {name: accuracy.metrics[name] for name in short_names(accuracy.metrics)} if accuracy else {}
            ready = one.ways[way]
            extra = {
                "median ms": f"{latency.median_ms:.1f}",
                "p90 ms": f"{latency.p90_ms:.1f}",
                "fps": f"{latency.fps:.1f}",
                "file MiB": f"{ready.file_bytes / MEBI:.1f}",
            }
            extra |= {} if ready.first_ms is None else {"first ms": f"{ready.first_ms:.0f}"}
            extra |= {} if latency.joules is None else {"joules": f"{latency.joules:.2f}"}
            if accuracy and accuracy.count:
                extra["images"] = str(accuracy.count)
            if ready.peak_bytes is not None:
                extra["peak MiB"] = f"{ready.peak_bytes / MEBI:.0f}"
            rows.append(Row(f"{one.name} · {way}", metrics, accuracy.fingerprint if accuracy else None, extra))
    return rows


def as_csv(measured: Sequence[Measured]) -> str:
    """One line for each model and way."""
    text = io.StringIO()
    table = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for one in measured:
        shared = {"name": one.name, "parameters": one.parameters, "gflops": one.gflops}
        table.writerows({**shared, **way} for way in one.way_records())
    return text.getvalue()


def pareto_plot(measured: Sequence[Measured], size: tuple[int, int] = (640, 260)) -> str:
    """Accuracy against latency as an SVG: the models' points, and the line of those that none beats in both."""
    series = {}
    for one in measured:
        if one.accuracy:
            cost = cost_of(one.accuracy.metrics)
            exact = [latency for way, latency in one.latency.items() if one.accuracy_of(way)]
            series[one.name] = sorted((latency.median_ms, cost) for latency in exact)
    front = pareto_front(point for line in series.values() for point in line)
    what = next((cost_in_words(one.accuracy.metrics) for one in measured if one.accuracy), "")
    title = f"{what} (lower is better) against latency"
    return line_chart(
        {**series, "best for its latency": front}, title=title, x_label="median ms for one image", size=size
    )


def write_benchmark_page(
    path: Path, measured: Sequence[Measured], size: tuple[int, int], device: Mapping[str, str], command: str
) -> None:
    """Write the page of models that were timed side by side; `command` measures them again."""
    accuracy = next((one.accuracy for one in measured if one.accuracy), None)
    notes = ["Median and 90th percentile of the runs after a warm-up; load is that of the machine before."]
    notes += ["first: the first call behind loading, which chooses kernels, packs weights or compiles."]
    if any(latency.joules for one in measured for latency in one.latency.values()):
        notes += ["joules: for one image, by the device's own counter, with all else that runs on it."]
    notes += [f"{one.name}, {way}: skipped, {reason}" for one in measured for way, reason in one.skipped.items()]
    plots = []
    for one in measured:  # the median of every way, with a bar to its 90th percentile
        marks = {way: Marks(result.median_ms, result.median_ms, result.p90_ms) for way, result in one.latency.items()}
        plots.append(dot_chart(marks, title=f"{Path(one.name).name}, ms (lower is better)"))
    sections = [
        results_section(latency_rows(measured), accuracy.protocol if accuracy else "", notes),
        table_section("Costs", cost_rows(measured), [f"GFLOPs: {FLOPS}."]),
        chart_section("Plots", [*plots, *([pareto_plot(measured, CHART_SIZE)] if accuracy else [])]),
        *origin_sections(device, command),
    ]
    models = "1 model" if len(measured) == 1 else f"{len(measured)} models"
    lead = f"{models}, one image of {size[0]}x{size[1]} (height x width) at a time, in turns."
    write_page(path, "Benchmark", lead, sections, "benchmark")
