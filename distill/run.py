"""One run, from its configuration to a trained student and its report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn

from distill import build
from distill.config import MIN_SIDE, Config, dump_config
from distill.data import Batch, EpochBatches, make_loader, readable
from distill.engine.alignment import align
from distill.engine.checkpoint import Checkpoints, random_states, restore_random_states
from distill.engine.files import write_atomically, write_json
from distill.engine.folder import RunFolder
from distill.engine.loop import LoopSettings, Parts, TrainState, train
from distill.engine.optimisation import build_optimizer, build_schedule, total_steps
from distill.engine.tracking import Announcer, Tracker, console
from distill.errors import UserError
from distill.evaluation import Evaluation, evaluate
from distill.method import Guide, Method, consult, symptoms, within
from distill.panels import method_panels
from distill.report import panel_strip
from distill.summary import say_inheritance, summarise
from students import save_student
from teachers import FrozenTeacher


@dataclass
class Run:
    """Everything that a run consists of. `method` is the bare module, `parts` holds the prepared one."""

    config: Config
    folder: RunFolder
    data: build.Data
    teacher: FrozenTeacher | None
    method: Method
    parts: Parts
    settings: LoopSettings
    checkpoints: Checkpoints
    state: TrainState
    batches: EpochBatches


def train_run(config: Config, output: Path, resume: bool = False) -> Path:
    """Carry out a run in `output`, or what is left of it, and return the folder.

    Raises:
        UserError: If anything given is wrong.
        Interrupted: After SIGINT or SIGTERM, with the state saved.
    """
    folder = RunFolder(output)
    if resume and folder.config.is_file():
        folder.check_same(config)
        if folder.finished:
            return output
    data = build.build_data(config)
    build.check_models(config)
    accelerator = make_accelerator(config)
    if accelerator.is_main_process:
        folder.claim(resume)
    try:
        run = assemble(config, folder, data, accelerator)
        # Only now: a refusal above leaves an empty folder, in which the corrected command simply starts.
        if accelerator.is_main_process:
            write_atomically(folder.config, dump_config(config))
            say_inheritance(output, run.method.student)
        loader = make_loader(data.train, run.batches, config.data.workers, pin_memory=accelerator.device.type == "cuda")
        train(run.parts, loader, run.settings, run.state)
        if accelerator.is_main_process:
            finish(run)
        run.parts.tracker.close()
    finally:
        if accelerator.is_main_process:
            folder.release()
    return output


def make_accelerator(config: Config) -> Accelerator:
    """The devices and processes of this run, as Accelerate finds them."""
    precision = config.train.precision
    try:
        accelerator = Accelerator(mixed_precision=precision)
    except ValueError as error:
        raise UserError(f"train.precision={precision} does not work here: {error}") from error
    if precision != "no" and not accelerator.native_amp:  # on a CPU, fp16 would silently be float32
        raise UserError(f"train.precision={precision} does not work on {accelerator.device.type}; use bf16 or no")
    return accelerator


def assemble(config: Config, folder: RunFolder, data: build.Data, accelerator: Accelerator) -> Run:
    """Teacher, student, method, optimizer and records, at the point where the newest checkpoint left them."""
    teacher = build.build_teacher(config)
    set_seed(config.seed)
    student = build.build_student(config, data.max_depth)
    batches = make_batches(config, len(data.train), accelerator)
    steps = total_steps(config, batches.steps_per_epoch)
    method = build.build_method(config, student, teacher, steps, batches.steps_per_epoch)
    if config.train.channels_last:
        method.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(config.optim, method)
    schedule = build_schedule(config.optim, optimizer, steps)
    module, prepared = accelerator.prepare(method, optimizer)
    if teacher is not None:
        teacher.to(accelerator.device)
    if config.student.align:
        align(student, data.train, accelerator, folder.path)
    checkpoints = Checkpoints(folder.checkpoints, config.train.keep)
    state = TrainState()
    restore(checkpoints.load(), method, prepared, schedule, accelerator, state)
    tracker = Tracker(folder.path, state.step, accelerator.is_main_process)
    parts = Parts(
        accelerator,
        module,
        asker(teacher, method),
        prepared,
        schedule,
        save=lambda: None,
        validate=lambda: None,
        tracker=tracker,
        watch=Announcer(symptoms),
    )
    settings = loop_settings(config, steps, batches, data)
    batches = make_batches(config, len(data.train), accelerator, state.step, steps)
    run = Run(config, folder, data, teacher, method, parts, settings, checkpoints, state, batches)
    parts.save, parts.validate = lambda: save(run), lambda: validate(run)
    return run


def make_batches(
    config: Config, count: int, accelerator: Accelerator, start: int = 0, stop: int | None = None
) -> EpochBatches:
    """Which images come in which step; the same for any number of processes."""
    given, world = config.train, accelerator.num_processes
    micro = given.micro_batch or max(given.batch_size // world, 1)
    return EpochBatches(count, given.batch_size, micro, config.seed, accelerator.process_index, world, start, stop)


def loop_settings(config: Config, steps: int, batches: EpochBatches, data: build.Data) -> LoopSettings:
    given = config.train
    every = given.validate_every or max(steps // build.MAX_VALIDATIONS, 1)
    return LoopSettings(
        steps,
        batches.steps_per_epoch,
        batches.micro_batches_per_step,
        given.clip,
        given.log_every,
        every if data.test is not None else 0,
        given.checkpoint_every,
        given.checkpoint_minutes,
        config.data.max_faults * len(data.train),
    )


def asker(teacher: FrozenTeacher | None, method: Method) -> Any:
    """The loop's way to the teacher."""

    def guide(batch: Batch) -> Guide:
        return consult(teacher, method, batch.image, within(batch.depth, batch.valid, method.limits))

    return guide


