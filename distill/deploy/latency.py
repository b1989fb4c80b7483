"""How long models take for one image, measured beside each other, and the machine on which."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from distill import __version__
from distill.deploy.energy import Meter

CPU_INFO = Path("/proc/cpuinfo")
WARMUP = 3  # rounds that are not counted
PAUSE = 0.005  # seconds between two calls, in which idle threads of the one before stop spinning


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one image: the median and the 90th percentile of `runs` calls after a warm-up.

    `joules` is the mean of what the device used for one, None where it does not tell.
    """

    median_ms: float
    p90_ms: float
    runs: int
    joules: float | None = None

    @property
    def fps(self) -> float:
        """Images per second, one after the other."""
        return 1000 / self.median_ms


@dataclass(frozen=True)
class Call:
    """Something to measure: `act` handles one image. with `on_gpu` it returns before its work is done."""

    act: Callable[[], object]
    on_gpu: bool = False

    def milliseconds(self) -> float:
        """How long one image takes, its work on a GPU included."""
        if self.on_gpu:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            self.act()
            end.record()
            end.synchronize()
            return start.elapsed_time(end)
        began = time.perf_counter()
        self.act()
        return 1e3 * (time.perf_counter() - began)


def measure(
    calls: Mapping[str, Call],
    *,
    runs: int = 15,
    progress: Callable[[], object] = lambda: None,
    meter: Meter | None = None,
) -> dict[str, Latency]:
    """Latency of every call, all in one interleaved run: a machine that slows down slows all of them alike.

    Every round makes each call once, in turn starting with another one. `progress` is called after every round.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    used: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for number in range(WARMUP + runs):
        first = number % max(len(names), 1)
        for name in names[first:] + names[:first]:
            time.sleep(PAUSE if len(names) > 1 else 0)
            before = meter() if meter else 0.0
            taken = calls[name].milliseconds()
            if number >= WARMUP:
                times[name].append(taken)
                used[name] += [meter() - before] if meter else []
        progress()
    return {
        name: Latency(float(np.median(taken)), float(np.percentile(taken, 90)), runs, mean_joules(used[name]))
        for name, taken in times.items()
    }


def mean_joules(used: Sequence[float]) -> float | None:
    """The mean, without those during which a counter began again at 0."""
    forward = [one for one in used if one >= 0]
    return sum(forward) / len(forward) if forward else None


def device_name(device: torch.device) -> str:
    """A GPU's name, or the processor's (its model where Linux knows it) and the instructions that PyTorch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = re.search(r"^model name\s*:\s*(.+)$", CPU_INFO.read_text(), re.MULTILINE) if CPU_INFO.exists() else None
    name = model[1] if model else platform.processor() or "CPU"
    return f"{name} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def environment(device: torch.device) -> dict[str, str]:
    """Versions and the machine, by what to call them."""
    return {
        "distill": __version__,
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "device": f"{device_name(device)}, {torch.get_num_threads()} threads, {os.cpu_count()} cores",
        "system": platform.system(),
    }
