"""What a device says of the energy that it has used so far: NVIDIA GPUs, and processors by their RAPL counters."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
Meter = Callable[[], float]  # joules since some moment in the past


def meter_of(device: torch.device) -> Meter | None:
    """A counter of joules of this device; None where it tells nothing, or only to an administrator.

    A GPU's is the whole board's and needs the package nvidia-ml-py. A processor's is that of its packages, with all
    that runs on them: an idle machine is needed to read it as a model's.
    """
    return _of_gpu(device) if device.type == "cuda" else _of_packages()


def _of_gpu(device: torch.device) -> Meter | None:
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # not installed, no driver, a GPU older than Volta
        return None
    return lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3


def _of_packages() -> Meter | None:
    packages = [one / "energy_uj" for one in sorted(POWERCAP.glob("*rapl:*")) if one.name.count(":") == 1]

    def joules() -> float:
        return sum(int(one.read_text()) for one in packages) / 1e6

    try:
        return joules if packages and joules() >= 0 else None
    except (OSError, ValueError):  # since 2020 most kernels let only root read them
        return None
