"""The runs of an ablation: where each lies, what it needs, whether it is done."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from distill.ablation.preset import Preset
from distill.config import Config, dump_config
from distill.engine.files import write_atomically
from distill.engine.folder import RunFolder
from distill.engine.optimisation import warmup_steps
from distill.errors import UserError


@dataclass(frozen=True)
class Run:
    """One row with one seed.

    Attributes:
        folder: OUTPUT/ROW/seed_N, as `distill train` fills it. Beside it lie its configuration and what it printed.
        needs: Folders of the runs that must be finished before.
    """

    row: str
    seed: int
    config: Config
    folder: Path
    needs: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return f"{self.row}, seed {self.seed}"

    @property
    def output(self) -> Path:
        """Folder of the whole ablation."""
        return self.folder.parent.parent

    @property
    def config_file(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def log(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def finished(self) -> bool:
        return RunFolder(self.folder).finished

    @property
    def ready(self) -> bool:
        return all(RunFolder(folder).finished for folder in self.needs)

    def command(self) -> list[str]:
        """What carries it out, or the rest of it."""
        words = ["train", str(self.config_file), "--output", str(self.folder), "--resume"]
        return [sys.executable, "-m", "distill", *words]

    def prepare(self) -> None:
        """Write the configuration that the command names."""
        write_atomically(self.config_file, dump_config(self.config))


def plan_runs(preset: Preset, output: Path) -> list[Run]:
    """Every run, all rows with the first seed before any with the second, so that a table is soon complete.

    Raises:
        UserError: If a row's configuration is wrong, or a run that lies there was made with another.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"output {output} is a file; give a folder with --output")
    runs = []
    for seed in preset.seeds:
        folders = {row: output / row / f"seed_{seed}" for row in preset.rows}
        for row in preset.rows:
            needs = tuple(folders[other] for other in preset.needs(row))
            runs.append(Run(row, seed, preset.config(row, seed, folders), folders[row], needs))
    for run in runs:
        if run.config.train.steps is not None:
            warmup_steps(run.config, run.config.train.steps, per_epoch=1)  # refuses one that never ends
        folder = RunFolder(run.folder)
        if folder.config.is_file():
            folder.check_same(run.config)
    return runs
