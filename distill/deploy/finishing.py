"""A traced ONNX file is made fit for others: simplified and described."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from distill.deploy.runtime import need, session_options


def finish(source: Path, target: Path, facts: Mapping[str, str]) -> None:
    """Write a graph again in plain ONNX: constants computed, BatchNorm inside of convolutions, and its facts."""
    runtime, onnx = need("onnxruntime"), need("onnx")
    options = session_options()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    runtime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    model = onnx.load(str(target))
    used = {node.domain for node in model.graph.node}
    kept = [one for one in model.opset_import if one.domain in used]  # ONNX Runtime adds all that it knows
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.helper.set_model_props(model, dict(facts))
    model.producer_name = "distill"
    onnx.save(model, str(target))