# --------------------------------------------------------------------------------------------------------------- state


def save(run: Run) -> None:
    """Write a checkpoint (the teacher is not in it)."""
    accelerator = run.parts.accelerator
    if not accelerator.is_main_process:
        return
    state = {
        "module": run.method.state_dict(),
        "optimizer": run.parts.optimizer.state_dict(),
        "schedule": run.parts.schedule.state_dict(),
        "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else None,
        "random": random_states(),
        "state": asdict(run.state) | {"faults": sorted(run.state.faults)},
    }
    try:
        run.checkpoints.save(run.state.step, state)
    except OSError as error:
        console.print(f"checkpoint not written ({error}); the last good one stays, the run goes on", style="yellow")


def restore(
    saved: dict[str, Any] | None,
    method: Method,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    accelerator: Accelerator,
    state: TrainState,
) -> None:
    """Put everything where a checkpoint left it; without one, nothing changes."""
    if saved is None:
        return
    method.load_state_dict(saved["module"])
    optimizer.load_state_dict(saved["optimizer"])
    schedule.load_state_dict(saved["schedule"])
    if saved["scaler"] is not None and accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(saved["scaler"])
    restore_random_states(saved["random"])
    for key, value in saved["state"].items():
        setattr(state, key, set(value) if key == "faults" else value)


# ---------------------------------------------------------------------------------------------------------- evaluation


def judge(run: Run, model: nn.Module) -> Evaluation:
    """The model's results on the test half, by the run's protocol."""
    assert run.data.test is not None
    return evaluate(
        model,
        readable(run.data.test),
        run.data.protocol,
        device=run.parts.accelerator.device,
        size=run.config.data.size,
        min_side=MIN_SIDE,
    )


def validate(run: Run) -> None:
    """Judge the student, log it, and keep it if it is the best so far."""
    if run.parts.accelerator.is_main_process:
        results = judge(run, run.method.student)
        run.parts.tracker.log("val", run.state.step, results.metrics)
        if results.metrics["abs_rel"] < run.state.best:
            run.state.best, run.state.best_step = results.metrics["abs_rel"], run.state.step
            keep_student(run, results)
        show_progress(run, results)
    run.parts.accelerator.wait_for_everyone()


def show_progress(run: Run, results: Evaluation) -> None:
    said = ", ".join(f"{name} {results.metrics[name]:.4g}" for name in ("abs_rel", "rmse", "d1"))
    console.print(f"step {run.state.step}: {said} on {len(results.images)} images", highlight=False)
    for panel in method_panels(run.method, run.teacher, run.data, run.config.data.size, [0]):
        run.parts.tracker.picture(f"panels/{panel.name}", run.state.step, panel_strip(panel))


def keep_student(run: Run, results: Evaluation | None) -> None:
    """Write the student of this moment to `student/`, with what should be known of it."""
    config = run.config
    metadata: dict[str, Any] = {
        "method": config.method.name,
        "teacher": config.teacher.name if run.teacher is not None else None,
        "data": config.data.name,
        "step": run.state.step,
        "input_size": config.data.size,
    }
    if results is not None:
        metadata |= {"protocol": results.protocol.name, "fingerprint": results.protocol.fingerprint}
        metadata |= {"metrics": results.metrics}
    save_student(run.method.student, run.folder.student, metadata)


def finish(run: Run) -> None:
    """The student's folder, the results and the report; then the run counts as done."""
    if run.state.best_step == 0:
        keep_student(run, None)
    summarise(run.folder.path, run.config, run.data, run.method, run.teacher, run.parts.accelerator.device)
    done = {"step": run.state.step, "best_step": run.state.best_step, "skipped_steps": run.state.skipped}
    write_json(run.folder.done, done | {"unreadable": sorted(run.state.faults)})
    say_losses(run.state)


def say_losses(state: TrainState) -> None:
    """What did not count: it is in done.json, but nobody should have to look there to learn of it."""
    if state.faults:
        first = ", ".join(sorted(state.faults)[:3])
        said = f"{len(state.faults)} training images could not be read, others took their place; the first: {first}"
        console.print(said, style="yellow", highlight=False)
    if state.skipped:
        console.print(f"{state.skipped} steps had no finite gradient and changed nothing", style="yellow")
