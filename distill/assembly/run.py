"""The objects of one run, put together on the devices and processes that there are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from timm.layers import convert_sync_batchnorm
from timm.utils import ModelEmaV3

from distill.assembly.datasets import RunData
from distill.assembly.networks import build_method, build_student, build_teacher, check_kinds
from distill.assembly.preflight import check_norms
from distill.assembly.teaching import TeacherFacts, teacher_facts
from distill.assembly.validation import Validation
from distill.config import Config, DataConfig
from distill.console import inform, warn
from distill.data import EpochBatches, TrainingSet, mix
from distill.data.loader import keep_freed_memory
from distill.engine.alignment import align
from distill.engine.checkpoint import Checkpoints, Saving
from distill.engine.device import precision_here, settle
from distill.engine.faults import FaultLog
from distill.engine.loop import LoopSettings, Parts
from distill.engine.optimisation import build_optimizer, build_schedule
from distill.engine.processes import group_options, on_main, shard_teacher
from distill.engine.run_folder import RunFolder
from distill.engine.state import Resumable, TrainState
from distill.engine.step import Learner
from distill.engine.tracking import Announcer, Tracker
from distill.errors import UserError
from distill.method import Method, symptoms
from students import DPTStudent, load_student
from teachers import FrozenTeacher
from teachers.model import is_relative


@dataclass
class Run:
    """Everything that a run consists of. `method` is the bare module, `parts` holds the prepared one.

    `teacher` is the one that can be evaluated and shown: None where there is none, or the processes share it. `facts`
    are of whoever teaches, also by labels.
    """

    config: Config
    folder: RunFolder
    data: RunData
    teacher: FrozenTeacher | None
    facts: TeacherFacts | None
    method: Method
    accelerator: Accelerator
    validation: Validation
    parts: Parts
    settings: LoopSettings
    state: TrainState
    batches: EpochBatches


def assemble(config: Config, folder: RunFolder, data: RunData, accelerator: Accelerator) -> Run:
    """Teacher, student, method, optimizer and records, at the point where the newest checkpoint left them."""
    state, checkpoints = TrainState(), Checkpoints(folder.checkpoints, config.train.keep)
    saved = on_main(accelerator, checkpoints.load)
    all_batches = make_batches(config, data.train, accelerator)
    steps = config.total_steps(all_batches.steps_per_epoch)

    teacher, method = make_networks(config, data, steps, all_batches.steps_per_epoch, accelerator)
    check_norms(method.student, config.train, data.train)
    learner = make_learner(config, teacher, method, steps, accelerator)
    facts = teacher_facts(config, teacher, data.train.labels)
    if config.student.align:
        assert isinstance(method.student, DPTStudent)  # `build_student` refuses others
        align(method.student, data.train, accelerator, folder.path)
    if config.train.ema is not None:  # training, or `merge_statistics` would pass its BatchNorm by
        learner.average = ModelEmaV3(method.student, decay=config.train.ema, use_warmup=True).train()

    resumable = Resumable(
        method,
        learner.optimizer,
        learner.schedule,
        accelerator.scaler,
        state,
        identity={"teacher": facts.fingerprint if facts else None},
        seen={**data.prints, "precision": accelerator.mixed_precision},
        average=learner.average,
    )
    if saved is not None:
        changed = resumable.restore(saved)
        if report_changes(state, changed) or not on_main(accelerator, lambda: holds_best(folder.student, state)):
            state.best, state.best_step, state.validated = float("inf"), 0, 0  # the best is chosen anew

    # What the main process does alone cannot ask a teacher of which the others hold parts.
    shown_teacher = None if config.teacher.shard else teacher
    tracker = Tracker(folder.path, state.step, accelerator.is_main_process)
    shown = accelerator, config, folder, data, shown_teacher, facts, method, tracker, state
    validation = Validation(*shown, learner.average)
    parts = Parts(
        learner,
        save=Saving(accelerator, config, folder, checkpoints, resumable),
        validate=validation,
        tracker=tracker,
        watch=Announcer(symptoms),
        faults=FaultLog(accelerator, folder.path / "faults", config.data.max_faults * len(data.train)),
    )
    settings = loop_settings(config, steps, all_batches, data)
    batches = make_batches(config, data.train, accelerator, state.step, steps)
    return Run(
        config, folder, data, shown_teacher, facts, method, accelerator, validation, parts, settings, state, batches
    )


def report_changes(state: TrainState, changed: list[str]) -> bool:
    """Say what of the data is another than when the run stopped; whether former results compare with no later ones."""
    if not changed:
        return False
    measured_otherwise = bool({"protocol", "test list", "test files"} & set(changed))
    anew = "; the best student is chosen anew, as former results were of other images or another protocol"
    warn(
        f"since step {state.step} was saved these have changed: {', '.join(changed)}. The run goes on with what is "
        f"there now{anew if measured_otherwise else ''}"
    )
    return measured_otherwise


def holds_best(folder: Path, state: TrainState) -> bool:
    """Whether the best student so far, if there is one, is whole.

    Raises:
        UserError: If it cannot be read just now.
    """
    try:
        if state.best_step:
            load_student(folder)
    except (FileNotFoundError, ValueError) as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
            raise UserError(f"{folder} cannot be read ({error.__cause__.strerror}); mend that, and continue") from error
        warn(f"the best student, of step {state.best_step}, is lost ({error}); another is chosen from now on")
        return False
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}); mend that, and continue with --resume") from error
    return True


def make_accelerator(config: Config) -> Accelerator:
    """The devices and processes of this run, as Accelerate finds them."""
    precision = precision_here(config.train.precision)
    # Accelerate joins CPU processes of torchrun only where it is asked to; otherwise they stay strangers.
    cpu = "LOCAL_RANK" in os.environ and not torch.cuda.is_available()
    ddp = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    try:
        accelerator = Accelerator(mixed_precision=precision, cpu=cpu, kwargs_handlers=[ddp, group_options()])
    except ValueError as error:
        what = "this launch" if precision == "no" else f"train.precision={precision}"
        raise UserError(f"{what} does not work here: {error}") from error
    settle(config.train, accelerator.device)
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    if precision != "no" and not accelerator.native_amp:  # on a CPU, fp16 would silently be float32
        raise UserError(f"train.precision={precision} does not work on {accelerator.device.type}; use bf16 or no")
    if (
        precision == "bf16"
        and accelerator.device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise UserError("train.precision=bf16 is only imitated by this GPU, which is slow; use fp16 or no")
    return accelerator


def make_networks(
    config: Config, data: RunData, steps: int, per_epoch: int, accelerator: Accelerator
) -> tuple[FrozenTeacher | None, Method]:
    """The teacher in its place, and the method with its student."""
    warmup = config.warmup_steps(steps, per_epoch)  # refused before weights are read or fetched
    teacher = build_teacher(config)
    set_seed(config.seed)
    student = build_student(config, data.max_depth)
    labels = data.train.labels
    relative = all(one.output == "relative" for one in labels) if labels else is_relative(teacher)
    if relative and data.train.without_truth:
        name = labels[0].teacher if labels else config.teacher.name
        inform(f"{name} is relative and no image has depth: the student will be relative too")
        student.output = "relative"
    if config.train.sync_batchnorm and accelerator.device.type != "cuda":
        raise UserError(f"train.sync_batchnorm works on GPUs only, this is {accelerator.device.type}; leave it out")
    if teacher is not None:
        check_kinds(config, teacher.classes)
    method = build_method(config, student, teacher, warmup)
    if config.train.sync_batchnorm:
        method.student = convert_sync_batchnorm(method.student)
    if config.train.channels_last:
        method.to(memory_format=torch.channels_last)
    if teacher is not None and config.teacher.shard:
        shard_teacher(teacher, accelerator)
    return teacher and teacher.to(accelerator.device), method


def make_learner(
    config: Config, teacher: FrozenTeacher | None, method: Method, steps: int, accelerator: Accelerator
) -> Learner:
    """What a step works on, prepared by Accelerate."""
    optimizer = build_optimizer(config.optim, method)
    schedule = build_schedule(config.optim, optimizer, steps)
    module, prepared = accelerator.prepare(method, optimizer)
    if accelerator.num_processes > 1:
        module.broadcast_buffers = False  # each process gathers its own statistics, see `merge_statistics`
    return Learner(accelerator, method, module, teacher, prepared, schedule, config.train.clip, config.seed)


def make_batches(
    config: Config, samples: TrainingSet, accelerator: Accelerator, start: int = 0, stop: int | None = None
) -> EpochBatches:
    """Which images come in which step; the same for any number of processes."""
    return EpochBatches(
        counts=samples.counts,
        batch_size=config.train.batch_size,
        micro_batch=config.train.micro_batch or config.train.batch_size,
        seed=config.seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        start_step=start,
        total_steps=stop,
        shown=images_shown(config.data, samples.counts),
    )


def images_shown(data: DataConfig, counts: tuple[int, ...]) -> tuple[int, ...]:
    """Images that an epoch draws of each source: by weight, all of a single one, and the photographs' share of all."""
    sources = data.sources[: len(counts)]
    shown = mix(counts[: len(sources)], [one.weight for one in sources]) if sources else counts[:1]
    if len(counts) == len(shown) or data.unlabelled is None:
        return shown
    return (*shown, round(sum(shown) * data.unlabelled.share / (1 - data.unlabelled.share)))


def loop_settings(config: Config, steps: int, batches: EpochBatches, data: RunData) -> LoopSettings:
    """How long the loop runs, and how often it logs, validates and saves."""
    train = config.train
    every = train.validate_every or max(steps // train.validations, 1)
    return LoopSettings(
        steps,
        batches.steps_per_epoch,
        batches.micro_batches_per_step,
        train.log_every,
        every if data.test is not None else 0,
        train.checkpoint_every,
        train.checkpoint_minutes,
    )
