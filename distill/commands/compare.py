"""`distill compare`: two results of one protocol, or of several data sets, image by image."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from distill.console import display
from distill.errors import DONE, UserError
from distill.evaluation import (
    LOWER_IS_BETTER,
    PROTOCOLS,
    Results,
    bootstrap_over_sets,
    common_images,
    image_values,
    read_results,
)
from distill.evaluation.results import CLASS_MEASURES
from distill.report.tables import Cell, difference_text, metric_text, terminal_table, with_arrow

UNDECIDED = "–"

Pair = tuple[Results, Results, list[str]]  # A, B, and the images that both hold


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
    """Print a table for every protocol that both files hold, or where these are of several data sets, one over all.

    Raises:
        UserError: If they hold none in common, or no image.
    """
    pairs = [(a, b, common_images([a, b])) for a, b in same_protocol(args.first, args.second)]
    for _, _, names in pairs:
        if not names:
            raise UserError(f"{args.first} and {args.second} share no image; give two results on one data set")
    sets = {PROTOCOLS[a.protocol].dataset for a, _, _ in pairs if a.protocol in PROTOCOLS}
    if 1 < len(sets) == len(pairs):
        display(sets_table(pairs))
        display(changes_table(changes(pairs), f"mean of {len(pairs)} data sets, each of which counts alike"))
    else:
        for pair in pairs:
            a, _, names = pair
            display(changes_table(changes([pair]), f"{a.protocol} · {a.fingerprint} · {len(names)} images"))
    sides = [(a, names) for a, _, names in pairs], [(b, names) for _, b, names in pairs]
    display_pooled(pairs)
    display(f"A: {args.first}\nB: {args.second}\n95 % interval over test images, drawn in pairs 10000 times")
    alone = [sum(len(one.images) - len(names) for one, names in side) for side in sides]
    if any(alone):
        display(f"left out: {alone[0]} images only in A, {alone[1]} only in B")
    for side, path in (("A", args.first), ("B", args.second)):
        common = {a.fingerprint for a, _, _ in pairs}
        if others := [one.protocol for key, one in student_results(path).items() if key not in common]:
            display(f"left out, as only in {side}: {', '.join(others)}")
    return DONE


def display_pooled(pairs: Sequence[Pair]) -> None:
    """The figures that `evaluate` shows beside the means over images: those of classes, over all pixels of a file."""
    for a, b, _ in pairs:
        if pooled := [name for name in a.metrics if name in CLASS_MEASURES]:
            sides = (f"{name} {metric_text(a.metrics[name])} and {metric_text(b.metrics[name])}" for name in pooled)
            display(f"these are means over images; over all pixels of A and of B: {', '.join(sides)}")


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
    """A file's results by fingerprint, without a run's teacher and ghost; with its student's agreement."""
    students = [one for one in read_results(path, classes=True) if one.role in (None, "student", "agreement")]
    if not students:
        raise UserError(f"{path} holds no results: nothing was evaluated. Give one of distill evaluate --json FILE")
    by_protocol = {one.fingerprint: one for one in students}
    if len(by_protocol) < len(students):
        names = [one.protocol for one in students]
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path} holds several results of {twice}, as of two roots: compare files of one each")
    return by_protocol


def changes(pairs: Sequence[Pair]) -> list[Change]:
    """Every metric on the common images of one data set, or its mean over several."""
    values = [(image_values(a, names), image_values(b, names)) for a, b, names in pairs]
    first, second = (np.mean([both[side].mean(0) for both in values], axis=0) for side in (0, 1))
    intervals = bootstrap_over_sets([b - a for a, b in values])
    columns = zip(pairs[0][0].metrics, first, second, *intervals, strict=True)
    return [Change(metric, *map(float, numbers)) for metric, *numbers in columns]


def sets_table(pairs: Sequence[Pair]) -> Table:
    """A line for each data set, by abs_rel, which depends on no unit."""
    lines: list[list[Cell | str]] = [[with_arrow("abs_rel"), "images", "A", "B", "B − A [95 % interval]", "better"]]
    for pair in pairs:
        one = next(change for change in changes([pair]) if change.metric == "abs_rel")
        lines.append([pair[0].protocol, str(len(pair[2])), *change_cells(one)])
    return terminal_table(lines, "by data set")


def changes_table(metrics: list[Change], title: str) -> Table:
    """Rows are metrics; the better value is bold where the interval says that it is better."""
    lines: list[list[Cell | str]] = [["", "A", "B", "B − A [95 % interval]", "better"]]
    lines += [[with_arrow(one.metric), *change_cells(one)] for one in metrics]
    return terminal_table(lines, title)


def change_cells(one: Change) -> list[Cell | str]:
    """Both values, the difference, and who is better."""
    a, b = (Cell(metric_text(value), one.winner == name) for name, value in (("A", one.a), ("B", one.b)))
    return [a, b, difference_text(one.difference, one.low, one.high), one.winner]
