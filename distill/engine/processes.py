"""What the processes of one run agree on and share. With one process nothing here costs anything."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

from distill.errors import UserError
from teachers import FrozenTeacher

Answer = TypeVar("Answer")
PATIENCE = timedelta(hours=2)  # for which processes of a run wait for each other: for one that reads a cold disk
LONGEST = timedelta(days=30)  # for which a process waits, at the end of its share of images, for slower ones
UNSET = "start the processes by torchrun, or unset what a launcher left in the environment"
MOST_WORKERS = 8  # that load images for one process: no GPU of ours trains faster than so many read


def cores() -> int:
    """Processors that this process may use, of which a scheduler may have given it few."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def processes_here() -> int:
    """Processes of a run on this machine, as a launcher states them."""
    stated = os.environ.get("LOCAL_WORLD_SIZE", "1")
    if not (stated.isdecimal() and int(stated)):
        raise UserError(f"LOCAL_WORLD_SIZE={stated} in the environment is no number of processes: {UNSET}")
    return int(stated)


def workers_here(wanted: int | None) -> int:
    """Processes that load images: as wanted, by default a core each, of this process's share all but its own."""
    share = cores() // processes_here()
    return max(1, min(MOST_WORKERS, share - 1)) if wanted is None else wanted


def group_options() -> InitProcessGroupKwargs:
    """How the processes of a run talk. What hosts know passes by their GPUs, which would have to be waited for."""
    atexit.register(leave_group)
    gpus = "LOCAL_RANK" in os.environ and torch.cuda.is_available()
    return InitProcessGroupKwargs(timeout=PATIENCE, **({"backend": "cuda:nccl,cpu:gloo"} if gpus else {}))


def join_group() -> PartialState:
    """This process among all that a launcher has started for one command, which share its images."""
    atexit.register(leave_group)
    try:
        return PartialState(cpu=not torch.cuda.is_available(), timeout=LONGEST)  # or CPU processes would stay strangers
    except ValueError as error:
        raise UserError(f"this launch does not work here: {error}: {UNSET}") from error


def leave_group() -> None:
    """Take leave of the other processes: at exit, and so also after an error, but not before it is printed."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def exchange(accelerator: Accelerator, values: Sequence[float]) -> Tensor:
    """What every process says, (processes, values), on the host: one call, in which each waits for all others.

    It passes by GPUs where there is a way (see `group_options`), as what they compute need not be over for it.
    """
    mine = torch.tensor(values, dtype=torch.float64)
    if accelerator.num_processes == 1:
        return mine[None]
    mine = mine.to("cpu" if "gloo" in f"{accelerator.state.backend}" else accelerator.device)
    everyone = [torch.empty_like(mine) for _ in range(accelerator.num_processes)]
    torch.distributed.all_gather(everyone, mine)
    return torch.stack(everyone).cpu()


def averages(accelerator: Accelerator, values: dict[str, Tensor]) -> dict[str, float]:
    """The mean of each scalar over all processes; they must have the same names everywhere."""
    stacked = torch.stack([value.detach().float().to(accelerator.device) for value in values.values()])
    return dict(zip(values, accelerator.reduce(stacked, "mean").tolist(), strict=True))


def on_main(accelerator: Accelerator | PartialState, action: Callable[[], Answer]) -> Answer:
    """What `action` returns on the main process, given to every one; a `UserError` is raised on every one as well.

    Only the main process need see the run's folder, and no other waits for one that has refused.
    """
    if accelerator.num_processes == 1:
        return action()
    answer_or_refusal: list[object] = [None, None]
    if accelerator.is_main_process:
        try:
            answer_or_refusal[0] = action()
        except UserError as error:
            answer_or_refusal[1] = str(error)
    answer, refusal = broadcast_object_list(answer_or_refusal)
    if refusal is not None:
        raise UserError(refusal)
    return answer


# A teacher that one device cannot hold: its blocks lie in parts on all processes, and are whole while they work.


def shard_teacher(teacher: FrozenTeacher, accelerator: Accelerator) -> None:
    """Divide the encoder's blocks among the processes (PyTorch's FSDP), each of which must call it as often as others.

    Raises:
        UserError: If there is nobody to share with, or this PyTorch cannot do it.
    """
    if accelerator.num_processes == 1:
        raise UserError("teacher.shard divides a teacher among processes, and this is the only one; leave it out")
    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise UserError("teacher.shard needs PyTorch 2.6 or newer; update it, or leave teacher.shard out") from error
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for block in blocks(teacher.model.encoder):
        fully_shard(block, mesh=mesh, reshard_after_forward=True)


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost members of lists that can be divided: not convolutions in channels-last order."""
    for child in module.children():
        parameters = list(child.parameters())
        divisible = bool(parameters) and all(one.is_contiguous() for one in parameters)
        if divisible and isinstance(module, nn.ModuleList | nn.Sequential):
            yield child
        else:
            yield from blocks(child)
