"""Where the time of a training step goes, and how far it is from what cannot be avoided.

    python tools/measure/profile_step.py
    python tools/measure/profile_step.py student.backbone=resnet18 data.scenes.size=[352,1120] --steps 10
    python tools/measure/profile_step.py --config configs/kitti/efficientnet_b0.yaml data.root=data/kitti
    torchrun --nproc-per-node 2 tools/measure/profile_step.py train.micro_batch=1

Steps are those of `distill train`, with everything around them that costs time. What cannot be avoided, the floor, is
the teacher's `encode` alone plus forward and backward of the student alone, on the same batch after every step. Without
`--config`, DPT-Hybrid teaches an EfficientNet-B0 on embedded streets of 352x704; a teacher without `teacher.checkpoint`
has random weights here, on which no time depends. Times are medians over the steps.

Where the method learns from a teacher's depth alone (output, fill), each step is made a second time from labels, as if
the loader had read what the teacher says (method.name=output). Both costs stand in one table, beside the student's.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import torch
from rich.console import Console
from rich.table import Table

from distill.assembly.datasets import build_data
from distill.assembly.run import Run, assemble, make_accelerator
from distill.config import Config, apply_overrides, parse_config, read_yaml
from distill.data import Batch, Loader
from distill.deploy.latency import environment
from distill.engine.loop import fetch
from distill.engine.processes import workers_here
from distill.engine.run_folder import RunFolder
from distill.engine.step import run_step
from distill.errors import UserError
from distill.method import features
from teachers.model import is_relative, relative_inverse

USUAL: dict[str, Any] = {
    "data": {"name": "scenes", "scenes": {"train": 8, "test": 1, "size": [352, 704]}, "workers": 1},
    "teacher": {"name": "dpt_hybrid"},
    "student": {"backbone": "efficientnet_b0", "lg_conv": True, "pretrained": False},
    "train": {"batch_size": 2},
    "method": {"warmup_steps": 0},
}
PARTS: tuple[str, ...] = (
    *("data wait", "teacher", "student", "FAM", "LAM", "ghost", "losses", "backward", "optimizer", "rest", "step"),
    *("floor: teacher", "floor: student", "floor", "step from labels"),
)
WARMUP = 2  # steps that are not counted


@dataclass
class Stopwatch:
    """Seconds by part; one inside another counts for the inner one alone. Waits for a GPU where there is one."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    inner: list[float] = field(default_factory=lambda: [0.0])

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = self.now()
        self.inner.append(0.0)
        try:
            yield
        finally:
            whole = self.now() - began
            self.seconds[name] += whole - self.inner.pop()
            self.inner[-1] += whole

    def around(self, action: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The same function, timed as a part."""

        def timed(*args: Any, **options: Any) -> Any:
            with self.part(name):
                return action(*args, **options)

        return timed


@contextmanager
def watched(run: Run, watch: Stopwatch) -> Iterator[None]:
    """Inside, every part of a step is timed."""
    method: Any = run.method
    learner, places = run.parts.learner, [(method, "task_loss", "losses"), (features, "attentive_kd_loss", "losses")]
    places += [(method.student, "encode", "student"), (method.student, "decode", "student")]
    places += [(learner.accelerator, "backward", "backward")]
    places += [(learner.accelerator, "clip_grad_norm_", "optimizer")]
    places += [(learner.optimizer, name, "optimizer") for name in ("step", "zero_grad")]
    if run.teacher is not None:
        places += [(run.teacher, name, "teacher") for name in ("encode", "decode")]
    places += [(fam, name, "FAM") for fam in getattr(method, "fam", ()) for name in ("align", "refine")]
    places += [(lam, "forward", "LAM") for lam in getattr(method, "lam", None) or ()]
    if hasattr(method, "decode_ghost"):
        places.append((method, "decode_ghost", "ghost"))
    with ExitStack() as stack:
        for owner, name, part in places:
            stack.enter_context(mock.patch.object(owner, name, watch.around(getattr(owner, name), part)))
        yield


def floor(run: Run, micro_batches: list[Batch]) -> dict[str, Callable[[], None]]:
    """What no way of distilling features can do without, to be timed: by name."""
    learner, student = run.parts.learner, run.method.student
    images = [batch.to(learner.accelerator.device).image for batch in micro_batches]

    def teacher() -> None:
        for image in images:
            with learner.accelerator.autocast():
                run.teacher.encode(image)  # type: ignore[union-attr]

    def learning() -> None:
        for image in images:
            with learner.accelerator.autocast():
                depth = student(image)
            depth.float().sum().backward()
        learner.module.zero_grad(set_to_none=True)

    return {"floor: student": learning} | ({} if run.teacher is None else {"floor: teacher": teacher})


def labelled(run: Run, batch: Batch) -> Batch:
    """A batch as the loader gives it where the teacher has written its labels, and nobody asks it any more."""
    assert run.teacher is not None
    depth = run.teacher(batch.to(run.accelerator.device).image)
    those = torch.ones(len(batch), dtype=torch.bool) if is_relative(run.teacher) else None
    return replace(batch, label=relative_inverse(run.teacher, depth).float().to(batch.depth.device), relative=those)


def profile_steps(run: Run, steps: int) -> list[dict[str, float]]:
    """Seconds of every part, of the whole step and of the floor, for each of so many steps after the warm-up."""
    accelerator = run.accelerator
    workers = workers_here(run.config.data.workers)
    loader = Loader(run.data.train, run.batches, workers, accelerator.device.type == "cuda")
    iterator, rows = iter(loader), []
    for step in range(WARMUP + steps):
        watch = Stopwatch(accelerator.device)
        with watched(run, watch), watch.part("rest"):
            with watch.part("data wait"):
                micro_batches, _ = fetch(iterator, run.settings.micro_batches)
            run_step(run.parts.learner, micro_batches, step)
        row = {"step": sum(watch.seconds.values()), **watch.seconds}
        for name, action in floor(run, micro_batches).items():
            with watch.part(name):
                action()
            row[name] = watch.seconds[name]
        if run.teacher is not None and not run.method.needs_features:
            from_labels = [labelled(run, batch) for batch in micro_batches]
            with watch.part("step from labels"):
                run_step(replace(run.parts.learner, teacher=None), from_labels, step)
            row["step from labels"] = watch.seconds["step from labels"]
        rows.append(row)
    return rows[WARMUP:]


@dataclass(frozen=True)
class Profile:
    """Median milliseconds of a step, its floor and its parts.

    Attributes:
        images: Of a step, over all processes.
        labels_ms: A step from labels, None where the method does not learn from them.
        memory_gib: Peak of the process's memory.
        start_s: Seconds from the start of the process to its first step.
    """

    images: int
    step_ms: float
    floor_ms: float
    parts_ms: dict[str, float]
    memory_gib: float
    start_s: float
    machine: dict[str, str]
    labels_ms: float | None = None

    @property
    def ratio(self) -> float:
        return self.step_ms / self.floor_ms


def measure(config: Config, steps: int) -> Profile:
    """A few steps of this run, in a folder that is gone afterwards."""
    accelerator = make_accelerator(config)
    with tempfile.TemporaryDirectory() as folder:
        run = assemble(config, RunFolder(Path(folder)), build_data(config), accelerator)
        ready = time.time() - psutil.Process().create_time()
        rows = profile_steps(run, steps)
        run.parts.tracker.close()
    for row in rows:
        row["floor"] = sum(value for name, value in row.items() if name.startswith("floor: "))
    parts = {name: 1e3 * statistics.median(row[name] for row in rows) for name in PARTS if name in rows[0]}
    return Profile(
        images=config.train.batch_size,
        step_ms=parts.pop("step"),
        floor_ms=parts.pop("floor"),
        labels_ms=parts.pop("step from labels", None),
        parts_ms=parts,
        memory_gib=peak_memory(accelerator.device),
        start_s=ready,
        machine=environment(accelerator.device),
    )


def peak_memory(device: torch.device) -> float:
    """GiB: what PyTorch held on a GPU; on a CPU all that the process did."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def show(profile: Profile) -> None:
    """A table of the parts, and what they come to."""
    shown, student = Table("part", "ms", "of the step", "of the student's"), profile.parts_ms["floor: student"]
    whole = {"floor": profile.floor_ms, "step": profile.step_ms}
    whole |= {} if profile.labels_ms is None else {"step from labels": profile.labels_ms}
    for name, value in {**profile.parts_ms, **whole}.items():
        shown.add_row(name, f"{value:.1f}", f"{value / profile.step_ms:.1%}", f"{value / student:.2f}")
    Console().print(shown)
    rate = 1e3 * profile.images / profile.step_ms
    print(f"a step costs {profile.ratio:.2f} of its floor: {rate:.2f} images/s, {profile.images} in a step")
    print(f"peak memory {profile.memory_gib:.2f} GiB, {profile.start_s:.1f} s from the start to the first step")
    print(", ".join(profile.machine.values()))


def configuration(path: Path | None, overrides: list[str]) -> Config:
    """The usual one, or that of a file, with these overrides."""
    content = copy.deepcopy(USUAL) if path is None else read_yaml(path)
    apply_overrides(content, overrides)
    return parse_config(content, str(path or "the usual configuration"))


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument("--config", type=Path, help="YAML file of a run")
    parser.add_argument("--steps", type=int, default=5, help="steps that count, after a warm-up (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    args = parser.parse_intermixed_args(words)
    try:
        profile = measure(configuration(args.config, args.overrides), args.steps)
    except UserError as error:
        print(f"profile_step: {error}", file=sys.stderr)
        return 2
    if os.environ.get("RANK", "0") != "0":
        return 0
    show(profile)
    if args.json:
        args.json.write_text(json.dumps(asdict(profile), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
