"""Whether an image costs more late in a run than early, in time or in memory.

    python tools/measure/soak.py [--images 1000] [--epochs 10]

A tiny student learns from a tiny teacher by `distill train`, with a validation and a checkpoint after every epoch. Time
is that of the processor, whoever else uses the machine, from the first record of training on: that of an image in the
first half of the epochs beside that of an image in the last. Memory is what the process holds at the end of every
epoch. The exit code is 0 where time differs by less than 5 %, and memory grows by less than 2 % after the second epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import yaml

BATCH, MOST_TIME, MOST_MEMORY = 4, 0.05, 0.02
CONFIG: dict[str, Any] = {
    "teacher": {"name": "dpt_micro"},
    "student": {"backbone": "test_efficientnet", "pretrained": False, "width": 8, "bins": 8},
    "eval": {"pictures": 0},
}


@dataclass(frozen=True)
class Mark:
    """A point of the run: images that it has learnt from, seconds of the processor, bytes of memory."""

    images: int
    seconds: float
    memory: int


def configuration(images: int, epochs: int) -> dict[str, Any]:
    steps = images // BATCH
    scenes = {"train": images, "test": 10, "size": [32, 64]}
    train = {"batch_size": BATCH, "steps": steps * epochs, "validate_every": steps, "checkpoint_every": steps}
    data = {"name": "scenes", "scenes": scenes, "workers": 0}
    return {**CONFIG, "data": data, "train": {**train, "log_every": max(steps // 10, 1)}}


def start(config: Path, folder: Path) -> psutil.Popen:
    """The run in a process of its own, on one thread, that logs beside its folder."""
    command = [sys.executable, "-m", "distill", "train", str(config), "--output", str(folder)]
    with folder.with_suffix(".log").open("w") as log:
        return psutil.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log)


def watch(process: psutil.Popen, folder: Path) -> list[Mark]:
    """The first record of training and the end of every epoch.

    Raises:
        RuntimeError: If the run fails.
    """
    marks: list[Mark] = []
    while process.poll() is None:
        records = read(folder / "metrics.jsonl")
        steps = [record["step"] for i, record in enumerate(records) if i == 0 or record["kind"] == "val"]
        try:
            used, memory = process.cpu_times(), process.memory_info().rss
        except psutil.NoSuchProcess:
            break
        marks += [Mark(BATCH * step, used.user + used.system, memory) for step in steps[len(marks) :]]
        time.sleep(0.02)
    if code := process.wait():
        raise RuntimeError(f"the run ended with {code}: {folder.with_suffix('.log').read_text()}")
    return marks


def read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of the records so far."""
    text = path.read_text() if path.is_file() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def per_image(start: Mark, end: Mark) -> float:
    """Milliseconds."""
    return 1e3 * (end.seconds - start.seconds) / (end.images - start.images)


def growth(marks: Sequence[Mark]) -> tuple[float, float]:
    """How much dearer an image of the last epochs is than one of the first, and how much memory grew, as shares."""
    for before, mark in pairwise(marks):
        print(f"up to image {mark.images}: {per_image(before, mark):.2f} ms each, {mark.memory / 2**20:.0f} MiB")
    half = len(marks) // 2
    early, late = per_image(marks[0], marks[half]), per_image(marks[-1 - half], marks[-1])
    return late / early - 1, marks[-1].memory / marks[2].memory - 1


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="of an epoch (%(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="at least 2 (%(default)s)")
    args = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        config, run = Path(folder) / "config.yaml", Path(folder) / "run"
        config.write_text(yaml.safe_dump(configuration(args.images, args.epochs)))
        dearer, grown = growth(watch(start(config, run), run))
    print(
        f"time per image {dearer:+.1%} (at most {MOST_TIME:.0%} off), memory {grown:+.1%} (at most {MOST_MEMORY:.0%})"
    )
    return 0 if abs(dearer) <= MOST_TIME and grown <= MOST_MEMORY else 1


if __name__ == "__main__":
    sys.exit(main())
