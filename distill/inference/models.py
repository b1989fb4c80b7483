"""MODEL of the command line: which model a name stands for, and what is known of it."""

from __future__ import annotations

from pathlib import Path

from distill.console import inform
from distill.errors import UserError, did_you_mean
from distill.evaluation.scores import Size
from distill.inference.exported import SUFFIXES, ExportedModel, open_exported
from students import load_student, read_config
from teachers import SHIPPED, DepthModel, create_teacher, list_teachers

# depth = 1 / (scale * output + shift) of DPT's published metric weights
PUBLISHED_CONVERSION = {"kitti": (6.016e-5, 0.00579), "nyu": (3.05e-4, 0.1378)}


def user_error(error: Exception) -> UserError:
    """The mistake behind an exception of `teachers` or `students`, in one line."""
    return UserError(" ".join(str(error).split()))


def check_teacher_name(name: str) -> None:
    """Refuse the name of a teacher that nobody knows."""
    if name not in (known := list_teachers()):
        near = did_you_mean(name, known)
        raise UserError(f"unknown teacher {name!r}{near} (known: {', '.join(known)}, or the folder of a trained model)")


def open_model(name: str, **conversion: object) -> DepthModel:
    """A run folder, a `student/` folder, `teacher-name:checkpoint`, or an exported file.

    Args:
        conversion: scale, shift and invert, where they define what a checkpoint's raw output means.

    Raises:
        UserError: If there is no such model.
    """
    path = Path(name)
    if path.suffix in SUFFIXES and not path.is_dir() and (path.exists() or ":" not in name):
        return open_exported(path)
    try:
        if name in list_teachers():
            if name not in SHIPPED:
                raise UserError(f"{name} needs weights: give {name}:CHECKPOINT")
            return create_teacher(name)
        if Path(name).exists() or ":" not in name:
            return load_student(name)
        teacher, _, checkpoint = name.partition(":")
        check_teacher_name(teacher)
        return create_teacher(teacher, checkpoint, **conversion)
    except (ValueError, FileNotFoundError) as error:
        raise user_error(error) from error


def open_for(model: str, data: str) -> DepthModel:
    """A model for the data set of this name; published DPT weights get the conversion to metres that belongs to it."""
    teacher, colon, _ = model.partition(":")
    published = colon and not Path(model).exists() and teacher not in SHIPPED  # those give metres themselves
    if published and data in PUBLISHED_CONVERSION:
        scale, shift = PUBLISHED_CONVERSION[data]
        inform(f"{model}: depth = 1 / ({scale:g} * output + {shift:g}), DPT's conversion for {data}")
        return open_model(model, scale=scale, shift=shift, invert=True)
    return open_model(model)


def published_data(model: str) -> str:
    """The data set of DPT's published weights, which their files are called after; "" for others."""
    checkpoint = Path(model.partition(":")[2]).name
    return next((name for name in PUBLISHED_CONVERSION if name in checkpoint.lower()), "")


def trained_size(model: str) -> tuple[int, int] | None:
    """The size that a student saw its images at while training, None where it saw them as they are."""
    try:
        saved = read_config(model)[1]["metadata"].get("input_size")
    except (FileNotFoundError, ValueError):
        return None
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
