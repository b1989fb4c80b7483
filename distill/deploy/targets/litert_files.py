"""`.tflite`, for LiteRT, formerly TensorFlow Lite."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from distill.deploy.targets.target import Cargo, Target
from distill.inference.exported import need, quiet
from distill.inference.file_kinds import LiteRtModel, facts_behind
from students.forms import prepare

EXTRA = "litert"


def write(cargo: Cargo, path: Path) -> None:
    """Write it, in float32 or with weights in float16."""
    image = torch.rand(1, 3, *cargo.one_size)
    with torch.no_grad(), quiet():
        need("litert_torch", EXTRA).convert(prepare(cargo.model), (image,)).export(str(path))
        if cargo.half:
            halve(path)
    state(path, cargo.facts)


def state(path: Path, facts: Mapping[str, str]) -> None:
    """Add facts to those that lie behind a file as a ZIP archive, where the format has its associated files."""
    if known := facts_behind(path):
        with zipfile.ZipFile(path) as archive:
            start = archive.infolist()[0].header_offset
        os.truncate(path, start)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("distill.json", json.dumps({**known, **facts}))


def halve(path: Path) -> None:
    """Round the weights to float16; the interpreter computes with them in float32, GPUs of phones in float16."""
    tools = need("ai_edge_quantizer.quantizer", EXTRA)
    quantizer = tools.Quantizer(path.read_bytes())
    casting = tools.algorithm_manager.AlgorithmName.FLOAT_CASTING
    quantizer.add_weight_only_config(".*", tools.qtyping.TFLOperationName.ALL_SUPPORTED, 16, algorithm_key=casting)
    path.write_bytes(quantizer.quantize(enable_progress_report=False).quantized_model)


LITERT = Target(
    ".tflite", EXTRA, ("litert_torch", "ai_edge_litert"), "LiteRT", write, LiteRtModel, half=True, state=state
)
