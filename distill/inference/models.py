"""MODEL of the command line: which model a name stands for, and what is known of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from distill.console import inform
from distill.errors import UserError, did_you_mean
from distill.evaluation.scores import Size
from distill.files import checksum
from distill.inference.exported import ExportedModel
from distill.inference.file_kinds import KINDS, open_exported
from students import load_student, read_config
from students.fused import optimise
from teachers import DPT_CONFIGS, SHIPPED, DepthModel, FrozenTeacher, create_teacher, is_elsewhere, list_teachers
from teachers.frozen import fingerprint
from teachers.model import RELATIVE, is_relative

# depth = 1 / (scale * output + shift) of DPT's published metric weights, by a word of their file's name
PUBLISHED_CONVERSION = {"kitti": (6.016e-5, 0.00579), "nyu": (3.05e-4, 0.1378)}
CONVERSION = ("scale", "shift", "invert")


def user_error(error: Exception) -> UserError:
    """The mistake behind an exception of `teachers` or `students`, in one line."""
    return UserError(" ".join(str(error).split()))


def check_teacher_name(name: str) -> None:
    """Refuse the name of a teacher that nobody knows."""
    if name not in (known := list_teachers()):
        near = did_you_mean(name, known)
        raise UserError(
            f"unknown teacher {name!r}{near} (known: {', '.join(known)}, the folder of a trained model, "
            "hf:NAME-OR-FOLDER of a depth network, module:factory for a function of your own)"
        )


def refuse_classes(name: str) -> None:
    """Refuse a teacher for segmentation, by its name, where only depth will do."""
    config = DPT_CONFIGS.get(name.partition(":")[0])
    if config is not None and config.classes:
        raise gives_classes(name)


def gives_classes(name: str) -> UserError:
    """The refusal of a model of classes where only depth will do."""
    return UserError(
        f"{name} gives classes, and depth is wanted here; predict, evaluate --data segmentation, export and "
        "benchmark take it, for depth name another model"
    )


def allowing(model: DepthModel, name: str, classes: bool) -> DepthModel:
    """The model, unless it gives classes where these will not do."""
    if model.classes and not classes:
        raise gives_classes(name)
    return model


def refuse_canonical(name: str, model: DepthModel) -> None:
    """Refuse a student whose depth is that of a canonical camera where no focal length is known."""
    if model.canonical_focal is not None:
        raise UserError(
            f"{name} was trained with data.focal=canonical and gives metres only with a focal length, which is not "
            "known here: predict, evaluate and export take it"
        )


def open_model(name: str, *, classes: bool = False) -> DepthModel:
    """A run folder, a `student/` folder, `teacher-name:checkpoint`, an exported file, or what `is_elsewhere`.

    Args:
        classes: Whether a model will do that gives classes instead of depth.

    Raises:
        UserError: If there is no such model.
    """
    if not classes:
        refuse_classes(name)
    path = Path(name)
    if path.suffix in KINDS and not path.is_dir() and (path.exists() or ":" not in name):
        return allowing(open_exported(path), name, classes)
    if name in list_teachers():
        if name not in SHIPPED:
            raise UserError(f"{name} needs weights: give {name}:CHECKPOINT")
        return open_teacher(name)
    if os.path.isfile(name):
        raise UserError(
            f"{name} is a file, expected a run's folder, a student/ folder, or a file of the kinds "
            f"{' '.join(KINDS)}; of a DPT's weights name the network too, such as dpt_hybrid:{name}"
        )
    if os.path.exists(name) or ":" not in name:
        try:
            student = load_student(name)
        except FileNotFoundError as error:
            folders = [str(one) for one in path.parent.glob("*") if one.is_dir()]
            near = "" if path.exists() else did_you_mean(name, [*list_teachers(), *folders])
            raise UserError(f"{error}{near}") from error
        except ValueError as error:
            raise user_error(error) from error
        return allowing(student, name, classes)
    if is_elsewhere(name):
        return open_teacher(name)
    teacher, _, checkpoint = name.partition(":")
    check_teacher_name(teacher)
    return open_teacher(teacher, checkpoint)


def for_inference(model: DepthModel) -> DepthModel:
    """A student in its form for inference; teachers and exported files have it anyway."""
    return model if isinstance(model, FrozenTeacher | ExportedModel) else optimise(model)


def open_teacher(name: str, checkpoint: str | Path | None = None, **options: Any) -> FrozenTeacher:
    """A teacher by name whose weights decide what its output means, in every command alike; how is said in a line.

    Args:
        options: Fields of `DPTConfig`. Where scale, shift and invert are among them they count, and `invert=False`
            says that the output is depth in metres.

    Raises:
        UserError: If its weights cannot be read or are another network's, or a scale would have no effect.
    """
    if is_elsewhere(name):
        try:
            return create_teacher(name, checkpoint, **options)
        except (ValueError, FileNotFoundError) as error:
            raise user_error(error) from error
    if DPT_CONFIGS[name].classes and options.keys() & set(CONVERSION):
        raise UserError(f"{name} gives classes; scale, shift and invert are for depth: leave them out")
    known = {} if options.get("invert") is False else published_conversion(name, checkpoint)
    by_name = not options.keys() & set(CONVERSION)
    options = known | options
    some = [key for key in CONVERSION if key in options and options[key] is not False]
    if some and len(some) < len(CONVERSION) and not DPT_CONFIGS[name].invert:
        raise UserError(
            f"the output of {name} cannot be converted by {' and '.join(some)} alone: depth = 1 / (scale * output + "
            "shift) needs scale, shift and invert=true; leave out all three where it is not known"
        )
    try:
        teacher = create_teacher(name, checkpoint, **options)
    except (ValueError, FileNotFoundError) as error:
        raise user_error(error) from error
    if options.get("invert") is False:
        teacher.output = teacher.model.output = "metric"
    elif teacher.output == "relative":
        inform(f"{name}:{checkpoint}: {RELATIVE}, as the file has no name of DPT's published metric weights")
    elif known and by_name:
        scale, shift = (f"{options[key]:g}" for key in ("scale", "shift"))
        inform(f"{name}:{checkpoint}: depth = 1 / ({scale} * output + {shift}) metres, DPT's conversion for its name")
    return teacher


def published_conversion(name: str, checkpoint: str | Path | None) -> dict[str, Any]:
    """Scale, shift and invert of DPT's published weights, which the file's name tells; empty for any other."""
    own = DPT_CONFIGS[name]
    if own.invert or own.classes or checkpoint is None:  # the first give metres themselves
        return {}
    words = [word for word in PUBLISHED_CONVERSION if word in Path(checkpoint).name.lower()]
    return dict(zip(CONVERSION, (*PUBLISHED_CONVERSION[words[0]], True), strict=True)) if len(words) == 1 else {}


def fingerprint_of(model: DepthModel) -> str:
    """A short digest of a model's weights; of an exported file it is that of all its bytes."""
    if isinstance(model, ExportedModel):
        return checksum(*model.files)[:16]
    return model.fingerprint if isinstance(model, FrozenTeacher) else fingerprint(model)


