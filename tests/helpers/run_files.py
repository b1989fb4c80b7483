"""What a test reads back from the folder of a run."""

import json

from distill.engine.checkpoint import Checkpoints


def read_json(path):
    return json.loads(path.read_text())


def records(folder):
    """The lines of `metrics.jsonl`, none where it is not there yet."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def last_state(folder):
    return Checkpoints(folder / "checkpoints").load()
