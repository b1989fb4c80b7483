"""Depth networks that can be trained: any timm backbone with a decoder, and DPTs, whole or pruned."""

from __future__ import annotations

import inspect
from pathlib import Path

import timm
from torch import nn

from students.calibration import Calibration
from students.cnn import CNNStudent
from students.inherit import Inheritance
from students.lg_conv import LGConv
from students.pruned_dpt import DPTStudent
from students.recipe import check_options, read_config
from students.student import CONFIG, WEIGHTS, Student, save_student
from teachers import DPT_CONFIGS
from teachers.checkpoints import fill
from teachers.mismatch import differences, shapes
from teachers.weight_files import read_state_dict

__all__ = [
    "CNNStudent",
    "DPTStudent",
    "Inheritance",
    "LGConv",
    "Student",
    "create_student",
    "list_students",
    "load_student",
    "read_config",
    "save_student",
]

KINDS: dict[str, type[Student]] = {"CNN": CNNStudent, "DPT": DPTStudent}


def list_students() -> list[str]:
    """What can be a student: DPTs by name, and timm's networks as a backbone."""
    return [*sorted(name for name in DPT_CONFIGS if not DPT_CONFIGS[name].classes), *timm.list_models()]


def create_student(name: str, **options: object) -> Student:
    """A trainable depth model by name.

    Args:
        name: A timm network with feature maps at strides 4, 8, 16 and 32, or a DPT.
        options: Those of `CNNStudent` (lg_conv, decoder, pretrained, min_depth, max_depth in metres, width, bins) or of
            `DPTStudent` (heads, hooks, attention, random_features, stem, resolution_scale, checkpoint, pretrained,
            min_depth, max_depth, scale, shift, invert).

    Raises:
        FileNotFoundError: If the checkpoint to inherit from does not exist.
        ValueError: If the name or an option is unknown, maps do not fit, or ImageNet weights cannot be had.
    """
    known = options_for(name)
    for key in options:
        if key not in known:
            owners = [kind for kind, other in KINDS.items() if key in options_of(other)]
            hint = f", which is a {owners[0]}'s" if owners else ""
            raise ValueError(f"{name} has no option {key}{hint}; its options are {', '.join(known)}")
    check_options(name, kind_of(name), options)
    return kind_of(name)(name, **options)


def kind_of(name: str) -> type[Student]:
    """The class of the student of this name."""
    return KINDS["DPT" if name in DPT_CONFIGS else "CNN"]


def options_of(kind: type[Student]) -> list[str]:
    """What a kind of student takes beside its name."""
    return list(inspect.signature(kind).parameters)[1:]


def options_for(name: str) -> list[str]:
    """The options that `create_student` takes with a name."""
    return options_of(kind_of(name))


def load_student(folder: str | Path) -> Student:
    """A saved student in eval mode, without the network and without its teacher.

    Raises:
        FileNotFoundError: If the folder holds none.
        ValueError: If its weights are damaged, hold NaN or do not fit its configuration, or that is none of a student.
    """
    place, config = read_config(folder)
    try:
        student = create_student(config["student"], **{**config["options"], "pretrained": False})
    except ValueError as error:
        raise ValueError(f"{place / CONFIG}: {error}") from error
    weights = read_state_dict(place / WEIGHTS)
    if reasons := differences(shapes(student.state_dict()), shapes(weights)):
        raise ValueError(f"{place / WEIGHTS} does not fit its {CONFIG}: {'; '.join(reasons)}")
    fill(student, weights, str(place / WEIGHTS))
    student.output, student.canonical_focal = config["output"], config.get("canonical_focal")
    if "calibration" in config:
        student.adopt(Calibration(**config["calibration"]))
    student.metadata = config["metadata"]
    return student.eval()


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, trainable or not; buffers are not counted."""
    return sum(p.numel() for p in model.parameters())
