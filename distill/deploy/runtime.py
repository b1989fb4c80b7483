"""ONNX files and ONNX Runtime: opened, run, described. Both packages are an extra."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distill.errors import UserError


def need(name: str) -> Any:
    """A package of the extra `export`.

    Raises:
        UserError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"this needs {name.split('.')[0]}: install it with pip install '.[export]'") from error


def session_options(threads: int | None = None) -> Any:
    """Options of a session that computes with `threads`, by default as many as PyTorch, and warns of nothing."""
    options = need("onnxruntime").SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    return options


class OnnxModel(nn.Module):
    """An ONNX file as a depth model on the CPU: image (B, 3, H, W) in [0, 1] -> depth (B, 1, H, W) in metres.

    Attributes:
        facts: What the file says of itself.
        size: The (H, W) that it takes, None where it takes any.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        make = need("onnxruntime").InferenceSession
        self.session = make(str(path), session_options(), providers=["CPUExecutionProvider"])
        self.facts: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        height, width = self.session.get_inputs()[0].shape[-2:]
        self.size = (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def forward(self, image: Tensor) -> Tensor:
        name = self.session.get_inputs()[0].name
        return torch.from_numpy(self.session.run(None, {name: image.cpu().contiguous().numpy()})[0])
