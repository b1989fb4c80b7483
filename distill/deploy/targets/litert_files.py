"""`.tflite`, for LiteRT, formerly TensorFlow Lite."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import torch

from distill.deploy.targets.target import Cargo, Target
from distill.inference.exported import need, quiet
from distill.inference.file_kinds import LiteRtModel
from students.forms import prepare

EXTRA = "litert"


def write(cargo: Cargo, path: Path) -> None:
    """Write it, in float32 or with weights in float16.

    The metadata lie behind it as a ZIP archive, where the format has its associated files.
    """
    image = torch.rand(1, 3, *cargo.one_size)
    with torch.no_grad(), quiet():
        need("litert_torch", EXTRA).convert(prepare(cargo.model), (image,)).export(str(path))
        if cargo.half:
            halve(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("distill.json", json.dumps(dict(cargo.facts)))


def halve(path: Path) -> None:
    """Round the weights to float16; the interpreter computes with them in float32, GPUs of phones in float16."""
    tools = need("ai_edge_quantizer.quantizer", EXTRA)
    quantizer = tools.Quantizer(path.read_bytes())
    casting = tools.algorithm_manager.AlgorithmName.FLOAT_CASTING
    quantizer.add_weight_only_config(".*", tools.qtyping.TFLOperationName.ALL_SUPPORTED, 16, algorithm_key=casting)
    path.write_bytes(quantizer.quantize(enable_progress_report=False).quantized_model)


LITERT = Target(".tflite", EXTRA, ("litert_torch", "ai_edge_litert"), "LiteRT", write, LiteRtModel, half=True)
