"""What works and is probably not meant: told once, in a line each, before the first step."""

from __future__ import annotations

import os

from distill.config import TrainConfig

MANY_PASSES = 1000  # through the training images


def cores() -> int:
    """Processors that this process may use, of which a scheduler may have given it few."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def advise_workers(workers: int) -> list[str]:
    """On processes that load images: `workers` for each process of the run on this machine."""
    processes, available = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), cores()
    if workers * processes <= available:
        return []
    each = f" for each of {processes} processes" if processes > 1 else ""
    return [f"data.workers={workers}{each} on {available} cores: they will wait for each other"]


def advise_schedule(given: TrainConfig, images: int, steps: int) -> list[str]:
    """On how often each training image is seen."""
    found = []
    if given.batch_size > images:
        found.append(f"train.batch_size={given.batch_size} exceeds the {images} training images: steps repeat some")
    passes = steps * given.batch_size / images
    if passes > MANY_PASSES:
        found.append(
            f"{steps} steps of {given.batch_size} images go {passes:.0f} times through {images} training images; "
            "lower train.steps or train.epochs if that is not meant"
        )
    return found
