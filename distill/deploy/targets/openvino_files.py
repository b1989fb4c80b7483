"""`.xml` and `.bin`, OpenVINO's intermediate representation, made of the ONNX graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from distill.deploy.graph import OPSETS
from distill.deploy.targets.onnx_files import write_plain
from distill.deploy.targets.target import Cargo, Target
from distill.inference.exported import need

# Without the first it computes in bfloat16 or float16 where the processor can: 0.1 to 2 % of the depth.
EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


def write(cargo: Cargo, path: Path) -> None:
    """Write it, in float32."""
    openvino = need("openvino", "openvino")
    plain = path.with_name(".plain.onnx")
    write_plain(replace(cargo, opset=OPSETS[0]), plain)
    model = openvino.Core().read_model(str(plain))
    for key, text in cargo.facts.items():
        model.set_rt_info(text, ["distill", key])
    openvino.save_model(model, str(path), compress_to_fp16=False)
    plain.unlink()


def opened(path: Path) -> Callable[[Tensor], Tensor]:
    """The file on the CPU, in float32."""
    options = EXACT | {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
    network = need("openvino", "openvino").Core().compile_model(str(path), "CPU", options)
    return lambda image: torch.from_numpy(network(image.contiguous().numpy())[0])


OPENVINO = Target(".xml", "openvino", ("openvino", "onnx", "onnxruntime"), "OpenVINO", write, opened, beside=(".bin",))
