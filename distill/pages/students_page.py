"""What `distill students` shows: a line of costs for each student, and the picture that a person chooses from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from distill.deploy.costs import MEBI
from distill.evaluation.scores import Size
from distill.pages.benchmark_page import FLOPS, Measured
from distill.report.charts import Point, scatter_chart
from distill.report.page import chart_section, origin_sections, results_section, write_page
from distill.report.tables import SHORT, Row


def student_row(one: Measured, file_bytes: int, size: Size) -> Row:
    """A student's line: costs, the median latency in each way, and what it was scored."""
    assert one.parameters is not None
    assert one.gflops is not None
    extra = {
        "M params": f"{one.parameters / 1e6:.2f}",
        "GMAC": f"{one.gflops / 2:.2f}",
        "kMAC/pixel": f"{kmacs(one, size):.1f}",
        "file MiB": f"{file_bytes / MEBI:.1f}",
        **{f"{way} ms": f"{latency.median_ms:.0f}" for way, latency in one.latency.items()},
    }
    scored: Mapping[str, float] = one.accuracy.metrics if one.accuracy else {}
    metrics = {name: scored[name] for name in SHORT if name in scored}
    return Row(one.name, metrics, one.accuracy.fingerprint if one.accuracy else None, extra)


def kmacs(one: Measured, size: Size) -> float:
    """Thousands of multiply-accumulates for a pixel of the image."""
    assert one.gflops is not None
    return 1e6 * one.gflops / 2 / (size[0] * size[1])


def choice_picture(measured: Sequence[Measured], size: Size, ways: Sequence[str]) -> str:
    """Every student by what it costs and what that buys: abs_rel where any was scored, else its parameters.

    The cost is the latency in the last of the ways, or arithmetic where none was measured.
    """
    way = ways[-1] if ways else None
    scored = any(one.accuracy for one in measured)
    groups: dict[str, dict[str, Point]] = {}
    for one in measured:
        assert one.parameters is not None
        if (way and way not in one.latency) or (scored and one.accuracy is None):
            continue
        name, _, decoder = one.name.partition(" · ")
        cost = one.latency[way].median_ms if way else kmacs(one, size)
        bought = one.accuracy.metrics["abs_rel"] if one.accuracy else one.parameters / 1e6
        groups.setdefault(decoder, {})[name] = cost, bought
    x_label = f"ms for one image, {way}" if way else "kMAC a pixel"
    title = "abs_rel (lower is better)" if scored else "Millions of parameters"
    return scatter_chart(groups, title=f"{title} against {x_label}", x_label=x_label)


def write_students_page(
    path: Path, rows: Sequence[Row], picture: str, size: Size, stamp: Mapping[str, str], command: str, protocol: str
) -> None:
    """Write the page of students that were listed side by side; `command` lists them again."""
    notes = [f"One image of {size[0]}x{size[1]} (height x width). MACs: half of {FLOPS}."]
    sections = [
        results_section(rows, protocol, notes),
        chart_section("What to choose from", [picture]),
        *origin_sections(stamp, command),
    ]
    lead = f"{len(rows)} students with what they cost; those on the broken line are beaten by none in both."
    write_page(path, "Students", lead, sections, "students")
