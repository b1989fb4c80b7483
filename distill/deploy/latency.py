"""How long models take for one image, measured beside each other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

WARMUP = 3  # rounds that are not counted
PAUSE = 0.005  # seconds between two calls, in which idle threads of the one before stop spinning


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one image: the median and the 90th percentile of `runs` calls after a warm-up."""

    median_ms: float
    p90_ms: float
    runs: int

    @property
    def fps(self) -> float:
        """Images per second, one after the other."""
        return 1000 / self.median_ms


@dataclass(frozen=True)
class Call:
    """Something to measure: `act` handles one image. `on_gpu` tells that it returns before its work is done."""

    act: Callable[[], object]
    on_gpu: bool = False

    def milliseconds(self) -> float:
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
    calls: Mapping[str, Call], *, runs: int = 15, progress: Callable[[], object] = lambda: None
) -> dict[str, Latency]:
    """Latency of every call, all in one interleaved run: a machine that slows down slows all of them alike.

    Every round makes each call once, in turn starting with another one. `progress` is called after every round.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for number in range(WARMUP + runs):
        first = number % max(len(names), 1)
        for name in names[first:] + names[:first]:
            time.sleep(PAUSE if len(names) > 1 else 0)
            taken = calls[name].milliseconds()
            if number >= WARMUP:
                times[name].append(taken)
        progress()
    return {name: summary(taken) for name, taken in times.items()}


def summary(milliseconds: list[float]) -> Latency:
    """The percentiles of some measurements."""
    tenths = statistics.quantiles(milliseconds, n=10, method="inclusive") if len(milliseconds) > 1 else milliseconds
    return Latency(statistics.median(milliseconds), tenths[-1], len(milliseconds))


@torch.inference_mode()
def median_latency_ms(
    model: nn.Module, size: tuple[int, int], *, device: torch.device | str = "cpu", runs: int = 15
) -> float:
    """Median milliseconds for one image (1, 3, *size) after a warm-up."""
    device = torch.device(device)
    image = torch.rand(1, 3, *size, device=device)
    call = Call(lambda: model(image), on_gpu=device.type == "cuda")
    return measure({"model": call}, runs=runs)["model"].median_ms
