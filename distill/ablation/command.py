"""`distill ablate`: carries out what is missing of an ablation, then writes its tables."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from distill.ablation.launch import Launcher
from distill.ablation.plan import Run, plan_runs
from distill.ablation.preset import Preset, load_preset
from distill.engine.tracking import console
from distill.errors import UserError

DONE, OURS, YOURS = 0, 1, 2


def ablate(
    path: Path,
    overrides: Sequence[str] = (),
    output: Path | None = None,
    jobs: int = 1,
    reused: Sequence[Path] = (),
) -> int:
    """Carry out what is missing, `jobs` runs at a time, and write the tables of what is finished.

    With 0 jobs nothing is started: runs that were carried out elsewhere are gathered. Runs that finished under the
    folders `reused` with the same configuration are copied, not repeated.

    Returns:
        The command's exit code: 0 if no run failed, 2 if all that failed did so by a person's mistake, otherwise 1.

    Raises:
        UserError: If anything given is wrong, before any run starts; or if nothing is there to gather.
        Interrupted: After SIGINT or SIGTERM, with the state of every run saved.
    """
    preset, runs = plan(path, overrides, output)
    if reused:
        from distill.ablation.reuse import reuse

        console.print(f"{reuse(runs, reused)} of {len(runs)} runs were taken over", highlight=False)
    launcher = Launcher(runs, jobs)
    if jobs:
        check_networks(runs)
        launcher.launch()
    codes = set(launcher.failed.values())
    if any(run.finished for run in runs):
        folder = ["--output", str(output)] if output else []
        write_results(preset, runs, shlex.join(["distill", "ablate", str(path), *overrides, *folder]))
    elif not codes:
        raise UserError(f"no run under {runs[0].output} is finished, so there is no table; see --dry-run")
    if codes:
        said = f"{len(launcher.failed)} of {len(runs)} runs failed; the same command tries them again"
        console.print(said, style="red", highlight=False)
    return YOURS if codes == {YOURS} else OURS if codes else DONE


def plan(path: Path, overrides: Sequence[str], output: Path | None) -> tuple[Preset, list[Run]]:
    """Read and check everything."""
    preset = load_preset(path, overrides)
    return preset, plan_runs(preset, output or Path("runs") / "ablations" / path.stem)


def check_networks(runs: Sequence[Run]) -> None:
    """Refuse unknown names and absent files of networks, where no run of this ablation has yet to make them."""
    from distill.build import check_models

    for run in runs:
        if not run.finished and run.ready:
            check_models(run.config)


def write_results(preset: Preset, runs: Sequence[Run], command: str) -> None:
    """Tables of the finished runs, on the screen and in files."""
    from distill.ablation.files import write_files
    from distill.ablation.gather import gather, readable
    from distill.ablation.tables import make_tables

    output = runs[0].output
    whole, damaged = readable(runs)
    tables = make_tables(preset, gather(preset, whole), sum(not run.finished for run in runs), damaged)
    write_files(tables, output, command)
    for table in tables.for_terminal():
        Console().print(table)
    for note in tables.notes:
        console.print(note, highlight=False)
    print(f"report: {(output / 'report.html').resolve()}")


def show_plan(path: Path, overrides: Sequence[str], output: Path | None) -> None:
    """`--dry-run`: where every run stands, and what its row changes."""
    preset, runs = plan(path, overrides, output)
    for run in runs:
        changes = "  ".join(f"{key}={value}" for key, value in preset.rows[run.row].items())
        print(f"{'finished' if run.finished else 'missing':8}  {run.folder}  {changes}".rstrip())
    print(f"{sum(not run.finished for run in runs)} of {len(runs)} runs are missing")


def list_commands(path: Path, overrides: Sequence[str], output: Path | None) -> None:
    """`--list`: a command for every missing run that can start now, after its configuration was written."""
    _, runs = plan(path, overrides, output)
    missing = [run for run in runs if not run.finished]
    for run in missing:
        if run.ready:
            run.prepare()
            print(shlex.join(run.command()))
    waiting = sum(not run.ready for run in missing)
    if waiting:
        console.print(f"{waiting} more need results of these: list again when they are finished", highlight=False)
