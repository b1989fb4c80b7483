"""A GPU where there is none: PyTorch's fake tensors lie on it, without values, and what is asked of it is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("cuda:0")
COPIES = {"aten::_to_copy", "aten::copy_"}
FREE = ("aten::empty", "aten::new_empty", "aten::_unsafe_view", "aten::_reshape_alias", "aten::lift", "prim::")


class Calls(TorchDispatchMode):
    """Counts, by name, what a GPU has to do, and what the host waits for.

    A result whose size is up to the values, such as that of an index by a mask, is refused by fake tensors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def clear(self) -> None:
        """Count from 0 again."""
        self.launches.clear()
        self.waits.clear()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = func.name().split(".")[0], kwargs or {}
        if name == "aten::_local_scalar_dense":
            self.waits[name] += args[0].device == GPU
            return 1.0 if args[0].is_floating_point() else 1
        out = func(*args, **kwargs)
        tensors = [one for one in tree_leaves((args, kwargs, out)) if isinstance(one, Tensor)]
        devices = {one.device.type for one in tensors}
        if "cuda" in devices and not func.is_view and not name.startswith(FREE):
            self.launches[name] += 1
            if name in COPIES and len(devices) > 1:
                self.waits[name] += not (kwargs.get("non_blocking") or True in args[2:3])
        return out

    @property
    def total(self) -> int:
        """Calls of the device; one of a list of tensors counts once."""
        return self.launches.total()

    def to_list(self, tensor: Tensor) -> list[float]:
        """Ones, in place of values."""
        self.waits["tolist"] += tensor.device == GPU
        return [1.0] * tensor.numel()


class Backward:
    """`loss.backward()`, one node after the other, as PyTorch's own engine asks for the streams of a GPU."""

    def __init__(self) -> None:
        self.hooks: dict[tuple[torch.autograd.graph.Node, int], list] = {}

    def register_hook(self, tensor: Tensor, hook) -> None:
        """As that of tensors, for what is no leaf and a hook that changes nothing."""
        self.hooks.setdefault((tensor.grad_fn, tensor.output_nr), []).append(hook)

    def __call__(self, loss: Tensor) -> None:
        waiting = edges_into(loss.grad_fn)
        ready, arrived = [loss.grad_fn], {loss.grad_fn: {0: torch.ones_like(loss)}}
        while ready:
            node = ready.pop()
            given = self.apply(node, arrived.pop(node, {}))
            for (following, place), grad in zip(node.next_functions, given, strict=False):
                if following is None:
                    continue
                if grad is not None:
                    held, grad = arrived.setdefault(following, {}), fitted(grad, following._input_metadata[place])
                    held[place] = held[place] + grad if place in held else grad
                waiting[following] -= 1
                if not waiting[following]:
                    ready.append(following)

    def apply(self, node, grads: dict[int, Tensor]) -> tuple[Tensor | None, ...]:
        """The gradients that a node hands on."""
        for place, grad in grads.items():
            for hook in self.hooks.pop((node, place), ()):
                hook(grad)
        if not grads:
            return (None,) * len(node.next_functions)
        if node.name() == "torch::autograd::AccumulateGrad":
            former = node.variable.grad
            node.variable.grad = grads[0].detach() if former is None else former.add_(grads[0])
            return ()
        given = node(*(grads.get(place) for place in range(len(node._input_metadata))))
        return given if isinstance(given, tuple) else (given,)


def edges_into(root) -> Counter:
    """How many gradients each node of a graph waits for."""
    waiting, seen, stack = Counter(), {root}, [root]
    while stack:
        for node, _ in stack.pop().next_functions:
            if node is not None:
                waiting[node] += 1
                if node not in seen:
                    seen.add(node)
                    stack.append(node)
    return waiting


def fitted(grad: Tensor, metadata) -> Tensor:
    """A gradient in the shape and precision of what it belongs to."""
    return (grad if grad.shape == metadata.shape else grad.sum_to_size(metadata.shape)).to(metadata.dtype)


@contextmanager
def pretend_gpu() -> Iterator[Calls]:
    """Inside, Accelerate chooses a GPU, and tensors can lie there; the calls are those of all that is done there."""
    fake, calls, backward = FakeTensorMode(allow_non_fake_inputs=True), Calls(), Backward()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
        for place in ("torch.cuda.is_bf16_supported", "accelerate.accelerator.is_bf16_available"):
            patch.setattr(place, lambda *_, **__: True)
        patch.setattr("torch.utils._foreach_utils._foreach_supported_types", [Tensor, torch.nn.Parameter, FakeTensor])
        patch.setattr("torch.nn.utils.clip_grad._has_foreach_support", lambda tensors, device: True)
        patch.setattr(FakeTensor, "tolist", lambda tensor: calls.to_list(tensor))
        patch.setattr(Tensor, "backward", lambda loss: backward(loss))
        patch.setattr(Tensor, "register_hook", lambda tensor, hook: backward.register_hook(tensor, hook))
        AcceleratorState._reset_state(True)
        PartialState().device = GPU
        try:
            with fake, calls:
                yield calls
        finally:
            AcceleratorState._reset_state(True)
