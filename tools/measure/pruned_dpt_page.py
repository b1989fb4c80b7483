"""Tables and plots of docs/why/pruned-dpt.md, from what pruned_dpt_tables.py measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import exp, log
from pathlib import Path
from typing import Any

from docs_page import fill, standing_alone, table

from distill.report.charts import line_chart

COSTS = ("parameters", "GFLOPs", "ms", "FPS", "times faster")
TITLES = {
    "resolution": "Frames per second by attention and internal resolution",
    "gflops": "GFLOPs by blocks and stem, whatever the heads",
    "heads": "Milliseconds by heads and blocks",
    "attention": "Milliseconds of one attention layer by tokens",
    "error": "Relative error of Performer's attention by random features",
}

Rows = Sequence[Mapping[str, Any]]
Figures = Mapping[str, Any]


# --------------------------------------------------------------------------------------------------------------- tables


def costs(row: Mapping[str, Any]) -> list[str]:
    """Parameters, operations, time, rate and ratio as a reader wants them."""
    paid = [f"{row['parameters'] / 1e6:.1f} M", f"{row['gflops']:.1f}", f"{row['ms']:.0f}"]
    return [*paid, f"{1e3 / row['ms']:.2f}", f"{row['speedup']:.1f}"]


def options(row: Mapping[str, Any]) -> list[str]:
    """Attention, heads, hooks and stem; the whole network has none."""
    if "hooks" not in row:
        return ["whole", "", "", ""]
    return [row["attention"], str(row["heads"]), ", ".join(map(str, row["hooks"])), row["stem"]]


def split(row: Mapping[str, Any]) -> str:
    return f"{row['heads']} head{'s' * (row['heads'] > 1)}"


def crossover(rows: Rows, heads: int) -> float | None:
    """Tokens from which on Performer is faster, on a line between two measurements; None where that is not seen."""
    points = []
    for count in sorted({row["tokens"] for row in rows}):
        ms = {row["attention"]: row["ms"] for row in rows if (row["tokens"], row["heads"]) == (count, heads)}
        points.append((log(count), log(ms["standard"] / ms["performer"])))
    slower = [i for i, (_, ratio) in enumerate(points) if ratio <= 0]
    if not slower or slower[-1] == len(points) - 1:
        return None
    (x0, y0), (x1, y1) = points[slower[-1] : slower[-1] + 2]
    return exp(x0 - y0 * (x1 - x0) / (y1 - y0))


def body(figures: Figures) -> str:
    """Everything between the two marks of the page."""
    parent, (height, width), family = figures["parent"], figures["size"], figures["family"]
    small, whole = (next(row for row in figures["a"] if row["name"] == name) for name in ("A", "whole"))
    meets = {split(row): crossover(figures["attention"], row["heads"]) for row in figures["attention"]}
    crossings = ", ".join(f"{f'{x:.0f}' if x else 'not within these'} with {name}" for name, x in meets.items())
    parts = [
        f"One {height}x{width} image, {figures['machine']}; medians of {figures['rounds']} rounds in turn.",
        f"Variant A beside {parent}; it has {small['parameters'] / whole['parameters']:.3f} of the weights:",
        table(["network", "precision", *COSTS], [[row["name"], row["precision"], *costs(row)] for row in figures["a"]]),
        f"{parent}, and all {len(family) - 1} variants at half the resolution, by their ratio to it in turn:",
        table(["attention", "heads", "hooks", "stem", *COSTS], [options(row) + costs(row) for row in family]),
        *(f"![{title}](pruned-dpt-{name}.svg)" for name, title in TITLES.items()),
        f"Tokens from which on Performer's layer is faster: {crossings}.",
    ]
    return "\n\n".join(parts)


# ---------------------------------------------------------------------------------------------------------------- plots


def lines(rows: Rows, name: Callable[[Any], str], point: Callable[[Any], tuple[float, float]]) -> Any:
    """The rows as named lines of points."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        series.setdefault(name(row), []).append(point(row))
    return series


def charts(figures: Figures) -> dict[str, str]:
    """The SVG of every plot, by its name."""
    pruned = [{**row, "blocks": row["hooks"][-1] + 1} for row in figures["family"][1:]]
    one_head = [row for row in pruned if row["heads"] == min(row["heads"] for row in pruned)]
    exact = [row for row in pruned if (row["attention"], row["stem"]) == ("standard", "resnet50")]
    series = {
        "resolution": lines(figures["resolution"], lambda r: r["attention"], lambda r: (r["factor"], 1e3 / r["ms"])),
        "gflops": lines(one_head, lambda r: f"{r['stem']}, {r['attention']}", lambda r: (r["blocks"], r["gflops"])),
        "heads": lines(exact, lambda r: f"{r['blocks']} blocks", lambda r: (r["heads"], r["ms"])),
        "attention": lines(
            figures["attention"], lambda r: f"{split(r)}, {r['attention']}", lambda r: (r["tokens"], r["ms"])
        ),
        "error": lines(figures["error"], split, lambda r: (r["features"], r["error"])),
    }
    labels = {"resolution": "share of both sides", "gflops": "blocks", "heads": "heads", "attention": "tokens"}
    return {
        name: line_chart(
            points,
            title=TITLES[name],
            x_label=labels.get(name, "random features"),
            x_log=name in ("attention", "error"),
            y_log=name in ("attention", "error"),
        )
        for name, points in series.items()
    }


def write_page(figures: Figures, folder: Path) -> None:
    """Write every plot, and the part of the page that they belong to."""
    for name, svg in charts(figures).items():
        (folder / f"pruned-dpt-{name}.svg").write_text(standing_alone(svg))
    fill(folder / "pruned-dpt.md", "pruned_dpt_tables.py", body(figures))
