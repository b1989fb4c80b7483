"""What works and is probably not meant: reported once, in a line each, before the first step."""

from __future__ import annotations

import os

from distill.assembly.networks import is_folder
from distill.config import Config, StudentConfig, TrainConfig
from distill.engine.processes import cores
from distill.method import METHODS

MANY_PASSES = 1000  # through the training images


def advise_workers(workers: int) -> list[str]:
    """On processes that load images: `workers` for each process of the run on this machine."""
    processes, available = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), cores()
    if workers * processes <= available:
        return []
    each = f" for each of {processes} processes" if processes > 1 else ""
    return [f"data.workers={workers}{each} on {available} cores: they will wait for each other"]


def advise_schedule(train: TrainConfig, images: int, steps: int) -> list[str]:
    """On how often each training image is seen."""
    advice = []
    if train.batch_size > images:
        advice.append(f"train.batch_size={train.batch_size} exceeds the {images} training images: steps repeat some")
    passes = steps * train.batch_size / images
    if passes > MANY_PASSES:
        advice.append(
            f"{steps} steps of {train.batch_size} images go {passes:.0f} times through {images} training images; "
            "lower train.steps or train.epochs if that is not meant"
        )
    return advice


def advise_networks(config: Config) -> list[str]:
    """On keys that have values and that no network of this run reads."""
    taught, student, advice = METHODS[config.method.name].needs_teacher, config.student, list[str]()
    if taught and is_folder(config.teacher.name):
        of_names = config.teacher.model_dump(include={"checkpoint", "scale", "shift", "invert", "readout"})
        unread = [f"teacher.{key}" for key, value in of_names.items() if value is not None]
        advice += [f"{', '.join(unread)}: not read, as the folder {config.teacher.name} says it all"] if unread else []
    if student.lg_scope != StudentConfig.model_fields["lg_scope"].default and not student.lg_conv:
        advice.append("student.lg_scope: not read, as student.lg_conv is not true")
    return advice
