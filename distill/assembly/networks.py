"""The networks of a run: teacher, student, ghost, and the method that joins them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch

from distill.assembly.teaching import reads_labels
from distill.config import Config
from distill.console import inform
from distill.data.focal import CANONICAL
from distill.errors import UserError
from distill.inference.models import (
    CONVERSION,
    check_teacher_name,
    open_teacher,
    refuse_canonical,
    user_error,
)
from distill.method import LOSSES, METHODS, RELATIVE_LOSSES, DepthPull, FixedGhost, Method
from students import CNNStudent, create_student, load_student
from students.lg_conv import AUTO
from teachers import DPT_CONFIGS, SHIPPED, DepthModel, FrozenTeacher, is_elsewhere, list_teachers
from teachers.model import classes_of

BINS = ("bins", "min_depth", "max_depth")  # options of a student of depth
WHERE = (
    "DPT's weights are published at https://github.com/isl-org/DPT (docs/reference/checkpoints.md); "
    "teacher.name=dpt_micro brings its own, teacher.name=hf:Intel/dpt-hybrid-midas is fetched"
)


def is_folder(teacher: str) -> bool:
    """Whether a teacher is a trained model's folder; a folder that is called like a DPT is not meant."""
    return teacher not in list_teachers() and Path(teacher).is_dir()


def check_method(config: Config) -> None:
    """Refuse keys that add to what is learnt of the teacher's depth where nothing of it is learnt.

    Raises:
        UserError: If one has a value and is not read.
    """
    method = config.method
    pulls = method.name == "output" or method.with_output
    reads = {"output_weight": pulls, "gradient_weight": pulls, "trim": pulls or method.name == "fill"}
    chosen = method.model_dump(include={*reads}, exclude_defaults=True)
    if unread := [key for key in chosen if not reads[key]]:
        features = METHODS[method.name].needs_features
        way = "set method.with_output=true" if features else "choose method.name=output"
        raise UserError(
            f"method.{unread[0]}={chosen[unread[0]]:g} is not read by method.name={method.name}, which learns nothing "
            f"of that kind from the teacher's depth: leave it out, or {way}"
        )


def check_models(config: Config) -> None:
    """Look at names and files of both networks before anything is built."""
    check_teacher(config)
    wanted = config.student
    if wanted.backbone not in list_teachers():
        without = student_options(config) | {"pretrained": False}
        without.pop("checkpoint", None)
        check_student(wanted.backbone, tuple(without.items()))
    parent = wanted.checkpoint
    if parent is not None and str(parent) not in SHIPPED and not parent.exists():
        raise UserError(
            f"student.checkpoint: nothing at {parent}; give the path of the parent's weights, or {', '.join(SHIPPED)}"
        )


@cache
def check_student(backbone: str, options: tuple[tuple[str, object], ...]) -> None:
    """Build a CNN without its weights, so that what it refuses is said before any are read or fetched."""
    try:
        with torch.device("meta"):
            create_student(backbone, **dict(options))
    except Exception:  # also of networks that are planned by values, which this device has not
        try:
            create_student(backbone, **dict(options))
        except ValueError as error:
            raise user_error(error) from error


def check_teacher(config: Config) -> None:
    """Look at the teacher's name and file before anything is built."""
    wanted = config.teacher
    if not METHODS[config.method.name].needs_teacher or reads_labels(config):
        return
    if not wanted.name:
        raise UserError(
            f"method.name={config.method.name} needs a teacher and there is none; name one with teacher.name "
            f"({', '.join(list_teachers())}, the folder of a trained model, hf:NAME-OR-FOLDER, module:factory), or set "
            "method.name=supervised"
        )
    if is_folder(wanted.name):
        return
    if is_elsewhere(wanted.name):
        if wanted.checkpoint is not None:
            raise UserError(f"teacher.checkpoint: {wanted.name} brings its own weights; leave it out (null)")
        return
    check_teacher_name(wanted.name)
    check_kinds(config, DPT_CONFIGS[wanted.name].classes)
    if wanted.checkpoint is not None and not wanted.checkpoint.exists():
        raise UserError(f"teacher.checkpoint: no file at {wanted.checkpoint}; give its path. {WHERE}")
    if wanted.checkpoint is None and wanted.name not in SHIPPED:
        raise UserError(f"teacher.checkpoint is needed for {wanted.name}: without weights it teaches nothing. {WHERE}")


def build_teacher(config: Config) -> FrozenTeacher | None:
    """The frozen teacher, None where the method has no use for one, or labels take its place.

    Raises:
        UserError: If its weights cannot be read or are another network's.
    """
    wanted = config.teacher
    if not METHODS[config.method.name].needs_teacher or reads_labels(config):
        return None
    if is_folder(wanted.name):
        try:
            teacher = FrozenTeacher(load_student(wanted.name))
            refuse_canonical(wanted.name, teacher.model)
        except (ValueError, FileNotFoundError) as error:
            raise user_error(error) from error
    else:
        options = wanted.model_dump(include={*CONVERSION, "readout"}, exclude_none=True)
        teacher = open_teacher(wanted.name, wanted.checkpoint, **options)
    if len(teacher.feature_channels) != 4:
        raise UserError(f"{wanted.name} gives depth but no maps, so it cannot teach; predict and evaluate take it")
    teacher.licence = wanted.licence or teacher.licence
    if wanted.compile:
        teacher.model.encoder.compile()  # in place: modules and weights keep their names
    return teacher


