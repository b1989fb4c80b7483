"""What a test reads back from the folder of a run."""

import json
import shutil

from distill.engine.checkpoint import Checkpoints

SHORT = "train.steps=1"  # for what every step shows


def read_json(path):
    return json.loads(path.read_text())


def records(folder):
    """The lines of `metrics.jsonl`, none where it is not there yet."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def cut_back(run, copy, step):
    """A copy of a finished run, as a kill behind the checkpoint of that step would have left it."""
    shutil.copytree(run, copy)
    (copy / "done.json").unlink()
    for path in (copy / "checkpoints").iterdir():
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path)
    assert last_state(copy)["state"]["step"] == step
    return copy


def last_state(folder):
    return Checkpoints(folder / "checkpoints").load()
