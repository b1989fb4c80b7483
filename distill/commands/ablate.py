"""`distill ablate`: carries out what is missing of an ablation, then writes its tables."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from distill.ablation.gather import gather, readable
from distill.ablation.launch import Launcher
from distill.ablation.lines import make_tables
from distill.ablation.plan import PlannedRun, plan_runs, reuse
from distill.ablation.preset import Preset, load_preset
from distill.assembly.networks import check_method, check_models
from distill.commands.arguments import add_overrides, check_folder, count
from distill.console import display, inform
from distill.errors import DONE, FAILURE, MISTAKE, UserError
from distill.pages.ablation_page import FILES, write_files


def options(parser: argparse.ArgumentParser) -> None:
    """Declare what `distill ablate` takes."""
    parser.add_argument("preset", type=Path, metavar="CONFIG.yaml", help="one of configs/ablations/, or your own")
    add_overrides(parser, "replace a value in every run, or base= and seeds=")
    parser.add_argument("--output", type=Path, help="folder (default: runs/ablations/ and the configuration's name)")
    parser.add_argument(
        "--jobs", type=count, default=1, metavar="N", help="runs at a time (default: 1); 0 only gathers finished ones"
    )
    parser.add_argument(
        "--reuse",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="take over what runs of the same configuration left in another ablation's folder",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--dry-run", action="store_true", help="show what would run")
    which.add_argument("--list", action="store_true", help="print a command for every missing run, for a scheduler")


def run(args: argparse.Namespace) -> int:
    """Carry out `distill ablate`."""
    words = args.preset, args.overrides, args.output
    if args.reuse and (args.dry_run or args.list):
        raise UserError("--reuse copies runs, --dry-run and --list only show them; give --reuse DIR --jobs 0 before")
    if args.dry_run:
        show_plan(*words)
    elif args.list:
        list_commands(*words)
    else:
        return ablate(*words, args.jobs, args.reuse)
    return DONE


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
        UserError: If a path, a row or a value is wrong, before any run starts; or if nothing is there to gather.
        Interrupted: After SIGINT or SIGTERM, with the state of every run saved.
    """
    preset, runs = plan(path, overrides, output)
    if reused:
        inform(f"{reuse(runs, reused)} of {len(runs)} runs were taken over")
    launcher = Launcher(runs, jobs)
    if jobs:
        begun = any(runs[0].output.glob("*/seed_*"))  # with whatever rows and seeds
        check_folder(runs[0].output, "--output", [], [] if begun else [runs[0].output / name for name in FILES])
        check_networks(runs)
        launcher.launch()
    codes = set(launcher.failed.values())
    if any(run.finished for run in runs):
        folder = ["--output", str(output)] if output else []
        write_results(preset, runs, shlex.join(["distill", "ablate", str(path), *overrides, *folder]))
    elif not codes:
        raise UserError(f"no run under {runs[0].output} is finished, so there is no table; see --dry-run")
    if codes:
        failed = f"{len(launcher.failed)} of {len(runs)} runs failed; the same command tries them again"
        inform(failed, "red")
    return MISTAKE if codes == {MISTAKE} else FAILURE if codes else DONE


def plan(path: Path, overrides: Sequence[str], output: Path | None) -> tuple[Preset, list[PlannedRun]]:
    """Read and check everything."""
    preset = load_preset(path, overrides)
    return preset, plan_runs(preset, output or Path("runs") / "ablations" / path.stem)


def check_networks(runs: Sequence[PlannedRun]) -> None:
    """Refuse unknown names and absent files of networks, where no run of this ablation has yet to make them."""

    for run in runs:
        if not run.finished:
            check_method(run.config)
        if not run.finished and run.ready:
            check_models(run.config)


def write_results(preset: Preset, runs: Sequence[PlannedRun], command: str) -> None:
    """Tables of the finished runs, on the screen and in files."""
    output = runs[0].output
    whole, damaged = readable(runs)
    tables = make_tables(preset, gather(preset, whole), sum(not run.finished for run in runs), damaged)
    write_files(tables, output, command)
    for table in tables.for_terminal():
        display(table)
    for note in tables.notes:
        inform(note)
    display(f"report: {(output / 'report.html').resolve()}")


def show_plan(path: Path, overrides: Sequence[str], output: Path | None) -> None:
    """`--dry-run`: where every run stands, and what its row changes."""
    preset, runs = plan(path, overrides, output)
    for run in runs:
        changes = "  ".join(f"{key}={value}" for key, value in preset.rows[run.row].items())
        display(f"{'finished' if run.finished else 'missing':8}  {run.folder}  {changes}".rstrip())
    display(f"{sum(not run.finished for run in runs)} of {len(runs)} runs are missing")


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
        inform(f"{waiting} more need results of these: list again when they are finished")
