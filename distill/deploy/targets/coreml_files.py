"""`.mlpackage`, Core ML's programs. Only a Mac runs them, so here the graph is compared by its operators."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch

from distill.deploy.file_outputs import file_output
from distill.deploy.graph import INPUT
from distill.deploy.targets.target import Cargo, Target
from distill.inference.exported import need, quiet
from students.forms import prepare

# What a map cannot do without, as PyTorch's traces and Core ML call it.
KINDS = {
    "convolutions": (["_convolution"], ["conv", "conv_transpose"]),
    "resizes": (
        ["upsample_bilinear2d", "upsample_nearest2d", "_upsample_bilinear2d_aa"],
        ["upsample_bilinear", "upsample_nearest_neighbor", "resize_bilinear", "resize_nearest_neighbor", "resize"],
    ),
    "softmaxes": (["softmax", "scaled_dot_product_attention"], ["softmax"]),
}


def write(cargo: Cargo, path: Path) -> None:
    """Write it, for iOS 16 and macOS 13 on.

    Raises:
        ValueError: If the converter left something out.
    """
    with torch.no_grad(), quiet():
        tools = need("coremltools", "coreml")
        traced = torch.jit.trace(prepare(cargo.model), torch.rand(1, 3, *cargo.one_size))
        package = tools.convert(
            traced,
            inputs=[tools.TensorType(name=INPUT, shape=(1, 3, *cargo.one_size))],
            outputs=[tools.TensorType(name=file_output(cargo.model).name)],
            convert_to="mlprogram",
            compute_precision=tools.precision.FLOAT16 if cargo.half else tools.precision.FLOAT32,
            minimum_deployment_target=tools.target.iOS16,
            skip_model_load=True,
        )
    before = Counter(node.kind().removeprefix("aten::") for node in traced.inlined_graph.nodes())
    after = Counter(operation.op_type for operation in package._mil_program.functions["main"].operations)
    for name, (ours, theirs) in KINDS.items():
        counts = sum(before[kind] for kind in ours), sum(after[kind] for kind in theirs)
        if counts[0] != counts[1]:
            raise ValueError(f"of {counts[0]} {name} Core ML's converter wrote {counts[1]}")
    package.user_defined_metadata.update(cargo.facts)
    package.save(str(path))


COREML = Target(".mlpackage", "coreml", ("coremltools",), "Core ML", write, None, half=True)
