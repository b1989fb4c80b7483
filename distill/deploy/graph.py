"""A depth model as a graph that other runtimes take: ONNX, and PyTorch's own exported programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C import Value
from torch.onnx import register_custom_op_symbolic, symbolic_helper

from distill.deploy.forms import prepare
from distill.deploy.runtime import need, open_session, quiet

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
    # Operations that the exporter does not know, or writes in a slower way.
    register_custom_op_symbolic("aten::_upsample_bilinear2d_aa", resize, OPSETS[0])
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
        torch.export.save(program, path, extra_files=facts)


class Graph(Protocol):
    """What the exporter hands to a function that writes an operation."""

    def op(self, name: str, *inputs: Value, **attributes: object) -> Value:
        """Add a node; an attribute's name ends with its type."""


def resize(g: Graph, x: Value, size: Value, *_: object) -> Value:
    """Bilinear with antialiasing, exactly: two matrix products.

    ONNX' own Resize weighs the pixels of a wide filter otherwise, by up to 0.1 % of the depth in the end.
    """
    *outer, rows, columns = symbolic_helper._get_tensor_sizes(x)
    height, width = symbolic_helper._maybe_get_const(size, "is")
    down = g.op("Constant", value_t=antialiasing(rows, height))
    across = g.op("Constant", value_t=antialiasing(columns, width).T.contiguous())
    resized = g.op("MatMul", g.op("MatMul", down, x), across)
    return resized.setType(x.type().with_sizes([*outer, height, width]))


def mean(g: Graph, x: Value, axes: Value, keep: Value, *_: object) -> Value:
    """The mean of each map as a pooling, which runtimes do in any layout and in 8 bits."""
    chosen, kept = symbolic_helper._maybe_get_const(axes, "is"), symbolic_helper._maybe_get_const(keep, "b")
    if list(chosen) != [2, 3] or symbolic_helper._get_tensor_rank(x) != 4:
        return g.op("ReduceMean", x, g.op("Constant", value_t=torch.tensor(chosen)), keepdims_i=int(kept))
    means = g.op("GlobalAveragePool", x)
    return means if kept else g.op("Flatten", means, axis_i=1)


def antialiasing(inputs: int, outputs: int) -> Tensor:
    """The weights (outputs, inputs) by which one axis is resized bilinearly with antialiasing."""
    pixels = torch.eye(inputs)[None, None]
    return F.interpolate(pixels, size=(outputs, inputs), mode="bilinear", align_corners=False, antialias=True)[0, 0]
