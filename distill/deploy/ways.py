"""The ways to run one model: eager, in another memory format or precision, compiled, by ONNX Runtime."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from distill.deploy.costs import peak_growth, weight_bytes
from distill.deploy.graph import finish, write_onnx
from distill.deploy.latency import Call
from distill.deploy.quantise import Quantiser
from distill.deploy.runtime import OnnxModel
from teachers import FrozenTeacher


@dataclass(frozen=True)
class Prepared:
    """A model that is ready to run in one way: the call, the bytes of its file, and of memory at its peak."""

    call: Call
    file_bytes: int
    peak_bytes: int | None


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


def onnx(model: nn.Module, image: Tensor) -> Prepared:
    """The file that `distill export` writes, on the CPU wherever the model is."""
    with tempfile.TemporaryDirectory(prefix="distill-") as folder:
        return open_onnx(write_plain(model, image, Path(folder)), image)


def onnx_int8(model: nn.Module, image: Tensor) -> Prepared:
    """The same with 8 bits in all layers that can have them, calibrated on noise: for its cost, not for its depth."""
    with tempfile.TemporaryDirectory(prefix="distill-") as folder:
        small = Path(folder) / "int8.onnx"
        Quantiser(write_plain(model, image, Path(folder)), [image.cpu()]).write(small)
        return open_onnx(small, image)


def write_plain(model: nn.Module, image: Tensor, folder: Path) -> Path:
    """The float file for images of this size. Frozen layers take plain forms while they are traced."""
    plain = model.model if isinstance(model, FrozenTeacher) else model
    write_onnx(plain, folder / "traced.onnx", (image.shape[-2], image.shape[-1]))
    finish(folder / "traced.onnx", folder / "model.onnx", {})
    return folder / "model.onnx"


def open_onnx(path: Path, image: Tensor) -> Prepared:
    """A file, opened, and weighed when it first runs: the runtime keeps the memory that it then takes."""
    network, image = OnnxModel(path), image.cpu()

    def act() -> object:
        return network(image)

    growth, size = peak_growth(act, torch.device("cpu")), path.stat().st_size
    return Prepared(Call(act), size, None if growth is None else growth + size)


WAYS: dict[str, Callable[[nn.Module, Tensor], Prepared]] = {
    "fp32": eager,
    "channels_last": channels_last,
    "bf16": bfloat16,
    "compiled": compiled,
    "onnx": onnx,
    "onnx-int8": onnx_int8,
}
