"""What is exported, and what is known of it: the model, the run it comes from, its size, its images, its facts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distill import __version__
from distill.assembly.datasets import build_data
from distill.config import Config, run_of
from distill.console import warn
from distill.data import DecodeError, SceneDataset, find_photographs
from distill.data.files.probing import IMAGE_SUFFIXES
from distill.data.files.reading import read_image
from distill.deploy.costs import count_gflops
from distill.deploy.file_outputs import FileOutput, file_output
from distill.errors import UserError
from distill.inference.exported import ExportedModel
from distill.inference.models import open_model
from distill.inference.network import network_image
from students import Student, count_parameters, read_config
from students.card import licence_of
from teachers import DepthModel, FrozenTeacher
from teachers.weight_files import Json

USUAL_SIZES = {"kitti": (352, 1216), "nyu": (480, 640)}
CHECKED = 4  # images


@dataclass(frozen=True)
class Subject:
    """A model to be exported, on the CPU.

    `run` is the configuration it was trained with, where that is at hand; `focal_px` that of the images which the file
    is for, where its depth depends on it.
    """

    name: str
    model: DepthModel
    recipe: Json
    run: Config | None
    focal_px: float | None = None

    @property
    def training(self) -> Json:
        """What its folder records of its training; empty for a teacher's checkpoint."""
        return self.recipe.get("metadata", {})

    @property
    def output(self) -> FileOutput:
        """What its file gives."""
        return file_output(self.model)


def open_subject(name: str, focal_px: float | None = None) -> Subject:
    """MODEL of the command line, one of a canonical camera for a focal length.

    Raises:
        UserError: If there is no such model, or the focal length is missing or of no use.
    """
    model = open_model(name, classes=True)
    if (model.canonical_focal is None) != (focal_px is None):
        need = "gives metres only with a focal length: give" if focal_px is None else "needs no focal length: leave out"
        raise UserError(f"{name} {need} --focal-px, that of the images which the file will be given")
    if isinstance(model, Student) and focal_px is not None:
        model.settle_focal(focal_px)
    if isinstance(model, ExportedModel):
        raise UserError(f"{name} is an exported file already; give the folder of the model that it was made of")
    plain = model.model if isinstance(model, FrozenTeacher) else model
    try:
        place, recipe = read_config(name)
    except (FileNotFoundError, ValueError):
        return Subject(name, plain, {"student": name.partition(":")[0]}, None, focal_px)
    return Subject(name, plain, recipe, run_of(place), focal_px)


def choose_size(subject: Subject, options: tuple[int, int] | None) -> tuple[int, int]:
    """The size asked for, else that of the training images.

    Raises:
        UserError: If the size is unknown.
    """
    trained = options or subject.training.get("input_size") or USUAL_SIZES.get(subject.training.get("data", ""))
    if trained is None:
        raise UserError(f"{subject.name} does not say which size its images had: give --size HxW")
    return int(trained[0]), int(trained[1])


def images_of(
    subject: Subject, size: tuple[int, int], paths: Sequence[Path] | None, count: int
) -> tuple[list[Tensor], str]:
    """Up to `count` images (1, 3, *size) in [0, 1], and what they are: those named, the run's own, or scenes.

    Raises:
        UserError: If none of those named can be read.
    """
    if paths:
        images, origin = read_images(paths, count), "that were given"
    elif subject.run is not None:
        training = build_data(subject.run).train
        chosen = range(len(training))[:: max(len(training) // count, 1)][:count]
        images, origin = [training.unvaried(i).image for i in chosen], "of the run's training data"
    else:
        scenes = SceneDataset("road", count, seed=13, size=size)
        images, origin = [scenes[i].image for i in range(count)], "rendered for this"
    return [network_image(image, size)[None] for image in images], origin


def read_images(paths: Sequence[Path], count: int) -> list[np.ndarray]:
    """The first `count` images among files and folders that can be read."""
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UserError(f"--images {path}: there is no such file or folder")
        if path.is_dir():
            inside = find_photographs(path)
            files += [Path(pair.image) for pair in inside.pairs]
            for remark in inside.remarks:
                warn(remark)
        else:
            files.append(path)
    images: list[np.ndarray] = []
    for file in files[:: max(len(files) // count, 1)]:
        with suppress(DecodeError):
            images += [read_image(file)] if len(images) < count else []
    if not images:
        places, known = ", ".join(map(str, paths)), " ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(f"--images {places}: no image can be read there; known are {known}")
    return images


def facts_of(
    subject: Subject, size: tuple[int, int] | None, licence: str | None, *, logits: bool = False
) -> dict[str, str]:
    """A file's metadata, as text by name."""
    model, training = subject.model, subject.training
    batch, sides = ("batch", "height, width") if size is None else ("1", f"{size[0]}, {size[1]}")
    output = subject.output.describe(model, batch, sides)
    known: dict[str, object] = {
        "input": f"image: float32 RGB in [0, 1], ({batch}, 3, {sides}); normalisation is inside",
        "output": f"scores and centres of bins, of which the file's _decode.py makes {output}" if logits else output,
        "units": subject.output.units(model),
        **subject.output.facts(model),
        "size": "any from 32x32" if size is None else f"{size[0]}x{size[1]}",
        "min_depth": model.min_depth,
        "max_depth": model.max_depth,
        "focal_px": subject.focal_px,
        "parameters": count_parameters(model),
        "gflops": None if size is None else count_gflops(model, size),
        "model": subject.recipe["student"],
        "options": subject.recipe.get("options"),
        "training": training or None,
        "protocol": training.get("protocol"),
        "fingerprint": training.get("fingerprint"),
        "licence": licence or "; ".join(licence_of(training)),
        "software": f"distill {__version__}, PyTorch {torch.__version__}",
    }
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in known.items()}
    return {key: text for key, text in texts.items() if known[key] is not None}
