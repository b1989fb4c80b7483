"""The runs of an ablation: where each lies, what it needs, whether it is done; and those that others have done."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.ablation.preset import Preset
from distill.config import Config, dump_config, load_config
from distill.engine.run_folder import CONFIG, RunFolder, keys_of
from distill.errors import UserError
from distill.evaluation import read_results
from distill.files import write_atomically

PART = ".part"  # ends the name of a folder that is not wholly copied
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
        """The configuration that its command names."""
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def finished(self) -> bool:
        """Whether it has been carried out."""
        return RunFolder(self.folder).finished

    @property
    def ready(self) -> bool:
        """Whether what it needs is finished."""
        return all(RunFolder(folder).finished for folder in self.needs)

    @property
    def words(self) -> list[str]:
        """Those of `distill` that carry it out, or the rest of it, though keys that change nothing learnt differ."""
        return ["train", str(self.config_file), "--output", str(self.folder), "--resume", "--force"]

    def command(self) -> list[str]:
        """The command of `words` for this interpreter."""
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
        run.config.warmup_steps(run.config.total_steps(PER_EPOCH), PER_EPOCH)
    folder = RunFolder(run.folder)
    if folder.config.is_file():
        folder.check_same(run.config, force=True)


# --------------------------------------------------------------------------------------------- runs of other ablations


def reuse(runs: Sequence[PlannedRun], places: Sequence[Path]) -> int:
    """Copy finished runs under `places` to where runs of the same configuration have not begun; how many were.

    Only where a run lies may differ. One that names another run, as its teacher or its start, is never the same.

    Raises:
        UserError: If a place is no folder, or two runs of one configuration came to different results: then
            they were not made by the same code, and no configuration tells which is meant.
    """
    finished: dict[str, Path] = {}
    for path in finished_runs(places):
        other = finished.setdefault(key_of(load_config(path / CONFIG)), path)
        if results_of(other) != results_of(path):
            raise UserError(
                f"{other} and {path} have one configuration and different results; give --reuse the folder of one"
            )
    taken = [(finished.get(key_of(run.config)), run.folder) for run in runs if not run.folder.exists()]
    pairs = [(source, target) for source, target in taken if source is not None]
    for source, target in pairs:
        aside = target.with_name(target.name + PART)
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(source, aside)
        aside.rename(target)
    return len(pairs)


def finished_runs(places: Iterable[Path]) -> list[Path]:
    """Folders of the finished runs at any depth of some folders."""
    for place in places:
        if not place.is_dir():
            raise UserError(f"--reuse {place}: there is no such folder; give that of a run or an ablation")
    configs = sorted({path for place in places for path in place.rglob(CONFIG)})
    return [path.parent for path in configs if path.parent.suffix != PART and RunFolder(path.parent).finished]


def key_of(config: Config) -> str:
    """All of a configuration but where its run lies, as one text."""
    return json.dumps(keys_of(config), sort_keys=True)


def results_of(folder: Path) -> str:
    """What was measured of a run's models, without what it took; as text, in which even NaN is equal to itself."""
    return repr([(one.role, one.fingerprint, one.metrics) for one in read_results(folder, classes=True)])
