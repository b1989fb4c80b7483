"""What the processes of one run have to agree on. With one process nothing here costs anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from distill.errors import UserError

Answer = TypeVar("Answer")


def largest(accelerator: Accelerator, values: Sequence[float]) -> list[float]:
    """The largest of each value over all processes."""
    if accelerator.num_processes == 1:
        return list(values)
    mine = torch.tensor([values], dtype=torch.float32, device=accelerator.device)
    return accelerator.gather(mine).amax(dim=0).tolist()


def averages(accelerator: Accelerator, values: dict[str, Tensor]) -> dict[str, float]:
    """The mean of each scalar over all processes; they must have the same names everywhere."""
    stacked = torch.stack([value.detach().float().to(accelerator.device) for value in values.values()])
    return dict(zip(values, accelerator.reduce(stacked, "mean").tolist(), strict=True))


def union(accelerator: Accelerator, names: Iterable[str]) -> set[str]:
    """The names that any process has."""
    return set(gather_object(sorted(names)))


def on_main(accelerator: Accelerator, action: Callable[[], Answer]) -> Answer:
    """What `action` returns on the main process, given to every one; a `UserError` is raised on every one as well.

    Only the main process need see the run's folder, and no other waits for one that has refused.
    """
    if accelerator.num_processes == 1:
        return action()
    said: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            said[0] = action()
        except UserError as error:
            said[1] = str(error)
    answer, refusal = broadcast_object_list(said)
    if refusal is not None:
        raise UserError(refusal)
    return answer
