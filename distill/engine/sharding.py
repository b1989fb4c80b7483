"""A teacher that one device cannot hold: its blocks lie in parts on all processes, and are whole while they work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from accelerate import Accelerator
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from distill.errors import UserError


def shard_teacher(teacher: Any, accelerator: Accelerator) -> None:
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
