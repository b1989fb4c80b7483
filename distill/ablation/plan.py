"""The runs of an ablation: where each lies, what it needs, whether it is done."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from distill.ablation.preset import Preset
from distill.config import Config, dump_config, load_config, total_steps, warmup_steps
from distill.engine.run_folder import RunFolder, keys_of
from distill.errors import UserError
from distill.files import write_atomically

PER_EPOCH = 1000  # stands for the steps of an epoch, which only the data tell


@dataclass(frozen=True)
class PlannedRun:
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

    @property
    def words(self) -> list[str]:
        """Those of `distill` that carry it out, or the rest of it, though keys that change nothing learnt differ."""
        return ["train", str(self.config_file), "--output", str(self.folder), "--resume", "--force"]

    def command(self) -> list[str]:
        return [sys.executable, "-m", "distill", *self.words]

    def prepare(self) -> None:
        """Write the configuration that the command names."""
        write_atomically(self.config_file, dump_config(self.config))


def plan_runs(preset: Preset, output: Path) -> list[PlannedRun]:
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
            named = preset.references(row)
            needs = {other: folders[other] for other in named.values()}
            config = preset.config(row, seed, as_begun(RunFolder(folders[row]), named, needs))
            runs.append(PlannedRun(row, seed, config, folders[row], tuple(needs.values())))
    for run in runs:
        check(run)
    return runs


def as_begun(folder: RunFolder, named: Mapping[str, str], needs: Mapping[str, Path]) -> dict[str, Path]:
    """Folders of the rows that a row needs, as its run wrote them where it has begun.

    The same runs are called otherwise after a move, or seen from another working directory.
    """
    if not folder.config.is_file():
        return dict(needs)
    former = keys_of(load_config(folder.config))
    written = {other: Path(str(former.get(key))) for key, other in named.items()}
    same = {other: path for other, path in written.items() if path.parts[-2:] == needs[other].parts[-2:]}
    return {**needs, **{other: path for other, path in same.items() if folder.finished or path.exists()}}


def check(run: PlannedRun) -> None:
    """Refuse a warm-up that never ends, and what has begun as another run."""
    if run.config.train.steps is not None or run.config.method.warmup_steps is None:
        warmup_steps(run.config, total_steps(run.config, PER_EPOCH), PER_EPOCH)
    folder = RunFolder(run.folder)
    if folder.config.is_file():
        folder.check_same(run.config, force=True)
