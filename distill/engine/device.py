"""What a run asks of its device: a precision, how matrices are multiplied, whether equal input gives equal bits."""

from __future__ import annotations

import os
import re

import torch

from distill.config import TrainConfig


def precision_here(wanted: str) -> str:
    """`auto` is bf16 where a GPU computes in it, float32 elsewhere; every other precision is itself."""
    if wanted != "auto":
        return wanted
    able = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if able else "no"


def settle(train: TrainConfig, device: torch.device) -> None:
    """Set what PyTorch keeps for the whole process. A CPU multiplies in float32 whatever `train.matmul` says."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision(train.matmul)
        torch.backends.cudnn.benchmark = not train.deterministic  # its choice is by time: not the same in each process
    if train.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without which cuBLAS is refused
    torch.use_deterministic_algorithms(train.deterministic)


def undetermined(error: BaseException) -> str | None:
    """The operation that has no deterministic form on this device, if that is what an error says."""
    refused = re.match(r"(.+?) does not have a deterministic implementation", str(error))
    return refused and refused[1]
