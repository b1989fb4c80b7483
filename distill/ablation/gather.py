"""From the folders of finished runs to the numbers of a table: means over seeds, and differences between lines."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distill.ablation.plan import PlannedRun
from distill.ablation.preset import Preset
from distill.errors import UserError
from distill.evaluation import Results, common_images, image_values, paired_bootstrap, read_results
from distill.report.curves import read_metrics


@dataclass(frozen=True)
class Line:
    """One line of the tables: a row's student, or another model of its runs. Only finished runs count.

    Attributes:
        results: By seed, at least one.
        runs: By seed, where the line is the model that they trained; empty for teacher and ghost.
    """

    name: str
    results: dict[int, Results]
    runs: dict[int, PlannedRun]

    @property
    def protocol(self) -> tuple[str, str]:
        """Name and fingerprint."""
        first = next(iter(self.results.values()))
        return first.protocol, first.fingerprint

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of its metrics."""
        return tuple(next(iter(self.results.values())).metrics)

    def values(self, metric: str) -> list[float]:
        """One metric, of every seed."""
        return [one.metrics[metric] for one in self.results.values()]

    def mean(self, metric: str) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values(metric))

    def deviation(self, metric: str) -> float:
        """Standard deviation over seeds (of a sample: n - 1); NaN where there is one seed."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else math.nan

    def cost(self, name: str) -> float:
        """Median over seeds of a cost that the runs wrote down; NaN where they did not."""
        return median([one.costs[name] for one in self.results.values() if name in one.costs])

    def step_seconds(self) -> float:
        """Median over seeds and log entries of an optimizer step's seconds, loading included, validation not."""
        seconds = []
        for run in self.runs.values():
            records = read_metrics(run.folder / "metrics.jsonl")
            rates = [record["images_per_second"] for record in records if record.get("kind") == "train"]
            seconds += [run.config.train.batch_size / rate for rate in rates]
        return median(seconds)

    def steps(self) -> float:
        """Median over seeds of the optimizer steps."""
        return median([last_step(run) for run in self.runs.values()])


@dataclass(frozen=True)
class Difference:
    """How a metric changes from one line to another.

    Attributes:
        change: Mean over common images and common seeds.
        low, high: 95 % interval over test images, of which each stands with its mean over seeds.
        agreeing, seeds: Of so many common seeds, those whose own change has the same sign.
    """

    change: float
    low: float
    high: float
    agreeing: int
    seeds: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0 and every seed agrees."""
        return (self.low > 0 or self.high < 0) and self.agreeing == self.seeds


def readable(runs: Sequence[PlannedRun]) -> tuple[list[PlannedRun], list[str]]:
    """The finished runs of which everything can be read, and a sentence about each of the others."""
    whole, damaged = [], []
    for run in (run for run in runs if run.finished):
        try:
            read_results(run.folder, classes=True)
            last_step(run)
            whole.append(run)
        except (UserError, OSError, ValueError, KeyError, TypeError):
            damaged.append(
                f"{run} is left out: results.json or done.json in {run.folder} is damaged; delete the folder, and the "
                "same command trains it again"
            )
    if damaged and not whole:
        raise UserError(damaged[0])
    return whole, damaged


def gather(preset: Preset, runs: Sequence[PlannedRun]) -> list[Line]:
    """A line for every row and model of which at least one run is finished, in the preset's order.

    Raises:
        UserError: If they evaluated nothing, or were measured by different protocols.
    """
    finished = [run for run in runs if run.finished]
    lines = []
    for row in preset.rows:
        mine = {run.seed: run for run in finished if run.row == row}
        by_seed = {
            seed: {one.role: one for one in read_results(run.folder, classes=True)} for seed, run in mine.items()
        }
        for role in preset.models:
            results = {seed: by_role[role] for seed, by_role in by_seed.items() if role in by_role}
            if results:
                trained = role == "student"
                lines.append(Line(row if trained else f"{row}: {role}", results, mine if trained else {}))
    if not lines:
        models = ", ".join(preset.models)
        raise UserError(f"no finished run under {runs[0].output} evaluated a {models}: there is nothing to compare")
    known: dict[str, str] = {}
    for line in lines:
        for one in line.results.values():
            known.setdefault(one.fingerprint, f"{line.name} by {one.protocol} ({one.fingerprint})")
    if len(known) > 1:
        raise UserError(
            f"rows were measured by different protocols: {', '.join(known.values())}; their metrics do not compare"
        )
    return lines


def difference(reference: Line, line: Line) -> dict[str, Difference]:
    """Every metric's change from `reference` to `line`, paired by image and by seed; empty where they share none.

    What the bootstrap draws is images: each stands with its mean over the seeds that both lines have. How much another
    seed would change is shown by the seeds that agree, and by the deviation beside each mean.
    """
    seeds = [seed for seed in line.results if seed in reference.results]
    names = common_images([one.results[seed] for one in (reference, line) for seed in seeds]) if seeds else []
    if not names:
        return {}
    a, b = (np.stack([image_values(one.results[seed], names) for seed in seeds]) for one in (reference, line))
    change, low, high = paired_bootstrap(a.mean(axis=0), b.mean(axis=0))
    by_seed = b.mean(axis=1) - a.mean(axis=1)
    agreeing = (np.sign(by_seed) == np.sign(change)).sum(axis=0)
    return {
        metric: Difference(float(change[k]), float(low[k]), float(high[k]), int(agreeing[k]), len(seeds))
        for k, metric in enumerate(line.measures)
    }


def last_step(run: PlannedRun) -> float:
    """Optimizer steps of a finished run."""
    return float(json.loads((run.folder / "done.json").read_text())["step"])


def median(values: Sequence[float]) -> float:
    """The median; NaN of nothing."""
    return statistics.median(values) if values else math.nan
