"""Runs that another ablation has carried out, and that this one need not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from distill.ablation.plan import PlannedRun
from distill.config import Config, load_config
from distill.engine.run_folder import CONFIG, RunFolder, keys_of
from distill.errors import UserError
from distill.evaluation import read_results

PART = ".part"  # ends the name of a folder that is not wholly copied


def reuse(runs: Sequence[PlannedRun], places: Sequence[Path]) -> int:
    """Copy finished runs under `places` to where runs of the same configuration have not begun; how many were.

    Only where a run lies may differ. One that names another run, as its teacher or its start, is never the same.

    Raises:
        UserError: If a place is no folder, or two runs found for one configuration came to different results: then
            they were not made by the same code, and no configuration tells which is meant.
    """
    found: dict[str, Path] = {}
    for path in finished_runs(places):
        other = found.setdefault(key_of(load_config(path / CONFIG)), path)
        if results_of(other) != results_of(path):
            said = f"{other} and {path} have one configuration and different results"
            raise UserError(f"{said}; give --reuse the folder of one of them")
    taken = [(found.get(key_of(run.config)), run.folder) for run in runs if not run.folder.exists()]
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
    return json.dumps(keys_of(config), sort_keys=True)


def results_of(folder: Path) -> str:
    """What was measured of a run's models, without what it took; as text, in which even NaN is equal to itself."""
    return repr([(one.role, one.fingerprint, one.metrics) for one in read_results(folder)])
