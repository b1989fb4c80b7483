"""`distill compare`: two results of one protocol, image by image."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from distill.console import display
from distill.errors import DONE, UserError
from distill.evaluation import (
    LOWER_IS_BETTER,
    MEASURES,
    Results,
    common_images,
    image_values,
    paired_bootstrap,
    read_results,
)
from distill.report.tables import Cell, difference_text, metric_text, terminal_table, with_arrow

UNDECIDED = "–"


@dataclass(frozen=True)
class Change:
    """One metric of A and of B, their difference B - A, and its 95 % interval over test images."""

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float

    @property
    def winner(self) -> str:
        """A or B where the interval leaves out 0, nobody where it does not."""
        if not (self.low > 0 or self.high < 0):
            return UNDECIDED
        return "B" if (self.difference < 0) == (self.metric in LOWER_IS_BETTER) else "A"


def options(parser: argparse.ArgumentParser) -> None:
    """Declare what `distill compare` takes."""
    parser.add_argument("first", type=Path, metavar="A.json", help="written by evaluate --json, or a run folder")
    parser.add_argument("second", type=Path, metavar="B.json", help="written by evaluate --json, or a run folder")


def run(args: argparse.Namespace) -> int:
    """Print a table for every protocol that both files hold.

    Raises:
        UserError: If they hold none in common, or no image.
    """
    for a, b in same_protocol(args.first, args.second):
        names = common_images([a, b])
        if not names:
            raise UserError(f"{args.first} and {args.second} share no image; give two results on one data set")
        display(changes_table(changes(a, b, names), f"{a.protocol} · {a.fingerprint} · {len(names)} images"))
        display(f"A: {args.first}\nB: {args.second}\n95 % interval over test images, drawn in pairs 10000 times")
        alone = [len(one.images) - len(names) for one in (a, b)]
        if any(alone):
            display(f"left out: {alone[0]} images only in A, {alone[1]} only in B")
    return DONE


def same_protocol(first: Path, second: Path) -> list[tuple[Results, Results]]:
    """The results in both files that one protocol gave; of a run, its student's."""
    a, b = (student_results(path) for path in (first, second))
    pairs = [(a[fingerprint], b[fingerprint]) for fingerprint in a if fingerprint in b]
    if not pairs:
        used = [", ".join(f"{one.protocol} ({one.fingerprint})" for one in side.values()) for side in (a, b)]
        raise UserError(
            f"{first} was measured by {used[0]}, {second} by {used[1]}: their metrics do not compare. "
            "Evaluate both by one protocol"
        )
    return pairs


def student_results(path: Path) -> dict[str, Results]:
    """A file's results by fingerprint, without a run's teacher and ghost."""
    students = [one for one in read_results(path) if one.role in (None, "student")]
    if not students:
        raise UserError(f"{path} holds no results: nothing was evaluated. Give one of distill evaluate --json FILE")
    return {one.fingerprint: one for one in students}


def changes(a: Results, b: Results, names: list[str]) -> list[Change]:
    """Every metric on the images of those names."""
    first, second = image_values(a, names), image_values(b, names)
    columns = zip(MEASURES, first.mean(0), second.mean(0), *paired_bootstrap(first, second), strict=True)
    return [Change(metric, *map(float, numbers)) for metric, *numbers in columns]


def changes_table(metrics: list[Change], title: str) -> Table:
    """Rows are metrics; the better value is bold where the interval says that it is better."""
    lines: list[list[Cell | str]] = [["", "A", "B", "B − A [95 % interval]", "better"]]
    for one in metrics:
        a, b = (Cell(metric_text(value), one.winner == name) for name, value in (("A", one.a), ("B", one.b)))
        change = difference_text(one.difference, one.low, one.high)
        lines.append([with_arrow(one.metric), a, b, change, one.winner])
    return terminal_table(lines, title)
