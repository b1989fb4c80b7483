"""A depth model as a graph that other runtimes take: ONNX, and PyTorch's own exported programs."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch._C import Value
from torch.onnx import register_custom_op_symbolic, symbolic_helper

from distill.deploy.file_outputs import file_output
from distill.files import write_atomically
from distill.inference.exported import UNCERTAINTY, need, open_session, quiet
from students.cnn import CNNStudent
from students.decoders import AdaptiveBins, Decoder
from students.forms import prepare
from teachers import DepthModel

OPSETS = (18, 19, 20)  # the last that the exporter knows, and those before
MEANS_BY_INPUT = 18  # the first opset whose means take their axes as an input
INPUT = "image"
SCORES = ("scores", "centres")
DYNAMIC_AXES = {0: "batch", 2: "height", 3: "width"}
ODD = (69, 101)  # sides that are no multiples of 32: what is traced with them pads


def graph_of(model: nn.Module, uncertainty: bool) -> nn.Module:
    """What is written of a model: a copy, whose output may be depth and its standard deviation."""
    plain = prepare(model)
    if uncertainty:
        assert isinstance(plain, DepthModel)
        # Not a module around it, which would rename every node.
        plain.forward = plain.with_uncertainty  # type: ignore[method-assign, assignment]
    return plain


def write_onnx(
    model: nn.Module,
    path: Path,
    size: tuple[int, int] | None,
    opset: int = OPSETS[0],
    *,
    logits: bool = False,
    uncertainty: bool = False,
) -> None:
    """Write `image` (1, 3, *size) in [0, 1] -> `depth` (1, 1, *size) in metres, or what else, as an ONNX file.

    PyTorch's older exporter traces the network. It is in every version that this package works with and takes seconds;
    the newer one needs a further package and, for free sizes, minutes of algebra.

    Args:
        size: None leaves batch, height and width free.
        logits: End at `scores` (1, N, H / 4, W / 4) of a CNN student's bins and their `centres` (1, N).
        uncertainty: Write the depth's standard deviation as a second output, of a model that has it.
    """
    # An operation that the exporter writes in a slower way.
    register_custom_op_symbolic("aten::mean", mean, opset)
    output = file_output(model).name
    outputs = SCORES if logits else (output, UNCERTAINTY) if uncertainty else (output,)
    free = dict.fromkeys((INPUT, *outputs), DYNAMIC_AXES) if size is None else None
    with torch.no_grad(), quiet():
        export = partial(torch.onnx.export, dynamo=False, opset_version=opset, dynamic_axes=free)
        image = torch.rand(1, 3, *(size or ODD))
        network = EndingAtLogits(prepare(model)) if logits else graph_of(model, uncertainty)
        export(network, (image,), str(path), input_names=[INPUT], output_names=list(outputs))


class EndingAtLogits(nn.Module):
    """A CNN student without its last steps, which 8 bits are too coarse for."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        assert isinstance(student, CNNStudent)
        self.student = student

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Image (B, 3, H, W) in [0, 1] -> scores (B, N, h, w) at stride 4, and the bins' centres (B, N) in metres."""
        decoder = self.student.decoder
        assert isinstance(decoder, Decoder)
        context, features = decoder.refine(self.student.encode(image))
        assert isinstance(decoder.head, AdaptiveBins)
        return decoder.head.scores(features), decoder.head.centres(context)


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


def state(path: Path, facts: Mapping[str, str]) -> None:
    """Add facts to those of a file."""
    onnx = need("onnx")
    model = onnx.load(str(path))
    model.metadata_props.extend(onnx.StringStringEntryProto(key=key, value=text) for key, text in facts.items())
    onnx.save(model, str(path))


def halve(path: Path) -> None:
    """Write a graph again in float16, but for its image, its output, and what its decoder and the bins' head end with.

    PyTorch's own graph in float16 would come back from `finish` with a cast to float32 at every operation that ONNX
    Runtime has not in float16 on a CPU.
    """
    onnx, halved = need("onnx"), need("onnxruntime.transformers.float16").convert_float_to_float16
    model = onnx.load(str(path))
    kept = [node.name for node in model.graph.node if node.name.split("/")[1:-1] in (["decoder"], ["decoder", "head"])]
    with quiet():
        half = need("onnxruntime.quantization.onnx_model").ONNXModel(
            halved(model, keep_io_types=True, node_block_list=kept)
        )
    half.topological_sort()  # which it is not where an input is cast
    onnx.save(half.model, str(path))


def simplify(path: Path) -> None:
    """Write a graph again in what old compilers take: resizes by whole factors in place of sizes, and no Reciprocal."""
    onnx = need("onnx")
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    graph = model.graph
    shapes = {one.name: [side.dim_value for side in one.type.tensor_type.shape.dim] for one in graph.value_info}
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}

    def constant(values: np.ndarray, name: str) -> str:
        graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
        return name

    for node in graph.node:
        if node.op_type == "Reciprocal":
            node.op_type = "Div"
            node.input.insert(0, constant(np.ones(1), f"{node.name}/one"))
        elif node.op_type == "Resize" and len(node.input) == 4:
            image, region, _, sizes = node.input
            factors = constants[sizes] / shapes[image]
            if (factors == factors.round()).all():
                node.input[:] = [image, region, constant(factors, f"{node.name}/factors")]
    used = {name for node in graph.node for name in node.input}
    left = [one for one in graph.initializer if one.name in used]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(left)
    onnx.save(model, str(path))


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


def write_program(
    model: nn.Module, path: Path, size: tuple[int, int], facts: dict[str, str], *, uncertainty: bool = False
) -> None:
    """Write the same for one size as a `.pt2`, which AOTInductor and ExecuTorch take; `facts` lie beside the graph."""
    buffer = io.BytesIO()  # PyTorch's own writer ends the whole process where the disk is full
    with quiet():
        torch.export.save(exported_program(model, size, uncertainty), buffer, extra_files=facts)
    write_atomically(path, buffer.getvalue())


def exported_program(
    model: nn.Module, size: tuple[int, int], uncertainty: bool = False
) -> torch.export.ExportedProgram:
    """The network for one size, as PyTorch's own graph."""
    with torch.no_grad(), quiet():
        return torch.export.export(graph_of(model, uncertainty), (torch.rand(1, 3, *size),))


class Graph(Protocol):
    """What the exporter hands to a function that writes an operation."""

    opset: int

    def op(self, name: str, *inputs: Value, **attributes: object) -> Value:
        """Add a node; an attribute's name ends with its type."""


def mean(g: Graph, x: Value, axes: Value, keep: Value, *_: object) -> Value:
    """The mean of each map as a pooling, which runtimes do in any layout and in 8 bits."""
    chosen, kept = symbolic_helper._maybe_get_const(axes, "is"), symbolic_helper._maybe_get_const(keep, "b")
    if list(chosen) != [2, 3] or symbolic_helper._get_tensor_rank(x) != 4:
        if g.opset < MEANS_BY_INPUT:
            return g.op("ReduceMean", x, axes_i=list(chosen), keepdims_i=int(kept))
        return g.op("ReduceMean", x, g.op("Constant", value_t=torch.tensor(chosen)), keepdims_i=int(kept))
    means = g.op("GlobalAveragePool", x)
    return means if kept else g.op("Flatten", means, axis_i=1)
