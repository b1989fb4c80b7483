"""Kills a small run with SIGKILL again and again, continues it, and compares it with a run that was left alone.

    python tools/stress_resume.py [--kills 20] [--seed 0] [--workers 1]

Moments are drawn evenly over the next steps and fall into a run's start, steps, validations, checkpoints and report. A
run that comes to its end is compared and another begun, until there have been enough kills. The exit code is 0 where
every run ended with the weights, the records and the results of the undisturbed one, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import yaml
from forked_runs import launch

from distill.engine.checkpoint import Checkpoints
from distill.engine.tracking import record_step

STEPS, RECORDS = 24, 27  # of steps, and of steps and validations, in a run of this configuration
FURTHEST = 8  # records that a run may add before it is killed
PATIENCE = 0.5  # seconds, about what a validation and a checkpoint take
SCENES = {"kind": "road", "train": 8, "test": 3, "size": [32, 64]}
CONFIG: dict[str, Any] = {
    "data": {"name": "scenes", "scenes": SCENES, "workers": 0},
    "teacher": {"name": "dpt_micro"},
    "student": {"backbone": "test_efficientnet", "pretrained": False, "width": 8, "bins": 8},
    "train": {"batch_size": 4, "steps": STEPS, "validate_every": 8, "checkpoint_every": 3, "log_every": 1},
    "optim": {"lr": 1e-3},
    "eval": {"pictures": 0},
}


def carry_out(folder: Path, config: Path) -> BaseProcess:
    """Start or continue the run in `folder`."""
    return launch(["train", str(config), "--output", str(folder), "--resume"], folder.with_suffix(".log"))


def wait(process: BaseProcess, folder: Path) -> None:
    """Let a run come to its end, which has to be a good one."""
    process.join()
    if process.exitcode != 0:
        log = folder.with_suffix(".log").read_text()
        raise AssertionError(f"the run failed with exit code {process.exitcode}:\n{log}")


def kill(folder: Path, config: Path, more: int, patience: float) -> bool:
    """Go on with a run, and kill it `patience` seconds after so many records more; with none of them, in its start.

    Returns:
        False where it came to its end before.
    """
    path, last = folder / "metrics.jsonl", min(records(folder, newest(folder)) + more, RECORDS)
    former = inode(path)
    process = carry_out(folder, config)
    # Until the run has replaced its records they may hold some that it will make again.
    while more and process.is_alive() and (inode(path) in (None, former) or records(folder) < last):
        time.sleep(0.005)
    process.join(patience)
    if not process.is_alive():
        wait(process, folder)
        return False
    process.kill()
    process.join()
    return True


def inode(path: Path) -> int | None:
    """What tells a file from the one that has taken its place."""
    return path.stat().st_ino if path.exists() else None


def newest(folder: Path) -> int:
    """Step of the newest checkpoint, -1 where there is none."""
    paths = Checkpoints(folder / "checkpoints").paths()
    return int(paths[0].name.removeprefix("step-")) if paths else -1


def records(folder: Path, until: float = float("inf")) -> int:
    """Steps and validations so far, up to a step."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return sum(record_step(line) <= until for line in lines)


def outcome(folder: Path) -> dict[str, Any]:
    """What a finished run leaves that has to be the same: last state, best weights, records, results."""
    state = Checkpoints(folder / "checkpoints").load()
    assert state is not None
    results = json.loads((folder / "results.json").read_text())
    return {
        "state": {name: flat(state[name]) for name in ("module", "optimizer", "schedule", "state")},
        "student": (folder / "student" / "model.safetensors").read_bytes(),
        "records": [timeless(json.loads(line)) for line in (folder / "metrics.jsonl").read_text().splitlines()],
        "results": [one["per_image"] for one in results],
    }


def timeless(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("seconds", "images_per_second")}


def flat(value: Any) -> Any:
    """A nested state with tensors as lists, to be compared."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: flat(inner) for key, inner in value.items()}
    return [flat(inner) for inner in value] if isinstance(value, list | tuple) else value


def stress(folder: Path, kills: int, seed: int = 0, workers: int = 0) -> Iterator[tuple[str, int]]:
    """Yield, for every kill, the run's name and the step of its newest checkpoint, -1 for none.

    Raises:
        AssertionError: If a run that has come to its end differs from the undisturbed one.
    """
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(CONFIG | {"data": CONFIG["data"] | {"workers": workers}}))
    whole, draw, left = folder / "undisturbed", random.Random(seed), kills
    wait(carry_out(whole, config), whole)
    expected = outcome(whole)
    for number in count():
        run = folder / f"run_{number}"
        while left and newest(run) < STEPS and kill(run, config, draw.randint(0, FURTHEST), draw.random() * PATIENCE):
            left -= 1
            yield run.name, newest(run)
        wait(carry_out(run, config), run)
        found = outcome(run)
        differing = [name for name in expected if found[name] != expected[name]]
        if differing:
            raise AssertionError(f"{run} differs from {whole} in {', '.join(differing)}")
        if not left:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that load images")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps: Counter[str] = Counter()
        for number, (run, step) in enumerate(stress(Path(folder), args.kills, args.seed, args.workers), start=1):
            steps[run] += 1
            print(
                f"kill {number}: {run}, {'before its first checkpoint' if step < 0 else f'checkpoint of step {step}'}"
            )
        print(f"{args.kills} kills in {len(steps)} runs: each ended as the undisturbed one, bit for bit")


if __name__ == "__main__":
    main()
