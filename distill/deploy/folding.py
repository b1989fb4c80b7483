"""A BatchNorm behind the sum of two convolutions, which ONNX Runtime leaves alone, taken into both of them."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from distill.deploy.runtime import need


class Folder:
    """Works on one ONNX graph in place. LG-Conv's sum with its backbone's norm behind it is what it looks for."""

    def __init__(self, graph: Any) -> None:
        self.graph, self.arrays = graph, need("onnx.numpy_helper")
        self.made = {output: node for node in graph.node for output in node.output}
        self.weights = {one.name: one for one in graph.initializer}
        self.uses = collections.Counter(name for node in graph.node for name in node.input)

    def fold(self) -> None:
        """Take in every norm that can be."""
        for norm in [node for node in self.graph.node if node.op_type == "BatchNormalization"]:
            total = self.made.get(norm.input[0])
            if total is None or total.op_type != "Add" or self.uses[norm.input[0]] > 1:
                continue
            terms = [self.made.get(name) for name in total.input]
            if all(term is not None and self._can_take(term) for term in terms):
                self._take(norm, total, terms)

    def _can_take(self, node: Any) -> bool:
        own = node.op_type == "Conv" and self.uses[node.output[0]] == 1
        return own and all(name in self.weights and self.uses[name] == 1 for name in node.input[1:])

    def _take(self, norm: Any, total: Any, terms: list[Any]) -> None:
        gain, bias, mean, variance = (self._value(name) for name in norm.input[1:])
        epsilon = next((one.f for one in norm.attribute if one.name == "epsilon"), 1e-5)
        scale = gain / np.sqrt(variance + epsilon)
        for conv, shift in zip(terms, (bias - mean * scale, 0), strict=True):
            former = self._value(conv.input[2]) if len(conv.input) > 2 else 0
            self._set(conv.input[1], self._value(conv.input[1]) * scale[:, None, None, None])
            self._set_bias(conv, former * scale + shift)
        total.output[0] = norm.output[0]
        self.graph.node.remove(norm)

    def _value(self, name: str) -> np.ndarray:
        return self.arrays.to_array(self.weights[name]).astype(np.float64)

    def _set(self, name: str, value: np.ndarray) -> None:
        self.weights[name].CopyFrom(self.arrays.from_array(value.astype(np.float32), name))

    def _set_bias(self, conv: Any, value: np.ndarray) -> None:
        if len(conv.input) > 2:
            self._set(conv.input[2], value)
            return
        name = f"{conv.output[0]}.bias"
        self.graph.initializer.append(self.arrays.from_array(value.astype(np.float32), name))
        conv.input.append(name)
