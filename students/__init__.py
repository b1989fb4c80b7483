"""Depth networks that can be trained: any timm backbone with a light decoder."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from students.cnn import CNNStudent
from students.lg_conv import LGConv
from students.pruned_dpt import DPTStudent
from teachers import DPT_CONFIGS

__all__ = ["CNNStudent", "DPTStudent", "LGConv", "create_student", "list_students", "load_student", "save_student"]

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def list_students() -> list[str]:
    """What can be a student: DPTs by name, and timm's networks as a backbone."""
    return [*sorted(DPT_CONFIGS), *timm.list_models()]


def create_student(name: str, **options: Any) -> nn.Module:
    """A trainable depth model by name.

    Args:
        name: Any timm network with feature maps at strides 4, 8, 16 and 32, or a DPT.
        options: Those of `CNNStudent` (lg_conv, pretrained, min_depth, max_depth in metres, width, bins) or of
            `DPTStudent` (heads, hooks, attention, stem, resolution_scale, pretrained, min_depth, max_depth).

    Raises:
        ValueError: If the name or an option is unknown, maps do not fit, or ImageNet weights cannot be had.
    """
    kind = DPTStudent if name in DPT_CONFIGS else CNNStudent
    try:
        return kind(name, **options)
    except TypeError as error:
        known = [key for key in inspect.signature(kind).parameters if key not in ("name", "backbone")]
        raise ValueError(f"{name}: {error}; its options are {', '.join(known)}") from error


def save_student(student: Any, folder: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write `model.safetensors` and `config.json`, each whole or not at all.

    Args:
        student: A model of `create_student`.
        metadata: Whatever should be known of its training; readable by people, ignored by `load_student`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().cpu().contiguous() for k, v in student.state_dict().items()}
    (folder / f"{WEIGHTS}.part").write_bytes(to_bytes(weights, metadata={"format": "pt"}))
    config = {"format": 1, **student.recipe, "metadata": dict(metadata or {})}
    (folder / f"{CONFIG}.part").write_text(json.dumps(config, indent=2) + "\n")
    for name in (WEIGHTS, CONFIG):
        os.replace(folder / f"{name}.part", folder / name)


def read_config(folder: str | Path) -> tuple[Path, dict[str, Any]]:
    """The folder that holds a student's files (itself, or its `student/`) and the content of its `config.json`.

    Raises:
        FileNotFoundError: If neither holds one.
        ValueError: If the file is not a student's.
    """
    folder = Path(folder)
    for place in (folder / "student", folder):
        if (place / CONFIG).is_file() and (place / WEIGHTS).is_file():
            break
    else:
        raise FileNotFoundError(
            f"no student in {folder}: expected {WEIGHTS} and {CONFIG} there or in its student/ folder"
        )
    try:
        config = json.loads((place / CONFIG).read_text())
        if not (isinstance(config["student"], str) and isinstance(config["options"], dict)):
            raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{place / CONFIG} is not a student's configuration; write it again with save_student"
        ) from error
    return place, config


def load_student(folder: str | Path) -> nn.Module:
    """A saved student in eval mode, without the network and without its teacher.

    Raises:
        FileNotFoundError: If the folder holds none.
        ValueError: If its weights are damaged or do not fit its configuration.
    """
    place, config = read_config(folder)
    options = {**config["options"], "pretrained": False}
    student = create_student(config["student"], **options)
    try:
        student.load_state_dict(load_file(place / WEIGHTS))
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{place / WEIGHTS} does not fit its {CONFIG} or is damaged: {reason}") from error
    return student.eval()


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, trainable or not; buffers are not counted."""
    return sum(p.numel() for p in model.parameters())
