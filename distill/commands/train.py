"""`distill train`: one run, from its configuration to a trained student and its report."""

from __future__ import annotations

import argparse
from pathlib import Path

from distill.assembly.datasets import build_data
from distill.assembly.networks import check_method, check_models
from distill.assembly.preflight import advise_networks, advise_schedule, advise_workers
from distill.assembly.run import Run, assemble, make_accelerator
from distill.commands.arguments import add_overrides
from distill.config import Config, dump_config, load_config
from distill.console import console, display, inform, leave_output, warn
from distill.data import Loader
from distill.engine.loop import train
from distill.engine.processes import on_main, workers_here
from distill.engine.run_folder import RunFolder
from distill.engine.state import TrainState
from distill.errors import DONE, UserError
from distill.files import write_json
from distill.pages.run_page import report_inheritance, show_header, show_outcome, summarise
from distill.pages.worth import show_teacher


def options(parser: argparse.ArgumentParser) -> None:
    """Declare what `distill train` takes."""
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml", help="one of configs/, your own, or a run's folder")
    add_overrides(parser, "replace a value of the configuration")
    parser.add_argument("--output", type=Path, help="folder of the run (default: runs/ and the configuration's name)")
    parser.add_argument("--resume", action="store_true", help="continue the run in that folder")
    parser.add_argument(
        "--force", action="store_true", help="with --resume: accept other values of keys that change nothing learnt"
    )
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration and end")


def run(args: argparse.Namespace) -> int:
    """Carry out `distill train`."""
    config = load_config(args.config, args.overrides)
    here = args.config if args.config.is_dir() else None  # a run's folder, which may have been moved
    output = args.output or here or config.output or Path("runs") / args.config.stem
    config = config.model_copy(update={"output": output})
    if args.force and not args.resume:
        raise UserError("--force accepts another configuration of a run that is continued: give --resume as well")
    if args.print_config:
        print(dump_config(config), end="")
        return DONE
    folder = train_run(config, output, args.resume, args.force)
    if not console.quiet:
        try:
            display(f"student: {folder / 'student'}\nreport:  {folder / 'report.html'}")
        except OSError:  # who does not listen loses these lines, and nothing else
            leave_output()
    return DONE


def train_run(config: Config, output: Path, resume: bool = False, force: bool = False) -> Path:
    """Carry out a run in `output`, or what is left of it, and return the folder.

    Args:
        resume: Continue what lies there.
        force: Do so though keys that do not change what is learnt have other values.

    Raises:
        UserError: If the configuration, the data, a checkpoint or the folder is wrong.
        Interrupted: After SIGINT or SIGTERM, with the state saved.
    """
    folder = RunFolder(output)
    accelerator = make_accelerator(config)
    if on_main(accelerator, lambda: folder.holds_finished(config, force) and resume):
        inform(f"{output} is finished already")
        return output
    check_method(config)
    data = build_data(config)
    check_models(config)
    on_main(accelerator, lambda: folder.claim(resume))
    try:
        run = assemble(config, folder, data, accelerator)
        # Only now: a refusal above leaves an empty folder, in which the corrected command simply starts.
        if accelerator.is_main_process:
            advise(run)
            folder.begin(config)
            report_inheritance(output, run.method.student)
            show_header(run)
            show_teacher(run)
        workers = workers_here(config.data.workers)
        loader = Loader(data.train, run.batches, workers, pin_memory=accelerator.device.type == "cuda")
        saved = train(run.parts, loader, run.settings, run.state)
        if accelerator.is_main_process:
            finish(run, saved)
        run.parts.tracker.close()
    finally:
        if accelerator.is_main_process:
            folder.release()
    return output


def advise(run: Run) -> None:
    """Report what works and is probably not meant."""
    schedule = advise_schedule(run.config.train, len(run.data.train), run.settings.steps)
    for line in [*advise_workers(run.config.data.workers), *schedule, *advise_networks(run.config)]:
        warn(line)


def finish(run: Run, saved: bool) -> None:
    """Write the student's folder, the results and the report; then the run counts as done.

    Args:
        saved: Whether the state is, so that all this can be done again.
    """
    state, folder = run.state, run.folder
    try:
        if state.best_step == 0 or not folder.student.is_dir():
            run.validation.write(None)
        results = summarise(run)
        done: dict[str, object] = {"step": state.step, "best_step": state.best_step, "skipped_steps": state.skipped}
        done |= {"unreadable": sorted(state.faults), "processes": run.accelerator.num_processes}
        done |= {"precision": run.accelerator.mixed_precision}
        write_json(folder.done, done)
    except OSError as error:
        way_on = "the state is saved: mend that and continue with --resume" if saved else "nor could the state be saved"
        raise UserError(f"results of {run.folder.path} not written ({error}); {way_on}") from error
    report_losses(state)
    show_outcome(run, results)


def report_losses(state: TrainState) -> None:
    """Name what did not count: it is in done.json, but nobody should have to look there to learn of it."""
    if state.faults:
        first = ", ".join(sorted(state.faults)[:3])
        warn(f"{len(state.faults)} training images could not be read, others took their place; the first: {first}")
    if state.skipped:
        warn(f"{state.skipped} steps had no finite loss and gradient and changed nothing")
