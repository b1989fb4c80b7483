"""How long a model takes for one image."""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn


@torch.inference_mode()
def median_latency_ms(
    model: nn.Module, size: tuple[int, int], *, device: torch.device | str = "cpu", runs: int = 15
) -> float:
    """Median milliseconds for one image (1, 3, *size) after a warm-up, including the wait for the device."""
    device = torch.device(device)
    image = torch.rand(1, 3, *size, device=device)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times = []
    for _ in range(runs + 3):
        start = time.perf_counter()
        model(image)
        wait()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[3:])