def check_uncertainty(name: str, model: DepthModel) -> None:
    """Refuse a model that does not say how sure it is, where that is wanted.

    Raises:
        UserError: If it has no bins, or its depth has no unit.
    """
    if isinstance(model, ExportedModel) and not model.has_uncertainty:
        raise UserError(f"--confidence: {name} gives depth alone; export it again with --confidence, or leave it out")
    if not model.has_uncertainty:
        raise UserError(
            f"--confidence is the spread of a CNN student's depth bins, and {name} has no bins: leave it out"
        )
    if is_relative(model):
        raise UserError(f"--confidence is in metres, and {name} gives {RELATIVE}: leave it out")


def metadata_of(model: str) -> dict[str, Any]:
    """What a student's folder says of its training; nothing for any other MODEL."""
    try:
        return read_config(model)[1]["metadata"]
    except (FileNotFoundError, ValueError):
        return {}


def trained_size(model: str) -> tuple[int, int] | None:
    """The size that a student saw its images at while training, None where it saw them as they are."""
    saved = metadata_of(model).get("input_size")
    return (int(saved[0]), int(saved[1])) if saved else None


def input_size(name: str, model: DepthModel, wanted: Size | None) -> Size | None:
    """The size that images have for a model: the one that is wanted, a file's only one, or that of its training.

    Raises:
        UserError: If a file takes another size than the one that is wanted.
    """
    if not isinstance(model, ExportedModel):
        return wanted or trained_size(name)
    if model.size and wanted not in (None, model.size):
        own, other = (f"{size[0]}x{size[1]}" for size in (model.size, wanted))
        raise UserError(f"{name} takes images of {own} only: give --size {own}, or export it again with --size {other}")
    return model.size or wanted or model.known.training.input_size
