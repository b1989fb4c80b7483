"""The figures that need a GPU, by one call of at most ten minutes that leaves one folder with its tables.

    python tools/gpu_proof.py --output runs/gpu_proof
    python tools/gpu_proof.py --output runs/gpu_proof --nyu data/nyu --seconds 1200
    python tools/gpu_proof.py --smoke --output runs/smoke     every part tiny, on a CPU, in about a minute

Measured are a training step beside its floor, in bf16, in float32 and on all GPUs; our DPT beside Hugging Face's, where
transformers is installed; latency of students, also by TensorRT, where `trtexec` is; and short ablations of the methods
on streets of 352x1120 and on rooms, or NYUv2, of 480x640, in which a DPT-Hybrid, trained by a row of its own, teaches
an EfficientNet-B0. Each part is a command that exists by itself. What it leaves of its share of the time goes to those
after it. One that fails or is cut short loses no other.

`results.md` has a line for each part and what it printed, `results.json` every figure. The exit code is 0 if every part
that can run here did, 1 otherwise, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import yaml

from distill.config import read_yaml
from distill.deploy.latency import environment
from distill.files import write_atomically, write_json

ROOT = Path(__file__).parents[1]
CONFIGS, TOOLS, PYTHON = ROOT / "configs", ROOT / "tools", sys.executable
DISTILL = [PYTHON, "-m", "distill"]
CUT = 124  # the exit code of what was ended because its time was over, as of `timeout`
PATIENCE = 20.0  # seconds in which it may save its state
LINES = 60  # of what a part printed, in the results
RECIPES = {"kitti": "road", "nyu": "room"}  # of full size, and the scenes of a smoke test in their place
SCHEDULE = {"lr": 1e-3, "warmup_share": 0.05, "schedule": "cosine", "final_lr_share": 0.01, "fam_lr_share": 0.1}
TINY = "data.scenes.size=[32,64] data.workers=0 teacher.name=dpt_micro student.backbone=test_efficientnet --steps 2"
FULL = "data.scenes.size=[352,1120] data.workers=null train.batch_size=8 train.matmul=high --steps 20"


@dataclass(frozen=True)
class ProofPart:
    """What is measured by commands.

    Attributes:
        weight: Its share of the time, beside the others'.
        figures: A file that it leaves; Markdown is shown in place of what it printed.
        lacking: Why it cannot run here.
        remark: What it leaves out here.
    """

    name: str
    weight: float
    commands: list[list[str]]
    figures: Path
    lacking: str = ""
    remark: str = ""


# ---------------------------------------------------------------------------------------------------------------- parts


def parts(args: argparse.Namespace) -> list[ProofPart]:
    """All of them, in their order."""
    gpus = next((one for one in (8, 4, 2) if one <= torch.cuda.device_count()), 1)
    low = "train.precision=" + ("no" if args.smoke else "bf16")  # a process has one precision for good
    steps = [step(args, "step-bf16", low), step(args, "step-fp32", "train.precision=no")]
    steps.append(step(args, "step-all-gpus", f"{low} train.micro_batch={8 // gpus}", gpus))
    dpts = [dpt(args, dtype) for dtype in ("float32", "bfloat16")]
    return [*steps, *dpts, latency(args), scenes(args), *(ablation(args, name) for name in RECIPES), engine(args)]


def step(args: argparse.Namespace, name: str, keys: str, processes: int = 0) -> ProofPart:
    """A training step beside its floor, at the paper's size and batch; on several GPUs a share of the batch each."""
    figures = args.output / f"{name}.json"
    launcher = f"-m torch.distributed.run --standalone --nproc-per-node={processes}".split() if processes else []
    words = [*(TINY if args.smoke else FULL).split(), *keys.split(), "--json", str(figures)]
    lacking = "there are not two GPUs" if processes == 1 else ""
    return ProofPart(name, 40, [[PYTHON, *launcher, f"{TOOLS}/measure/profile_step.py", *words]], figures, lacking)


