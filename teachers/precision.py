"""Parts that keep full precision under autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def no_autocast(device: str) -> AbstractContextManager[object]:
    """A context without automatic mixed precision, which not every kind of device knows (the meta device does not)."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
