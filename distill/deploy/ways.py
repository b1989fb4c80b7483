"""The ways to run one model: eager, in another memory format or precision, compiled, by ONNX Runtime."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from distill.deploy.costs import weight_bytes
from distill.deploy.latency import Call
from distill.deploy.memory import peak_growth
from distill.deploy.onnx_ways import onnx, onnx_int8
from distill.deploy.prepared import Prepared


def eager(model: nn.Module, image: Tensor) -> Prepared:
    return prepare(copy.deepcopy(model), image, memory_format=torch.contiguous_format)


def channels_last(model: nn.Module, image: Tensor) -> Prepared:
    return prepare(copy.deepcopy(model), image)


def bfloat16(model: nn.Module, image: Tensor) -> Prepared:
    """Automatic mixed precision: what is safe in bfloat16 runs in it, from weights in float32."""
    return prepare(copy.deepcopy(model), image, autocast=True)


def compiled(model: nn.Module, image: Tensor) -> Prepared:
    fresh = copy.deepcopy(model)
    return prepare(fresh, image, run=torch.compile(fresh))


def prepare(
    model: nn.Module,
    image: Tensor,
    *,
    run: Callable[[Tensor], object] | None = None,
    memory_format: torch.memory_format = torch.channels_last,
    autocast: bool = False,
) -> Prepared:
    """Bring model and image into a memory format, run once, and weigh the second time."""
    model.to(memory_format=memory_format)
    image = image.contiguous(memory_format=memory_format)
    network = model if run is None else run

    def act() -> object:
        with torch.inference_mode(), torch.autocast(image.device.type, torch.bfloat16, enabled=autocast):
            return network(image)

    act()  # compilation and the choice of kernels need memory of their own
    growth, weights = peak_growth(act, image.device), weight_bytes(model)
    peak = None if growth is None else growth + weights
    return Prepared(Call(act, on_gpu=image.device.type == "cuda"), weights, peak)


WAYS: dict[str, Callable[[nn.Module, Tensor], Prepared]] = {
    "fp32": eager,
    "channels_last": channels_last,
    "bf16": bfloat16,
    "compiled": compiled,
    "onnx": onnx,
    "onnx-int8": onnx_int8,
}