def dpt(args: argparse.Namespace, dtype: str) -> ProofPart:
    """Our DPT-Hybrid beside its peers, with equal weights."""
    figures = args.output / f"dpt-{dtype}.json"
    words = "--size 64x64 --rounds 1" if args.smoke else "--size 384x384 352x1216 --batch 8 --device cuda"
    command = [PYTHON, f"{TOOLS}/measure/compare_dpt.py", "dpt_hybrid", "--dtype", dtype, "--json", str(figures)]
    remark = "" if find_spec("transformers") else "without Hugging Face's: transformers is not installed"
    return ProofPart(f"dpt-{dtype}", 30, [[*command, *words.split()]], figures, remark=remark)


def latency(args: argparse.Namespace) -> ProofPart:
    """What students cost by PyTorch."""
    figures = args.output / "students.json"
    words = "test_efficientnet --size 32x64 --runs 1" if args.smoke else "efficientnet_b0 resnet18 --size 352x1120"
    command = [*DISTILL, "students", *words.split(), "--ways", "channels_last", "bf16", "--json", str(figures)]
    return ProofPart("students", 40, [command], figures)


def scenes(args: argparse.Namespace) -> ProofPart:
    """The images of both ablations, as files, so that no run renders them anew."""
    made = [name for name in RECIPES if not (args.smoke or root(args, name) == args.nyu)]
    command = [PYTHON, f"{TOOLS}/make_scenes.py", "--train", "240", "--test", "60", "--layout"]
    return ProofPart(
        "scenes", 40, [[*command, one, "--output", str(root(args, one))] for one in made], args.output / "data"
    )


def ablation(args: argparse.Namespace, name: str) -> ProofPart:
    """The methods beside each other, in the recipe of that name; gathered also where it is cut short."""
    path, base, folder = CONFIGS / "ablations" / "dpt_teacher.yaml", args.output / f"{name}.yaml", args.output / name
    if args.smoke:
        content, path = read_yaml(path), args.output / "dpt_teacher.yaml"
        content["rows"]["teacher"]["student"] = {"backbone": "dpt_micro"}
        content |= {"rows": {row: content["rows"][row] for row in ("teacher", "FAM+LAM")}, "twins": {}}
        write_atomically(path, yaml.safe_dump(content, sort_keys=False))
    write_atomically(base, yaml.safe_dump(recipe(args, name)))
    command = [*DISTILL, "ablate", str(path), f"base={base}", "--output", str(folder), "--jobs"]
    jobs = str(max(3, torch.cuda.device_count()))
    return ProofPart(f"methods-{name}", 150, [[*command, jobs], [*command, "0"]], folder / "results.md")


