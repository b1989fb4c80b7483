"""Ablations whose runs take milliseconds: a script stands in for `distill train` and leaves what a run leaves."""

import json
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from distill.ablation.plan import PlannedRun
from distill.cli import main
from distill.commands.ablate import plan
from distill.config import dump_config
from distill.evaluation import MEASURES, paired_bootstrap

# What a run of each row does; by default it finishes. The script imports nothing that takes time.
SCRIPT = """
import json, os, pathlib, signal, sys, time
order = json.loads(sys.argv[1])
folder, does = pathlib.Path(order["folder"]), order["does"]
with open(order["diary"], "a") as diary:
    diary.write(f"{folder} {os.environ.get('OMP_NUM_THREADS')} {time.monotonic()}\\n")
if does == "fails":
    sys.exit(print("distill: no space is left", file=sys.stderr) or 2)
if does == "crashes":
    raise RuntimeError("a fault of ours")
if does == "stops":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit((folder / "saved").write_text("") or 143))
    folder.mkdir(parents=True)
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
folder.mkdir(parents=True, exist_ok=True)
for name, text in order["files"].items():
    (folder / name).write_text(text)
"""


def entry(role, values, fingerprint="f"):
    """One model's results, every metric alike: {image: value}."""
    images = [{"name": image, **dict.fromkeys(MEASURES, value)} for image, value in values.items()]
    mean = sum(values.values()) / len(values)
    costs = {"parameters": 2e6, "gflops": 3.0, "latency_ms": 4.0} if role != "ghost" else {}
    means = dict.fromkeys(MEASURES, mean)
    return {
        "role": role,
        "protocol": "folder",
        "fingerprint": fingerprint,
        "metrics": means,
        "per_image": images,
    } | costs


def left_behind(run, models):
    """The files of a finished run."""
    train = [
        {"kind": "train", "step": step, "images_per_second": rate} for step, rate in ((1, 1.0), (2, 8.0), (3, 8.0))
    ]
    val = [{"kind": "val", "step": step, **dict.fromkeys(MEASURES, 1.0 / step)} for step in (1, 3)]
    return {
        "config.yaml": dump_config(run.config),
        "results.json": json.dumps(models),
        "metrics.jsonl": "".join(f"{json.dumps(record)}\n" for record in train + val),
        "done.json": json.dumps({"step": 3}),
    }


class Stage:
    """A place where ablations are carried out by the script.

    `does` says what becomes of a row ("fails", "crashes", "stops"), `models` what its runs evaluated, by row and seed.
    """

    def __init__(self, folder):
        self.folder, self.output = folder, folder / "out"
        self.does, self.models = {}, {}
        self.diary = folder / "diary"

    def left_by(self, run):
        """What a run leaves when it finishes: texts by file."""
        default = [entry("student", {"x": 1.0, "y": 2.0, "z": 4.0})]
        return left_behind(run, self.models.get((run.row, run.seed), default))

    def finish(self, **keys):
        """Leave every run as finished, without a process for each."""
        for run in plan(self.write(**keys), [], self.output)[1]:
            run.folder.mkdir(parents=True)
            for name, text in self.left_by(run).items():
                (run.folder / name).write_text(text)

    def command(self, run):
        message = {
            "folder": str(run.folder),
            "does": self.does.get(run.row),
            "diary": str(self.diary),
            "files": self.left_by(run),
        }
        return [sys.executable, "-S", "-c", SCRIPT, json.dumps(message)]

    def write(self, **keys):
        """An ablation's file: two rows, one seed, unless `keys` differ."""
        base = {"data": {"name": "scenes"}, "teacher": {"name": "dpt_micro"}}
        content = {"base": base, "rows": {"plain": {"method.name": "supervised"}, "+KD": {"method.name": "feature"}}}
        path = self.folder / "tiny.yaml"
        path.write_text(yaml.safe_dump(content | keys, sort_keys=False))
        return path

    def ablate(self, *words, **keys):
        """The exit code of the command."""
        return main(["ablate", str(self.write(**keys)), *map(str, words), "--output", str(self.output)])

    def started(self):
        """What was started, in this order: ROW/seed_N, each with the threads that it was to use."""
        lines = self.diary.read_text().splitlines() if self.diary.exists() else []
        parts = [line.split() for line in lines]
        return [("/".join(Path(folder).parts[-2:]), threads) for folder, threads, _ in parts]


@pytest.fixture
def stage(tmp_path, monkeypatch):
    made = Stage(tmp_path)
    monkeypatch.setattr(PlannedRun, "command", lambda run: made.command(run))
    monkeypatch.setattr("distill.ablation.launch.PAUSE", 0.01)
    monkeypatch.setattr("distill.ablation.gather.paired_bootstrap", partial(paired_bootstrap, samples=200))
    monkeypatch.setenv("COLUMNS", "200")
    return made


@pytest.fixture
def results():
    return entry
