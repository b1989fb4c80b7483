"""The networks of a run: teacher, student, ghost, and the method that joins them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from distill.config import Config
from distill.errors import UserError
from distill.method import LOSSES, METHODS, FixedGhost, Method
from students import create_student, load_student
from students.freezing import freeze
from teachers import FrozenTeacher, create_teacher, list_teachers

SHIPPED = "dpt_micro"  # the one DPT that has weights of its own


def user_error(error: Exception) -> UserError:
    """The mistake behind an exception of `teachers` or `students`, in one line."""
    return UserError(" ".join(str(error).split()))


def is_folder(teacher: str) -> bool:
    """Whether a teacher is a trained model's folder; a folder that is called like a DPT is not meant."""
    return teacher not in list_teachers() and Path(teacher).is_dir()


def check_models(config: Config) -> None:
    """Look at names and files of both networks before anything is built."""
    check_teacher(config)
    parent = config.student.checkpoint
    if parent is not None and str(parent) != SHIPPED and not parent.exists():
        raise UserError(f"student.checkpoint: nothing at {parent}; give the path of the parent's weights, or {SHIPPED}")


def check_teacher(config: Config) -> None:
    """Look at the teacher's name and file before anything is built."""
    given = config.teacher
    if not METHODS[config.method.name].needs_teacher:
        return
    if not given.name:
        raise UserError(
            f"method.name={config.method.name} needs a teacher and there is none; name one with teacher.name "
            f"({', '.join(list_teachers())}, or the folder of a trained model), or set method.name=supervised"
        )
    if is_folder(given.name):
        return
    if given.name not in list_teachers():
        raise UserError(
            f"unknown teacher {given.name!r}, known are {', '.join(list_teachers())}, or the folder of a trained model"
        )
    if given.checkpoint is not None and not given.checkpoint.exists():
        raise UserError(f"teacher.checkpoint: no file at {given.checkpoint}; give the path of the teacher's weights")
    if given.checkpoint is None and given.name != SHIPPED:
        raise UserError(f"teacher.checkpoint is needed for {given.name}: a teacher without weights teaches nothing")


def advise_networks(config: Config) -> list[str]:
    """On keys that have values and that no network of this run reads."""
    taught, student, found = METHODS[config.method.name].needs_teacher, config.student, list[str]()
    if taught and is_folder(config.teacher.name):
        of_names = config.teacher.model_dump(include={"checkpoint", "scale", "shift", "invert", "readout"})
        given = [f"teacher.{key}" for key, value in of_names.items() if value is not None]
        found += [f"{', '.join(given)}: not read, as the folder {config.teacher.name} says it all"] if given else []
    if student.lg_scope is not None and not student.lg_conv:
        found.append("student.lg_scope: not read, as student.lg_conv is not true")
    return found


def build_teacher(config: Config) -> FrozenTeacher | None:
    """The frozen teacher, None where the method has no use for one.

    Raises:
        UserError: If its weights cannot be read or are another network's.
    """
    given = config.teacher
    if not METHODS[config.method.name].needs_teacher:
        return None
    try:
        if is_folder(given.name):
            teacher = FrozenTeacher(load_student(given.name))
        else:
            options = given.model_dump(include={"scale", "shift", "invert", "readout"}, exclude_none=True)
            teacher = create_teacher(given.name, given.checkpoint, **options)
    except (ValueError, FileNotFoundError) as error:
        raise user_error(error) from error
    if given.compile:
        teacher.model.encoder.compile()  # a copy, of which operations are counted, is plain again
    return teacher


def build_student(config: Config, max_depth: float) -> nn.Module:
    """The student of a run, with random, ImageNet or inherited weights."""
    given = config.student
    if given.align and given.backbone not in list_teachers():
        raise UserError(f"student.align is for relative weights of a DPT, {given.backbone} is none; leave it out")
    options = given.model_dump(exclude={"backbone", "align", "frozen"}, exclude_none=True)
    meaning = {"invert": False} if given.align else {}  # of the raw output, until the training images have said it
    try:
        student = create_student(given.backbone, **{"max_depth": max_depth, **options, **meaning})
        freeze(student, given.frozen)
        return student
    except (ValueError, FileNotFoundError) as error:
        raise user_error(error) from error


def build_method(config: Config, student: nn.Module, teacher: FrozenTeacher | None, warmup_steps: int = 0) -> Method:
    """The method by name. `disdepth` without FAM is classical feature distillation."""
    given = config.method
    name = "feature" if given.name == "disdepth" and not given.fam else given.name
    loss = LOSSES[given.loss]
    options: dict[str, Any] = {}
    if name in ("feature", "disdepth"):
        assert teacher is not None
        options = {
            "teacher_channels": teacher.feature_channels,
            "kd_weight": given.kd_weight,
            "kd_normalise": given.kd_normalise,
            "warmup_steps": warmup_steps,
        }
    if name == "disdepth":
        options |= {"lam": given.lam, "window": given.window, "ghost": build_ghost(config, student)}
    if name == "output":
        options = {"weight": given.output_weight}
    return METHODS[name](student, loss, **options)


def build_ghost(config: Config, student: Any) -> FixedGhost | None:
    """The decoder of another, trained student, where the configuration names one.

    Raises:
        UserError: If it cannot be read, or takes other maps than the student gives.
    """
    if config.method.ghost is None:
        return None
    try:
        trained: Any = load_student(config.method.ghost)
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"method.ghost: {user_error(error)}") from error
    theirs, ours = tuple(trained.feature_channels), tuple(student.feature_channels)
    if theirs != ours:
        raise UserError(
            f"method.ghost: the decoder of {config.method.ghost} takes maps of {theirs} channels, the student gives "
            f"{ours}; name a student of the same backbone"
        )
    return FixedGhost(trained)


def open_model(name: str, **conversion: Any) -> nn.Module:
    """MODEL of the command line: a run folder, a `student/` folder, or `teacher-name:checkpoint`.

    `conversion` (scale, shift, invert) tells what a checkpoint's raw output means.

    Raises:
        UserError: If there is no such model.
    """
    try:
        if name in list_teachers():
            if name != SHIPPED:
                raise UserError(f"{name} needs weights: give {name}:CHECKPOINT")
            return create_teacher(name)
        if Path(name).exists() or ":" not in name:
            return load_student(name)
        teacher, _, checkpoint = name.partition(":")
        return create_teacher(teacher, checkpoint, **conversion)
    except (ValueError, FileNotFoundError) as error:
        raise user_error(error) from error
