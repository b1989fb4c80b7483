"""What the figures of a report depend on, beside the code."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch

from distill import __version__

CPU_INFO = Path("/proc/cpuinfo")


def device_name(device: torch.device) -> str:
    """A GPU's name, or the processor's and the instructions that PyTorch uses of it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def processor_name() -> str:
    """The processor's model where Linux tells it, and else what Python knows."""
    message = re.search(r"^model name\s*:\s*(.+)$", CPU_INFO.read_text(), re.MULTILINE) if CPU_INFO.exists() else None
    return message[1] if message else platform.processor() or "CPU"


def environment(device: torch.device) -> dict[str, str]:
    """Versions and the machine, by what to call them."""
    return {
        "distill": __version__,
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "device": f"{device_name(device)}, {torch.get_num_threads()} threads, {os.cpu_count()} cores",
        "system": platform.system(),
    }