def recipe(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """The recipe of that name, without weights from elsewhere, on the schedule of the proofs."""
    base = read_yaml(CONFIGS / name / "efficientnet_b0.yaml")
    base["teacher"], base["optim"] = None, SCHEDULE
    base["data"]["root"] = str(root(args, name))
    base["student"]["pretrained"] = False
    base["method"] |= {"kd_weight": 16.0, "kd_normalise": True, "warmup_epochs": 2}
    base["train"] |= {"steps": args.steps, "validate_every": args.steps}
    if args.smoke:
        tiny = {"kind": RECIPES[name], "train": 8, "test": 2, "size": [32, 64]}
        base |= {"data": {"name": "scenes", "scenes": tiny, "workers": 0}, "eval": {"pictures": 0}}
        base["student"] = {"backbone": "test_efficientnet", "pretrained": False}
        base["train"] |= {"steps": 2, "validate_every": 2}
    return base


def engine(args: argparse.Namespace) -> ProofPart:
    """Latency of the first ablation's student by TensorRT."""
    graph, figures, student = args.output / "student.onnx", args.output / "tensorrt.json", args.output / "kitti/plain"
    export = [*DISTILL, "export", f"{student}/seed_0", "--target", "onnx-portable", "--size", "352x1120"]
    timed = ["trtexec", "--fp16", f"--onnx={graph}", f"--exportTimes={figures}"]
    lacking = "" if shutil.which("trtexec") else "TensorRT's trtexec is not installed"
    return ProofPart("tensorrt", 40, [[*export, "--output", str(graph)], timed], figures, lacking)


def root(args: argparse.Namespace, name: str) -> Path:
    """Where the images of an ablation lie."""
    return args.nyu if name == "nyu" and args.nyu is not None else args.output / "data" / name


# --------------------------------------------------------------------------------------------------------- carrying out


def apart(command: list[str], log: Path, seconds: float) -> int:
    """The exit code of a command in a process of its own, which is asked to end when its time is over."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(":")}
    with log.open("a") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=env, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return CUT


def here(command: list[str], log: Path, seconds: float) -> int:
    """The same of Python in this process, where importing costs no seconds again; it is not cut."""
    module = command[1] == "-m"
    words, run = command[1 + module :], runpy.run_module if module else runpy.run_path
    with log.open("a") as file, redirect_stdout(file), redirect_stderr(file), mock.patch("sys.argv", words):
        try:
            run(words[0], None, "__main__")
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        except Exception:
            traceback.print_exc()
            return 1
    return 0


def carry_out(
    part: ProofPart, seconds: float, folder: Path, run: Callable[[list[str], Path, float], int]
) -> dict[str, object]:
    """What became of a part: seconds, an outcome in words, whether it failed, its figures."""
    log, codes, began = folder / f"{part.name}.log", [], time.monotonic()
    for command in () if part.lacking else part.commands:
        left = seconds - (time.monotonic() - began)
        codes.append(run(command, log, max(left, PATIENCE)))  # a little also for what gathers after a cut
    worst = next((code for code in codes if code), 0)
    outcome = "cut: its time was over" if worst == CUT else f"exit code {worst}, see {log.name}" if worst else "done"
    outcome = f"left out: {part.lacking}" if part.lacking else ", ".join(filter(None, [outcome, part.remark]))
    record: dict[str, object] = {"part": part.name, "seconds": round(time.monotonic() - began, 1), "outcome": outcome}
    record |= {"failed": bool(worst), "commands": [shlex.join(one) for one in part.commands]}
    if part.figures.is_file():
        text = part.figures.read_text()
        record["figures"] = json.loads(text) if part.figures.suffix == ".json" else text
    return record


def as_text(records: Sequence[dict[str, object]], machine: str, folder: Path) -> str:
    """The table of all parts, and below it what each has to show."""
    lines = ["# GPU proof", "", machine, "", "| part | seconds | outcome |", "| --- | --- | --- |"]
    lines += [f"| {one['part']} | {one['seconds']} | {one['outcome']} |" for one in records]
    for one in records:
        log, shown = folder / f"{one['part']}.log", one.get("figures")
        if isinstance(shown, str):
            lines += ["", f"#{shown}"]
        elif log.is_file():
            printed = log.read_text(errors="replace").splitlines()[-LINES:]
            lines += ["", f"## {one['part']}", "", "```", *printed, "```"]
    return "\n".join(lines) + "\n"


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/gpu_proof"), help="a folder (%(default)s)")
    parser.add_argument("--nyu", type=Path, metavar="DIR", help="NYUv2, in place of rendered rooms")
    parser.add_argument("--steps", type=int, default=300, help="of each run of an ablation (%(default)s)")
    parser.add_argument("--seconds", type=float, default=570.0, help="for all parts together (%(default)s)")
    parser.add_argument("--parts", nargs="+", default=[""], metavar="PART", help="only those whose names begin so")
    parser.add_argument("--smoke", action="store_true", help="everything tiny, on any machine: it measures nothing")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    args = parse(words)
    if not (args.smoke or torch.cuda.is_available()):
        print("gpu_proof: PyTorch finds no GPU here; --smoke tries every part, tiny, without one", file=sys.stderr)
        return 2
    args.output.mkdir(parents=True, exist_ok=True)
    chosen = [part for part in parts(args) if part.name.startswith(tuple(args.parts))]
    end, records = time.monotonic() + args.seconds, list[dict[str, object]]()
    stamp = environment(torch.device("cpu" if args.smoke else "cuda"))
    for number, part in enumerate(chosen):
        weights = sum(one.weight for one in chosen[number:] if not one.lacking)
        seconds = max(end - time.monotonic(), 0) * part.weight / max(weights, 1)
        records.append(carry_out(part, seconds, args.output, here if args.smoke else apart))
        print(f"{part.name}: {records[-1]['outcome']} ({records[-1]['seconds']} s)", flush=True)
        write_json(args.output / "results.json", {"machine": stamp, "parts": records})
        write_atomically(args.output / "results.md", as_text(records, ", ".join(stamp.values()), args.output))
    print(f"results: {args.output / 'results.md'}")
    return int(any(one["failed"] for one in records))


if __name__ == "__main__":
    sys.exit(main())
