"""Runs that are killed with SIGKILL again and again, and continued, end as a run that was left alone, bit for bit.

Kills are drawn evenly over the next steps and fall into a run's start, steps, validations, checkpoints and report.
"""

import json
import random
import time
from itertools import count

import pytest
import torch
import yaml
from forked_runs import launch

from distill.engine.checkpoint import Checkpoints
from distill.engine.tracking import record_number

STEPS, RECORDS = 24, 27  # of steps, and of steps and validations, in a run of this configuration
FURTHEST = 8  # records that a run may add before it is killed
PATIENCE = 0.5  # seconds, about what a validation and a checkpoint take
SCENES = {"kind": "road", "train": 8, "test": 3, "size": [32, 64]}
CONFIG = {
    "data": {"name": "scenes", "scenes": SCENES, "workers": 0},
    "teacher": {"name": "dpt_micro"},
    "student": {"backbone": "test_efficientnet", "pretrained": False, "width": 8, "bins": 8},
    "train": {"batch_size": 4, "steps": STEPS, "validate_every": 8, "checkpoint_every": 3, "log_every": 1},
    "optim": {"lr": 1e-3},
    "eval": {"pictures": 0},
}


def carry_out(folder, config):
    """Start or continue the run in `folder`."""
    return launch(["train", str(config), "--output", str(folder), "--resume"], folder.with_suffix(".log"))


def wait(process, folder):
    """Let a run come to its end, which has to be a good one."""
    process.join()
    assert process.exitcode == 0, folder.with_suffix(".log").read_text()


def killed(folder, config, draw):
    """Go on with a run and kill it a while after some more records, or in its start; False where it ended before."""
    more, patience = draw.randint(0, FURTHEST), draw.random() * PATIENCE
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


def inode(path):
    """A file's number, which is another's once that has taken its place."""
    return path.stat().st_ino if path.exists() else None


def newest(folder):
    """Step of the newest checkpoint, -1 where there is none."""
    paths = Checkpoints(folder / "checkpoints").paths()
    return int(paths[0].name.removeprefix("step-")) if paths else -1


def records(folder, until=float("inf")):
    """Steps and validations so far, up to a step."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return sum(record_number(line, "step") <= until for line in lines)


def outcome(folder):
    """What a finished run leaves that has to be the same: last state, best weights, records, results."""
    state = Checkpoints(folder / "checkpoints").load()
    results = json.loads((folder / "results.json").read_text())
    return {
        "state": {name: as_lists(state[name]) for name in ("module", "optimizer", "schedule", "state")},
        "student": (folder / "student" / "model.safetensors").read_bytes(),
        "records": [timeless(json.loads(line)) for line in (folder / "metrics.jsonl").read_text().splitlines()],
        "results": [one["per_image"] for one in results],
    }


def timeless(record):
    return {key: value for key, value in record.items() if key not in ("seconds", "images_per_second")}


def as_lists(value):
    """A nested state with tensors as lists, to be compared."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: as_lists(inner) for key, inner in value.items()}
    return [as_lists(inner) for inner in value] if isinstance(value, list | tuple) else value


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_is_killed_at_random_ends_as_one_that_is_left_alone(tmp_path, workers):
    kills, draw = 20, random.Random(20)
    config, whole = tmp_path / "config.yaml", tmp_path / "undisturbed"
    config.write_text(yaml.safe_dump(CONFIG | {"data": CONFIG["data"] | {"workers": workers}}))
    wait(carry_out(whole, config), whole)
    expected = outcome(whole)
    for number in count():  # a run that comes to its end is compared and another begun, until there are enough kills
        run = tmp_path / f"run_{number}"
        while kills and newest(run) < STEPS and killed(run, config, draw):
            kills -= 1
        wait(carry_out(run, config), run)
        ended = outcome(run)
        assert [name for name in expected if ended[name] != expected[name]] == []
        if not kills:
            return
