"""One run, from its configuration to a trained student and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill import build
from distill.assembly import Run, assemble, make_accelerator
from distill.config import Config
from distill.data import Loader
from distill.engine.advice import advise_schedule, advise_workers
from distill.engine.files import write_json
from distill.engine.folder import RunFolder
from distill.engine.loop import train
from distill.engine.processes import on_main
from distill.engine.state import TrainState
from distill.engine.tracking import console
from distill.errors import UserError
from distill.summary import say_inheritance, summarise


def train_run(config: Config, output: Path, resume: bool = False, force: bool = False) -> Path:
    """Carry out a run in `output`, or what is left of it, and return the folder.

    Args:
        resume: Continue what lies there.
        force: Do so though keys that do not change what is learnt have other values.

    Raises:
        UserError: If anything given is wrong.
        Interrupted: After SIGINT or SIGTERM, with the state saved.
    """
    folder = RunFolder(output)
    accelerator = make_accelerator(config)
    if on_main(accelerator, lambda: resume and folder.holds_finished(config, force)):
        return output
    data = build.build_data(config)
    build.check_models(config)
    on_main(accelerator, lambda: folder.claim(resume))
    try:
        run = assemble(config, folder, data, accelerator)
        # Only now: a refusal above leaves an empty folder, in which the corrected command simply starts.
        if accelerator.is_main_process:
            say_advice(run)
            folder.begin(config)
            say_inheritance(output, run.method.student)
        loader = Loader(data.train, run.batches, config.data.workers, pin_memory=accelerator.device.type == "cuda")
        train(run.parts, loader, run.settings, run.state)
        if accelerator.is_main_process:
            finish(run)
        run.parts.tracker.close()
    finally:
        if accelerator.is_main_process:
            folder.release()
    return output


def say_advice(run: Run) -> None:
    """What works and is probably not meant."""
    schedule = advise_schedule(run.config.train, len(run.data.train), run.settings.steps)
    for line in [*advise_workers(run.config.data.workers), *schedule, *build.advise_networks(run.config)]:
        console.print(line, style="yellow", highlight=False)


def finish(run: Run) -> None:
    """The student's folder, the results and the report; then the run counts as done."""
    state, folder = run.state, run.folder
    try:
        if state.best_step == 0 or not folder.student.is_dir():
            run.validation.keep(None)
        summarise(folder.path, run.config, run.data, run.method, run.teacher, run.accelerator.device)
        done: dict[str, Any] = {"step": state.step, "best_step": state.best_step, "skipped_steps": state.skipped}
        done |= {"unreadable": sorted(state.faults), "processes": run.accelerator.num_processes}
        write_json(folder.done, done)
    except OSError as error:
        raise UserError(
            f"results not written ({error}); the state is saved: make room, continue with --resume"
        ) from error
    say_losses(state)


def say_losses(state: TrainState) -> None:
    """What did not count: it is in done.json, but nobody should have to look there to learn of it."""
    if state.faults:
        first = ", ".join(sorted(state.faults)[:3])
        said = f"{len(state.faults)} training images could not be read, others took their place; the first: {first}"
        console.print(said, style="yellow", highlight=False)
    if state.skipped:
        console.print(f"{state.skipped} steps had no finite loss and gradient and changed nothing", style="yellow")
