"""ONNX files in ONNX Runtime, and whether an exported model gives the depth of the one that it was made of."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distill.errors import UserError

TOLERANCE = 1e-3  # of the largest relative error of a pixel
FLOOR = 1e-3  # of an image's largest value: a raw output may be 0, where a relative error means nothing


def need(name: str) -> ModuleType:
    """A module of the extra `export`.

    Raises:
        UserError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"this needs {name.split('.')[0]}: install it with pip install '.[export]'") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings of what is meant: shapes taken for constant, unprepared files, remarks on constant 0."""
    former = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(former)


def open_session(path: Path, plain: Path | None = None) -> Any:
    """An ONNX file in ONNX Runtime on the CPU, with as many threads as PyTorch; it warns of nothing.

    With `plain`, the runtime writes the graph there as it simplified it by rules that every runtime knows.
    """
    runtime = need("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    if plain:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(plain)
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class OnnxModel(nn.Module):
    """An ONNX file as a depth model on the CPU: image (B, 3, H, W) in [0, 1] -> depth (B, 1, H, W) in metres.

    Attributes:
        facts: The file's metadata.
        size: The (H, W) that it takes, None where it takes any.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.session = open_session(path)
        self.facts: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        self.input = self.session.get_inputs()[0]
        height, width = self.input.shape[-2:]
        self.size = (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in [0, 1] -> depth (B, 1, H, W)."""
        return torch.from_numpy(self.session.run(None, {self.input.name: image.cpu().contiguous().numpy()})[0])


@dataclass(frozen=True)
class Deviation:
    """Relative errors |a - b| / max(|b|, `FLOOR` * max |b|) over all pixels of some images."""

    largest: float
    mean: float
    images: int

    @property
    def acceptable(self) -> bool:
        """False also where it is not a number."""
        return self.largest <= TOLERANCE

    def __str__(self) -> str:
        return f"relative error at most {self.largest:.1e}, on average {self.mean:.1e}, on {self.images} images"


@torch.inference_mode()
def deviation(
    exported: Callable[[Tensor], Tensor], expected: Callable[[Tensor], Tensor], images: Sequence[Tensor]
) -> Deviation:
    """Compare two models on images (1, 3, H, W); a depth of another shape, or not finite, is infinitely wrong."""
    largest, total = 0.0, 0.0
    for image in images:
        ours, theirs = exported(image), expected(image)
        if ours.shape != theirs.shape or not torch.isfinite(ours).all():
            return Deviation(float("inf"), float("inf"), len(images))
        size = theirs.abs()
        error = ((ours - theirs).abs() / size.clamp(min=max(FLOOR * float(size.max()), 1e-8))).double()
        largest, total = max(largest, float(error.max())), total + float(error.mean())
    return Deviation(largest, total / len(images), len(images))
