"""The ways to run one model: eager, in another memory format or precision, compiled, by ONNX Runtime."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from distill.deploy.costs import peak_growth, weight_bytes
from distill.deploy.graph import finish, write_onnx
from distill.deploy.latency import Call
from distill.deploy.quantise import Quantiser
from distill.inference.exported import ExportedModel, OnnxModel
from students import Student
from students.fused import optimise
from teachers import DepthModel, FrozenTeacher


@dataclass(frozen=True)
class Prepared:
    """A model that is ready to run in one way: the call, the bytes of its file, and of memory at its peak."""

    call: Call
    file_bytes: int
    peak_bytes: int | None


def in_pytorch(
    model: nn.Module,
    image: Tensor,
    *,
    memory_format: torch.memory_format = torch.channels_last,
    autocast: bool = False,
    compiled: bool = False,
) -> Prepared:
    """A copy of the model by PyTorch: run once, and weighed the second time.

    With `autocast`, what is safe in bfloat16 runs in it, from weights in float32.
    """
    model = copy.deepcopy(model).to(memory_format=memory_format)
    image = image.contiguous(memory_format=memory_format)
    network = torch.compile(model) if compiled else model

    def act() -> object:
        with torch.inference_mode(), torch.autocast(image.device.type, torch.bfloat16, enabled=autocast):
            return network(image)

    act()  # compilation and the choice of kernels need memory of their own
    growth, weights = peak_growth(act, image.device), weight_bytes(model)
    peak = None if growth is None else growth + weights
    return Prepared(Call(act, on_gpu=image.device.type == "cuda"), weights, peak)


def in_onnx_runtime(model: nn.Module, image: Tensor, *, eight_bits: bool = False) -> Prepared:
    """The file that `distill export` writes for images of this size, on the CPU wherever the model is.

    With 8 bits in all layers that can have them it is calibrated on noise: for its cost, not for its depth. It is
    weighed when it first runs, as the runtime keeps the memory that it then takes.
    """
    image = image.cpu()
    with tempfile.TemporaryDirectory(prefix="distill-") as folder:
        traced, path, small = (Path(folder) / f"{name}.onnx" for name in ("traced", "model", "int8"))
        plain = model.model if isinstance(model, FrozenTeacher) else model
        write_onnx(plain, traced, (image.shape[-2], image.shape[-1]))
        finish(traced, path, {})
        if eight_bits:
            Quantiser(path, [image]).write(small)
            path = small
        return as_it_is(OnnxModel(path), image)


def as_it_is(model: ExportedModel, image: Tensor) -> Prepared:
    """An exported file in its runtime, on the CPU."""
    image, size = image.cpu(), model.path.stat().st_size

    def act() -> object:
        return model(image)

    growth = peak_growth(act, torch.device("cpu"))
    return Prepared(Call(act), size, None if growth is None else growth + size)


def optimised(model: nn.Module, image: Tensor) -> Prepared:
    """As `predict` and `evaluate` run a student: folded, fused, packed."""
    assert isinstance(model, DepthModel)
    return in_pytorch(optimise(model).to(image.device) if isinstance(model, Student) else model, image)


WAYS: dict[str, Callable[[nn.Module, Tensor], Prepared]] = {
    "fp32": partial(in_pytorch, memory_format=torch.contiguous_format),
    "channels_last": in_pytorch,
    "optimised": optimised,
    "bf16": partial(in_pytorch, autocast=True),
    "compiled": partial(in_pytorch, compiled=True),
    "onnx": in_onnx_runtime,
    "onnx-int8": partial(in_onnx_runtime, eight_bits=True),
}
ROUNDED = ("bf16", "onnx-int8")  # other numbers than the model's, whose accuracy is not theirs


def ways_of(model: nn.Module, names: Sequence[str]) -> dict[str, Callable[[nn.Module, Tensor], Prepared]]:
    """The ways of these names; an exported file has its own only, called by its kind."""
    if isinstance(model, ExportedModel):
        return {model.path.suffix[1:]: lambda _, image: as_it_is(model, image)}
    return {name: WAYS[name] for name in names}