def student_options(config: Config, max_depth: float | None = None) -> dict[str, Any]:
    """What `create_student` takes beside the name: `max_depth` where no other is wanted, or the names of classes."""
    options = ({} if max_depth is None else {"max_depth": max_depth}) | config.student.options()
    if not config.data.class_names:
        return options
    return {"classes": config.data.class_names} | {key: one for key, one in options.items() if key not in BINS}


def build_student(config: Config, max_depth: float) -> DepthModel:
    """The student of a run, with random, ImageNet or inherited weights."""
    wanted = config.student
    if wanted.align and wanted.backbone not in list_teachers():
        raise UserError(f"student.align is for relative weights of a DPT, {wanted.backbone} is none; leave it out")
    options = student_options(config, max_depth)
    if config.data.focal and (wanted.max_depth or config.method.loss in RELATIVE_LOSSES or wanted.align):
        raise UserError(
            "data.focal=canonical makes the student's limit of the data's, and is for depth in metres: leave out "
            "student.max_depth (data.max_depth is the cap in metres), student.align and losses without a scale"
        )
    if wanted.align:  # the meaning of the raw output, until the training images have been fitted
        options["invert"] = False
    try:
        student = create_student(wanted.backbone, **options)
        student.freeze(wanted.frozen)
        if not config.data.classes:
            student.output = "relative" if config.method.loss in RELATIVE_LOSSES else "metric"
        student.canonical_focal = CANONICAL if config.data.focal else None
    except (ValueError, FileNotFoundError) as error:
        raise user_error(error) from error
    if wanted.lg_conv == AUTO and isinstance(student, CNNStudent):
        inform(f"student.lg_conv=auto: {student.encoder.wrapped} convolutions of {wanted.backbone} are wrapped")
    return student


def check_kinds(config: Config, taught: tuple[str, ...]) -> None:
    """Refuse to learn what a teacher says that tells these classes apart, or gives depth, where the student does not.

    Its maps are for every student.

    Raises:
        UserError: If it gives depth and the student classes, the other way round, or other classes.
    """
    learnt = config.data.class_names
    asked = METHODS[config.method.name].needs_depth or config.method.with_output or config.data.unlabelled
    if taught == learnt or not asked:
        return
    theirs, ours = (f"{len(names)} classes" if names else "depth" for names in (taught, learnt))
    ours = f"{ours} of other names" if ours == theirs else ours
    raise UserError(
        f"{config.teacher.name} gives {theirs}, and the student learns {ours}: its output teaches nothing there. "
        "Set method.name=feature or disdepth, without method.with_output and data.unlabelled, whose maps teach any "
        "student, or name another teacher"
    )


def build_method(config: Config, student: DepthModel, teacher: FrozenTeacher | None, warmup_steps: int = 0) -> Method:
    """The method by name. `disdepth` without FAM is classical feature distillation."""
    wanted = config.method
    name = "feature" if wanted.name == "disdepth" and not wanted.fam else wanted.name
    loss = LOSSES[wanted.loss]
    options: dict[str, Any] = {}
    pull = DepthPull(wanted.output_weight, wanted.gradient_weight, wanted.trim)
    if name in ("feature", "disdepth"):
        assert teacher is not None
        options = {
            "teacher_channels": teacher.feature_channels,
            "kd_weight": wanted.kd_weight,
            "kd_normalise": wanted.kd_normalise,
            "warmup_steps": warmup_steps,
            "depth_pull": pull if wanted.with_output else None,
        }
    if name == "disdepth":
        options |= {"lam": wanted.lam, "window": wanted.window, "ghost": build_ghost(config, student)}
    if name in ("output", "fill"):
        options = {"pull": pull}
    return METHODS[name](student, loss, **options)


def build_ghost(config: Config, student: DepthModel) -> FixedGhost | None:
    """The decoder of another, trained student, where the configuration names one.

    Raises:
        UserError: If it cannot be read, or takes other maps than the student gives.
    """
    if config.method.ghost is None:
        return None
    try:
        trained = load_student(config.method.ghost)
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"method.ghost: {user_error(error)}") from error
    if trained.calibration is not None:  # which is no part of a decoder
        raise UserError(f"method.ghost: {config.method.ghost} is calibrated; name the folder that it was made of")
    if classes_of(trained) != classes_of(student):
        raise UserError(
            f"method.ghost: the decoder of {config.method.ghost} gives other than the student's: name its like"
        )
    theirs, ours = tuple(trained.feature_channels), tuple(student.feature_channels)
    if theirs != ours:
        raise UserError(
            f"method.ghost: the decoder of {config.method.ghost} takes maps of {theirs} channels, the student gives "
            f"{ours}; name a student of the same backbone"
        )
    return FixedGhost(trained)
