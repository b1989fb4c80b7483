"""ONNX Runtime as a way to run a model, in float and in 8 bits."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from distill.deploy.finishing import finish
from distill.deploy.graph import write_onnx
from distill.deploy.latency import Call
from distill.deploy.memory import peak_growth
from distill.deploy.prepared import Prepared
from distill.deploy.quantise import Quantiser
from distill.deploy.runtime import OnnxModel
from teachers import FrozenTeacher


def onnx(model: nn.Module, image: Tensor) -> Prepared:
    """The file that `distill export` writes, on the CPU wherever the model is."""
    with tempfile.TemporaryDirectory(prefix="distill-") as folder:
        return opened(write(model, image, Path(folder)), image)


def onnx_int8(model: nn.Module, image: Tensor) -> Prepared:
    """The same with 8 bits in all layers that can have them, calibrated on noise: for its cost, not for its depth."""
    with tempfile.TemporaryDirectory(prefix="distill-") as folder:
        small = Path(folder) / "int8.onnx"
        Quantiser(write(model, image, Path(folder)), [image.cpu()]).write(small)
        return opened(small, image)


def write(model: nn.Module, image: Tensor, folder: Path) -> Path:
    """The float file for images of this size. Frozen layers take plain forms while they are traced."""
    plain = model.model if isinstance(model, FrozenTeacher) else model
    write_onnx(plain, folder / "traced.onnx", (image.shape[-2], image.shape[-1]))
    finish(folder / "traced.onnx", folder / "model.onnx", {})
    return folder / "model.onnx"


def opened(path: Path, image: Tensor) -> Prepared:
    """A file, opened, and weighed when it first runs: the runtime keeps the memory that it then takes."""
    network, image = OnnxModel(path), image.cpu()

    def act() -> object:
        return network(image)

    growth, size = peak_growth(act, torch.device("cpu")), path.stat().st_size
    return Prepared(Call(act), size, None if growth is None else growth + size)
