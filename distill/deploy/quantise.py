"""Static quantisation to 8 bits by ONNX Runtime: calibrated once, then as many layers as the accuracy allows."""

from __future__ import annotations

import collections
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from distill.deploy.graph import INPUT
from distill.inference.exported import need, quiet

# What is worth 8 bits. Softmax, norms and products of two activations stay in float.
KINDS = [
    *("Conv", "MatMul", "Gemm", "Add", "Mul", "Concat", "Resize", "Relu", "Clip", "LeakyRelu", "Sigmoid"),
    *("GlobalAveragePool", "AveragePool", "MaxPool"),
]
# Parts of the networks, by the beginnings of their nodes' names; of a CNN's encoder each stage is a part.
ENCODER = "the encoder"
LAST = "the last layer of the bins' head"
PARTS = (
    (LAST, "/decoder/head/scores/"),
    ("the bins' head", "/decoder/head/"),
    ("the last convolution", "/decoder/final/"),
    ("DPT's head", "/decoder/fuse/head/"),
    ("the transformer", "/encoder/vit/"),
    ("the decoder", "/decoder/"),
    (ENCODER, "/encoder/"),
    ("what is outside of them", ""),
)
WORTH = 0.1  # of what is tolerated: what the last layer in float must save at least where all may have 8 bits


class Quantiser:
    """Makes 8-bit versions of one float file, from the ranges of its values on some images (1, 3, H, W).

    Attributes:
        share: Of the weights, those with 8 bits in what was written last.
    """

    def __init__(self, path: Path, images: Sequence[Tensor]) -> None:
        self.model = need("onnx").load(str(path))
        with quiet(), tempfile.TemporaryDirectory(prefix="distill-") as folder:
            calibrator = need("onnxruntime.quantization.calibrate").create_calibrator(
                path, KINDS, augmented_model_path=f"{folder}/augmented.onnx"
            )
            for image in images:  # one at a time: what is kept of each is two numbers a value
                calibrator.collect_data(Feed(image))
            self.ranges = calibrator.compute_data()
        self.share = 0.0

    def parts(self) -> dict[str, list[str]]:
        """Names of the nodes of each part that this network has, from the input to the output; no node is in two."""
        parts: dict[str, list[str]] = {}
        for node in self.model.graph.node:
            if node.op_type in KINDS:
                parts.setdefault(part_of(node.name), []).append(node.name)
        return parts

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
            quantizer.model.topological_sort()  # which it is not where an activation went into its convolution
        model = quantizer.model.model
        self.share = share_of_eight_bits(model.graph.initializer)
        need("onnx").save(model, str(target))

    def write_within(
        self, target: Path, loss: Callable[[Path], float], tolerance: float, harm: Callable[[Path], float]
    ) -> tuple[float, list[str]]:
        """Write a file whose loss is within the tolerance; return its loss and what stays float, at worst everything.

        Where all in 8 bits lose too much, parts are put back to float until they do not, first those that do most
        `harm` where they alone have 8 bits. Otherwise the last layer is tried in float.
        """
        parts, kept = self.parts(), list[str]()
        self.write(target)
        best = loss(target)
        if best <= tolerance:
            self.write(target, parts.get(LAST, []))
            last = loss(target)
            if last < best - WORTH * tolerance:
                return last, [LAST]
            self.write(target)
            return best, kept
        for part in self.most_harmful(parts, target, harm):
            kept.append(part)
            self.write(target, [name for one in kept for name in parts[one]])
            best = loss(target)
            if best <= tolerance:
                break
        return best, kept

    def most_harmful(
        self, parts: Mapping[str, list[str]], target: Path, harm: Callable[[Path], float]
    ) -> Sequence[str]:
        """The parts, from the one that does most harm in 8 bits while all others are in float."""
        done = {}
        for part in parts:
            self.write(target, [name for other, names in parts.items() if other != part for name in names])
            done[part] = harm(target)
        return sorted(parts, key=done.__getitem__, reverse=True)


def part_of(node: str) -> str:
    """The part that a node of this name belongs to."""
    part = next(part for part, start in PARTS if node.startswith(start))
    path = node.split("/")  # "", "encoder", "net", a stage, ..., the operation
    return f"the encoder's {path[3]}" if part == ENCODER and len(path) > 4 else part


class Constant(Protocol):
    """A tensor of an ONNX graph."""

    data_type: int
    dims: Sequence[int]


def share_of_eight_bits(constants: Iterable[Constant]) -> float:
    """Of the weights of an ONNX graph, those with 8 bits; only weights are signed in what is written here."""
    sizes = collections.Counter[int]()
    for one in constants:
        sizes[one.data_type] += math.prod(one.dims) if len(one.dims) > 1 else 0
    return sizes[need("onnx").TensorProto.INT8] / max(sizes.total(), 1)


class Feed:
    """An image as ONNX Runtime's calibration asks for it."""

    def __init__(self, image: Tensor) -> None:
        self.inputs = iter([{INPUT: image.numpy()}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The image, then None."""
        return next(self.inputs, None)
