"""What a model costs: arithmetic and bytes on any machine, memory on this one."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

MEBI = 2**20
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def count_gflops(model: nn.Module, size: tuple[int, int]) -> float:
    """Billions of operations for one image (1, 3, *size), 2 x multiply-accumulates of convolutions and products.

    Counted without computing anything, in evaluation mode, with shapes in place of weights. Norms, activations and
    resizing do not count.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad(), Products() as products:
            functional_call(model.eval(), shapes, torch.zeros(1, 3, *size, device="meta"))
    finally:
        for module, training in modes:
            module.training = training
    return products.count / 1e9


def normalised(x: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    """What a norm gives: a map of that shape, and statistics that nobody reads here."""
    return torch.empty_like(x), x.new_empty(0), x.new_empty(0)


aten = torch.ops.aten
# PyTorch would take these apart in Python, which takes longer than all else, to learn the shape of what they give.
SHAPES: dict[OpOverload, Callable[..., object]] = {
    aten.native_batch_norm.default: normalised,
    aten.native_group_norm.default: normalised,
    aten.native_layer_norm.default: normalised,
    aten.upsample_bilinear2d.default: lambda x, size, *_: x.new_empty((*x.shape[:2], *size)),
}


class Products(TorchDispatchMode):
    """Counts as PyTorch's FlopCounterMode does, which takes twice as long as it takes resizing and norms apart too."""

    count = 0

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Compute an operation's shape, and count it where it has a formula."""
        out = SHAPES.get(func, func)(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.count += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def weight_bytes(model: nn.Module) -> int:
    """Bytes of everything that is saved of a model."""
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def peak_growth(act: Callable[[], object], device: torch.device) -> int | None:
    """Bytes by which memory grows at most while `act` runs; None where the system does not report it.

    On a GPU this is what PyTorch allocates there. On a CPU it is the resident memory of the process, from which
    everything that lay free before is given back first; only Linux reports it.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        act()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        ctypes.CDLL(None).malloc_trim(0)
        CLEAR_REFS.write_text("5")  # the highest mark starts again from here
        before = _resident("VmRSS")
    except (OSError, AttributeError, TypeError):
        act()
        return None
    act()
    return max(_resident("VmHWM") - before, 0)


def _resident(name: str) -> int:
    result = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    if result is None:
        raise OSError(f"{STATUS} does not tell {name}")
    return 1024 * int(result[1])
