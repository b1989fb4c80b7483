"""The files that a trained student is: its weights, how to build the network for them, and a card for people."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save as to_bytes

from students.card import model_card

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


def save_student(student: Any, folder: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write `model.safetensors`, `config.json` and the model card `README.md`, each whole or not at all.

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
    (folder / f"{CARD}.part").write_text(model_card(student.recipe, config["metadata"]), encoding="utf-8")
    for name in (WEIGHTS, CONFIG, CARD):
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
