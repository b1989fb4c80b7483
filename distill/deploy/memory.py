"""How much memory a piece of work needs at its peak."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

import torch

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_growth(act: Callable[[], object], device: torch.device) -> int | None:
    """Bytes by which memory grows at most while `act` runs; None where the system does not tell.

    On a GPU this is what PyTorch allocates there. On a CPU it is the resident memory of the process, from which
    everything that lay free before is given back first; only Linux tells it.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        act()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        ctypes.CDLL(None).malloc_trim(0)
        CLEAR_REFS.write_text("5")  # the highest mark starts again from here
        before = _resident("VmRSS")
    except (OSError, AttributeError, TypeError):
        act()
        return None
    act()
    return max(_resident("VmHWM") - before, 0)


def _resident(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"{STATUS} does not tell {name}")
    return 1024 * int(found[1])
