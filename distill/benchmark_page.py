"""The page of a benchmark: its figures, drawn and in a table, with what they were measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from distill.deploy.figures import FLOPS, Measured, cost_rows, latency_rows, pareto_plot
from distill.report import CHART_SIZE, Marks, dot_chart, table_section, write_page


def write_benchmark_page(
    path: Path, measured: Sequence[Measured], size: tuple[int, int], device: Mapping[str, str], command: str
) -> None:
    """Write the page of models that were timed side by side; `command` measures them again."""
    accuracy = next((one.accuracy for one in measured if one.accuracy), None)
    skipped = [f"{one.name}, {way}: skipped, {reason}" for one in measured for way, reason in one.skipped.items()]
    models = "1 model" if len(measured) == 1 else f"{len(measured)} models"
    write_page(
        path,
        title="Benchmark",
        lead=f"{models}, one image of {size[0]}x{size[1]} (height x width) at a time, in turns.",
        rows=latency_rows(measured),
        protocol=accuracy.protocol if accuracy else "",
        charts=[*latency_charts(measured), *([pareto_plot(measured, CHART_SIZE)] if accuracy else [])],
        curves="Plots",
        more=[table_section("Costs", cost_rows(measured), [f"GFLOPs: {FLOPS}."])],
        environment=device,
        command=command,
        notes=["Median and 90th percentile of the runs after a warm-up; load is that of the machine before.", *skipped],
    )


def latency_charts(measured: Sequence[Measured]) -> list[str]:
    """A chart for each model: the median of every way, with a bar to its 90th percentile."""
    charts = []
    for one in measured:
        marks = {way: Marks(found.median_ms, found.median_ms, found.p90_ms) for way, found in one.latency.items()}
        charts.append(dot_chart(marks, title=f"{Path(one.name).name}, ms (lower is better)"))
    return charts
