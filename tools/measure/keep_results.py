"""Keeps what an ablation left, without the weights, and writes its table into a page of docs/.

    distill ablate configs/ablations/components.yaml --jobs 2
    python tools/measure/keep_results.py components docs/why/results.md

writes docs/results/components.tar.gz, of which `distill ablate ... --jobs 0` makes the tables again once it is unpacked
in the project's folder; a plot of each metric; and the table between the two marks in the page.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from docs_page import RESULTS, fill, standing_alone, table

from distill.report.charts import Marks, dot_chart

RUNS = Path("runs/ablations")
LEFT = ("config.yaml", "results.json", "metrics.jsonl", "done.json")
DEPTH = ("rmse", "abs_rel"), ("d1", "silog")  # metrics compared with other rows, and others
CLASSES = ("miou", "pixel_accuracy"), ()

Lines = Mapping[str, Mapping[str, Mapping[str, str]]]  # by row and metric, as results.csv has them


def keep(folder: Path, archive: Path) -> None:
    """Pack what a table is made of, of every finished run."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with gzip.GzipFile(archive, "wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as packed:
        for done in sorted(folder.glob("*/*/done.json")):
            for name in LEFT:
                packed.add(done.with_name(name), filter=anonymous)


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Whose file it is, and since when, is nobody's business: the same runs make the same archive."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def read(path: Path) -> Lines:
    lines: dict[str, dict[str, dict[str, str]]] = {}
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            lines.setdefault(line["row"], {})[line["metric"]] = line
    return lines


def metrics_of(lines: Lines) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The metrics that are compared with other rows, and others that are shown."""
    return CLASSES if CLASSES[0][0] in next(iter(lines.values())) else DEPTH


def mean(line: Mapping[str, str]) -> str:
    """Mean and deviation over seeds, where there are several."""
    spread = f" ± {float(line['deviation']):.3f}" if line["deviation"] else ""
    return f"{float(line['mean']):.3f}{spread}"


def change(line: Mapping[str, str], to: str) -> tuple[float, float, float] | None:
    """The difference to the first row or the one above, and its interval, in percent of that row's mean.

    Shares of pixels and classes differ in points, hundredths.
    """
    if not line[f"{to}_change"]:
        return None
    middle, low, high = (float(line[f"{to}_{name}"]) for name in ("change", "low", "high"))
    factor = 100 / (1 if line["metric"] in CLASSES[0] else float(line["mean"]) - middle)
    return factor * middle, factor * low, factor * high


def unit_of(metric: str) -> str:
    """In what differences of a metric are."""
    return "points" if metric in CLASSES[0] else "%"


def change_text(line: Mapping[str, str], to: str) -> str:
    difference = change(line, to)
    if difference is None:
        return ""
    text = "{:+.1f} {unit} [{:+.1f}, {:+.1f}]".format(*difference, unit=unit_of(line["metric"]))
    return f"{text}, {line[f'{to}_agreeing']}/{line[f'{to}_seeds']}".replace("-", "−")


def as_table(lines: Lines, to: Sequence[str]) -> str:
    others = {"first": next(iter(lines)), "above": "the row above"}
    compared, also = metrics_of(lines)
    head = ["", "seeds", *compared, *also, *(f"{metric}, to {others[one]}" for metric in compared for one in to)]
    rows = []
    for row, by_metric in lines.items():
        cells = [row, by_metric[compared[0]]["seeds"], *(mean(by_metric[metric]) for metric in (*compared, *also))]
        cells += [change_text(by_metric[metric], one) for metric in compared for one in to]
        rows.append(cells)
    return table(head, rows)


def plot(lines: Lines, metric: str) -> str:
    """Every row's difference to the first, with its interval."""
    changes = {row: change(by_metric[metric], "first") for row, by_metric in lines.items()}
    marks = {row: Marks(*one) if one else Marks(0.0) for row, one in changes.items()}
    better = "higher" if metric in CLASSES[0] else "lower"
    title = f"{metric}, difference to {next(iter(lines))} in {unit_of(metric)} ({better} is better)"
    return dot_chart(marks, title=title, zero=True)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="an ablation's folder under runs/ablations/")
    parser.add_argument("page", type=Path)
    parser.add_argument("--to", nargs="+", choices=("first", "above"), default=("first", "above"), help="rows compared")
    args = parser.parse_args(words)
    lines = read(RUNS / args.name / "results.csv")
    keep(RUNS / args.name, RESULTS / f"{args.name}.tar.gz")
    pictures = []
    for metric in metrics_of(lines)[0]:
        picture = RESULTS / f"{args.name}-{metric}.svg"
        picture.write_text(standing_alone(plot(lines, metric)))
        pictures.append(f"![{metric} of every row]({os.path.relpath(picture, args.page.parent)})")
    fill(args.page, f"keep_results.py {args.name}", "\n\n".join([as_table(lines, args.to), *pictures]))


if __name__ == "__main__":
    main()
