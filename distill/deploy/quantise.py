"""Static quantisation to 8 bits by ONNX Runtime: calibrated once, then as many layers as the accuracy allows."""

from __future__ import annotations

import collections
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from distill.deploy.graph import INPUT
from distill.deploy.runtime import quiet
from distill.inference.exported import need

# What is worth 8 bits. Softmax, norms and products of two activations stay in float.
KINDS = [
    *("Conv", "MatMul", "Gemm", "Add", "Mul", "Concat", "Resize", "Relu", "LeakyRelu", "Sigmoid"),
    *("GlobalAveragePool", "AveragePool", "MaxPool"),
]
# Parts of the networks, by the beginnings of their nodes' names, in the order in which they are put back to float:
# what the literature calls sensitive first, then from the output to the input.
LAST = "the last layer of the bins' head"
PARTS = (
    (LAST, "/decoder/head/scores/"),
    ("the bins' head", "/decoder/head/"),
    ("the last convolution", "/decoder/final/"),
    ("DPT's head", "/decoder/fuse/head/"),
    ("the transformer", "/encoder/vit/"),
    ("the decoder", "/decoder/"),
    ("the encoder", "/encoder/"),
    ("what is outside of them", ""),
)
WORTH = 0.1  # of what is tolerated: what the last layer in float must save at least where all may have 8 bits


class Quantiser:
    """Makes 8-bit versions of one float file, from the ranges of its values on some images (1, 3, H, W)."""

    def __init__(self, path: Path, images: Sequence[Tensor]) -> None:
        self.model = need("onnx").load(str(path))
        with quiet(), tempfile.TemporaryDirectory(prefix="distill-") as folder:
            calibrator = need("onnxruntime.quantization.calibrate").create_calibrator(
                path, KINDS, augmented_model_path=f"{folder}/augmented.onnx"
            )
            for image in images:  # one at a time: what is kept of each is two numbers a value
                calibrator.collect_data(Feed(image))
            self.ranges = calibrator.compute_data()

    def parts(self) -> dict[str, list[str]]:
        """Names of the nodes of each part that this network has, in the order above; no node is in two."""
        left = [node.name for node in self.model.graph.node if node.op_type in KINDS]
        result = {}
        for part, start in PARTS:
            if mine := [name for name in left if name.startswith(start)]:
                result[part] = mine
                left = [name for name in left if not name.startswith(start)]
        return result

    def write(self, target: Path, kept: Sequence[str] = ()) -> None:
        """Write the file with 8-bit activations and weights, a scale for each channel; `kept` nodes stay in float.

        Weights take 7 of their 8 bits, -64 to 64. Processors with AVX2 and without VNNI add two products of an
        activation and a weight in 16 bits and cut the sum: 2 * 255 * 64 is below 2^15, 2 * 255 * 127 is not.
        """
        constants = {one.name for one in self.model.graph.initializer}
        dynamic = [
            node.name
            for node in self.model.graph.node
            if node.op_type in ("MatMul", "Gemm") and not any(name in constants for name in node.input)
        ]
        kind, copied = need("onnxruntime.quantization").QuantType, type(self.model)()
        copied.CopyFrom(self.model)
        with quiet():
            quantizer = need("onnxruntime.quantization.qdq_quantizer").QDQQuantizer(
                copied, True, True, kind.QInt8, kind.QUInt8, self.ranges, [], [*dynamic, *kept], KINDS, {}
            )
            quantizer.quantize_model()
        need("onnx").save(quantizer.model.model, str(target))

    def write_within(self, target: Path, loss: Callable[[Path], float], tolerance: float) -> tuple[float, list[str]]:
        """Write a file whose loss is within the tolerance, if there is one; return its loss and what stays float.

        Parts are put back to float one after the other for as long as the loss is too large; one that makes it no
        smaller goes back to 8 bits. The last layer is tried in any case.
        """
        self.write(target)
        best = loss(target)
        kept: list[str] = []
        nodes: list[str] = []
        for part, names in self.parts().items():
            if best <= tolerance and part != LAST:
                break
            self.write(target, [*nodes, *names])
            result = loss(target)
            if result < best - (WORTH * tolerance if best <= tolerance else 0):
                best, kept, nodes = result, [*kept, part], [*nodes, *names]
        self.write(target, nodes)
        return best, kept


def share_of_eight_bits(path: Path) -> float:
    """Of the weights of an ONNX file, those with 8 bits; only weights are signed in the files that are written here."""
    onnx = need("onnx")
    sizes = collections.Counter[int]()
    for one in onnx.load(str(path)).graph.initializer:
        sizes[one.data_type] += math.prod(one.dims) if len(one.dims) > 1 else 0
    return sizes[onnx.TensorProto.INT8] / max(sizes.total(), 1)


class Feed:
    """An image as ONNX Runtime's calibration asks for it."""

    def __init__(self, image: Tensor) -> None:
        self.inputs = iter([{INPUT: image.numpy()}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The image, then None."""
        return next(self.inputs, None)
