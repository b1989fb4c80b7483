"""A depth model as a graph that other runtimes take: ONNX, and PyTorch's own exported programs."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import nn
from torch._C import Value
from torch.onnx import register_custom_op_symbolic, symbolic_helper

from distill.deploy.runtime import quiet
from distill.files import write_atomically
from distill.inference.exported import need, open_session
from students.forms import prepare

OPSETS = (18, 19, 20)  # from the first whose means take axes as an input to the last that the exporter knows
INPUT, OUTPUT = "image", "depth"
DYNAMIC_AXES = {0: "batch", 2: "height", 3: "width"}
ODD = (69, 101)  # sides that are no multiples of 32: what is traced with them pads


def write_onnx(model: nn.Module, path: Path, size: tuple[int, int] | None, opset: int = OPSETS[0]) -> None:
    """Write `image` (1, 3, *size) in [0, 1] -> `depth` (1, 1, *size) in metres as an ONNX file.

    PyTorch's older exporter traces the network. It is in every version that this package works with and takes seconds;
    the newer one needs a further package and, for free sizes, minutes of algebra.

    Args:
        size: None leaves batch, height and width free.
    """
    # An operation that the exporter writes in a slower way.
    register_custom_op_symbolic("aten::mean", mean, OPSETS[0])
    free = {INPUT: DYNAMIC_AXES, OUTPUT: DYNAMIC_AXES} if size is None else None
    with torch.no_grad(), quiet():
        export = partial(torch.onnx.export, dynamo=False, opset_version=opset, dynamic_axes=free)
        image = torch.rand(1, 3, *(size or ODD))
        export(prepare(model), (image,), str(path), input_names=[INPUT], output_names=[OUTPUT])


def finish(source: Path, target: Path, facts: Mapping[str, str]) -> None:
    """Write a graph again in plain ONNX: constants computed, BatchNorm inside of convolutions, names, and its facts."""
    onnx = need("onnx")
    open_session(source, plain=target)
    model = onnx.load(str(target))
    name_nodes(model.graph.node)
    used = {node.domain for node in model.graph.node}
    kept = [one for one in model.opset_import if one.domain in used]  # ONNX Runtime adds all that it knows
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.helper.set_model_props(model, dict(facts))
    model.producer_name = "distill"
    onnx.save(model, str(target))


class Node(Protocol):
    """A node of an ONNX graph."""

    name: str
    op_type: str
    input: Sequence[str]
    output: Sequence[str]


def name_nodes(nodes: Iterable[Node]) -> None:
    """Name what the simplification left without a name after the node before it, so that it lies in the same part."""
    makers: dict[str, str] = {}
    for number, node in enumerate(nodes):
        if not node.name:
            before = next((makers[value] for value in node.input if value in makers), "")
            node.name = f"{before}/{node.op_type}_{number}"
        makers |= dict.fromkeys(node.output, node.name)


def write_program(model: nn.Module, path: Path, size: tuple[int, int], facts: dict[str, str]) -> None:
    """Write the same for one size as a `.pt2`, which AOTInductor and ExecuTorch take; `facts` lie beside the graph."""
    with torch.no_grad(), quiet():
        program = torch.export.export(prepare(model), (torch.rand(1, 3, *size),))
        buffer = io.BytesIO()  # PyTorch's own writer ends the whole process where the disk is full
        torch.export.save(program, buffer, extra_files=facts)
    write_atomically(path, buffer.getvalue())


class Graph(Protocol):
    """What the exporter hands to a function that writes an operation."""

    def op(self, name: str, *inputs: Value, **attributes: object) -> Value:
        """Add a node; an attribute's name ends with its type."""


def mean(g: Graph, x: Value, axes: Value, keep: Value, *_: object) -> Value:
    """The mean of each map as a pooling, which runtimes do in any layout and in 8 bits."""
    chosen, kept = symbolic_helper._maybe_get_const(axes, "is"), symbolic_helper._maybe_get_const(keep, "b")
    if list(chosen) != [2, 3] or symbolic_helper._get_tensor_rank(x) != 4:
        return g.op("ReduceMean", x, g.op("Constant", value_t=torch.tensor(chosen)), keepdims_i=int(kept))
    means = g.op("GlobalAveragePool", x)
    return means if kept else g.op("Flatten", means, axis_i=1)
