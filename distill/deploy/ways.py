"""The ways to run one model: eager, in another memory format or precision, compiled, by runtimes of files."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from distill.deploy.costs import peak_growth, weight_bytes
from distill.deploy.latency import Call
from distill.deploy.quantise import Quantiser
from distill.deploy.targets import TARGETS, Cargo
from distill.inference.exported import ExportedModel
from students import Student
from students.fused import optimise
from teachers import DepthModel, FrozenTeacher


@dataclass(frozen=True)
class Prepared:
    """A model that is ready to run in one way: the call, the bytes of its file, and of memory at its peak.

    `first_ms` is what the first call took behind loading: runtimes choose kernels and pack weights then, or compile.
    """

    call: Call
    file_bytes: int
    peak_bytes: int | None
    first_ms: float | None = None


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

    call = Call(act, on_gpu=image.device.type == "cuda")
    first = call.milliseconds()  # compilation and the choice of kernels need memory of their own
    growth, weights = peak_growth(act, image.device), weight_bytes(model)
    peak = None if growth is None else growth + weights
    return Prepared(call, weights, peak, first)


def in_runtime(model: nn.Module, image: Tensor, *, target: str, eight_bits: bool = False) -> Prepared:
    """The file that `distill export` writes for images of this size, in its runtime on the CPU wherever the model is.

    With 8 bits in all layers that can have them it is calibrated on noise: for its cost, not for its depth.
    """
    kind, image, plain = TARGETS[target], image.cpu(), model.model if isinstance(model, FrozenTeacher) else model
    assert isinstance(plain, DepthModel)
    assert kind.open is not None
    kind.require()
    with tempfile.TemporaryDirectory(prefix="distill-") as folder:
        path = Path(folder) / f"model{kind.suffix}"
        kind.write(Cargo(plain, (image.shape[-2], image.shape[-1]), {}, next(iter(kind.opsets), 0)), path)
        if eight_bits:
            Quantiser(path, [image]).write(path)
        size = sum(part.stat().st_size for part in Path(folder).iterdir())
        return weighed(kind.open(path), size, image)


def as_it_is(model: ExportedModel, image: Tensor) -> Prepared:
    """An exported file in its runtime, on the CPU."""
    return weighed(model, sum(file.stat().st_size for file in model.files), image.cpu())


def weighed(run: Callable[[Tensor], object], size: int, image: Tensor) -> Prepared:
    """What runs a file of a size; weighed when it first runs, as runtimes keep the memory that they then take."""
    call, first = Call(lambda: run(image)), list[float]()
    growth = peak_growth(lambda: first.append(call.milliseconds()), torch.device("cpu"))
    return Prepared(call, size, None if growth is None else growth + size, first[0])


def optimised(model: nn.Module, image: Tensor) -> Prepared:
    """As `predict` and `evaluate` run a student: folded, fused, packed."""
    assert isinstance(model, DepthModel)
    return in_pytorch(optimise(model).to(image.device) if isinstance(model, Student) else model, image)


RUNTIMES = ("openvino", "executorch", "litert")  # targets that are ways where they are installed
WAYS: dict[str, Callable[[nn.Module, Tensor], Prepared]] = {
    "fp32": partial(in_pytorch, memory_format=torch.contiguous_format),
    "channels_last": in_pytorch,
    "optimised": optimised,
    "bf16": partial(in_pytorch, autocast=True),
    "compiled": partial(in_pytorch, compiled=True),
    "onnx": partial(in_runtime, target="onnx"),
    "onnx-int8": partial(in_runtime, target="onnx", eight_bits=True),
    **{name: partial(in_runtime, target=name) for name in RUNTIMES},
}
ROUNDED = ("bf16", "onnx-int8")  # other numbers than the model's, whose accuracy is not theirs


def usual_ways() -> list[str]:
    """All, without the targets that are not installed."""
    return [way for way in WAYS if way not in RUNTIMES or find_spec(TARGETS[way].modules[0].partition(".")[0])]


def ways_of(model: nn.Module, names: Sequence[str]) -> dict[str, Callable[[nn.Module, Tensor], Prepared]]:
    """The ways of these names; an exported file has its own only, called by its kind."""
    if isinstance(model, ExportedModel):
        return {model.path.suffix[1:]: lambda _, image: as_it_is(model, image)}
    return {name: WAYS[name] for name in names}
