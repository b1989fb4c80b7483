"""Exported files in the place of a model, on the CPU; `.onnx` by ONNX Runtime and `.pt2` by PyTorch."""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, FiniteFloat, Json, PositiveInt
from torch import Tensor

from distill.errors import UserError
from distill.evaluation.scores import Size
from distill.inference.program_check import check_program
from teachers.model import DepthModel, Output

UNCERTAINTY = "uncertainty"  # what a file's second output is called
LOGITS = "none: logits of classes"
MEANINGS: dict[str | None, Output] = {"metres": "metric", LOGITS: "classes"}  # by the units; others are relative


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings of what is meant (shapes taken for constant, remarks on constant 0), and bars of progress."""
    former = logging.root.manager.disable
    logging.disable(logging.WARNING)
    nowhere = io.StringIO()
    try:
        with redirect_stdout(nowhere), redirect_stderr(nowhere), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(former)


def need(name: str, extra: str = "export") -> ModuleType:
    """A module of an extra of this package.

    Raises:
        UserError: If it is not installed.
    """
    try:
        with quiet():
            return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"this needs {name.split('.')[0]}: install it with pip install '.[{extra}]'") from error


def open_session(path: Path, plain: Path | None = None) -> Any:
    """An ONNX file in ONNX Runtime on the CPU, with as many threads as PyTorch; it warns of nothing.

    With `plain`, the runtime writes the graph there as it simplified it by rules that every runtime knows.
    """
    runtime = need("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what fails is said once, by whoever asked
    if plain:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(plain)
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class SeenInTraining(BaseModel):
    """What a file's record of its training says of the images."""

    input_size: tuple[PositiveInt, PositiveInt] | None = None


class StatedAccuracy(BaseModel):
    """What was measured of an 8-bit file itself, on some of its run's test images, before it got its name."""

    protocol: str
    fingerprint: str
    images: int | None = None
    metrics: dict[str, float]


class FileFacts(BaseModel):
    """What is read of a file's metadata. Limits are in metres; `gflops` are those of the size that it takes."""

    units: str | None = None
    min_depth: FiniteFloat | None = None
    max_depth: FiniteFloat | None = None
    classes: Json[tuple[str, ...]] = ()
    parameters: PositiveInt | None = None
    gflops: FiniteFloat | None = None
    training: Json[SeenInTraining] = SeenInTraining()
    accuracy: Json[StatedAccuracy] | None = None


class ExportedModel(DepthModel):
    """A file as a model on the CPU: image (B, 3, H, W) in [0, 1] -> depth (B, 1, H, W) or logits, and no maps.

    Attributes:
        facts: The file's metadata.
        files: All that belongs to it, itself first.
        has_uncertainty: Whether its second output is that.
        known: What is read of it.
        shape: (B, 3, H, W) of the image; None where any will do.
    """

    def __init__(self, path: Path, facts: Mapping[str, str], shape: Sequence[object]) -> None:
        super().__init__()
        self.path, self.facts, self.files = path, facts, [path]
        self.shape = tuple(side if isinstance(side, int) else None for side in shape)
        if len(self.shape) != 4 or self.shape[0] not in (None, 1) or self.shape[1] not in (None, 3):
            raise ValueError(f"its image is {tuple(shape)}, expected (batch or 1, 3, height, width)")
        self.known = FileFacts.model_validate(facts)
        self.min_depth, self.max_depth = self.known.min_depth, self.known.max_depth
        self.output, self.classes = MEANINGS.get(self.known.units, "relative"), self.known.classes
        if (self.output == "classes") != bool(self.classes):
            raise ValueError(f"its units are {self.known.units}, and it names {len(self.classes)} classes")

    @property
    def size(self) -> Size | None:
        """The (H, W) that it takes, None where it takes any."""
        height, width = self.shape[2:]
        return (height, width) if height and width else None

    def inverse(self, output: Tensor) -> Tensor:
        """As of the model that it was made of: the units of a student without metres say relative depth."""
        return output.reciprocal() if "relative depth" in (self.known.units or "") else super().inverse(output)

    def compute(self, image: Tensor) -> Tensor:
        """All that the file gives of as many images as it takes at once, (B, maps, H, W)."""
        raise NotImplementedError

    def encode(self, image: Tensor) -> list[Tensor]:
        """A file has no maps.

        Raises:
            UserError: Always.
        """
        raise UserError(f"{self.path} gives no maps; give the folder of the model that it was made of")

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in [0, 1] -> depth, or logits, one image at a time where the file takes no more.

        Raises:
            UserError: If the file does not work at this size.
        """
        return self.maps(image)[0]

    def with_uncertainty(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Depth and its standard deviation, of a file that has both."""
        depth, uncertainty = self.maps(image)
        return depth, uncertainty

    def maps(self, image: Tensor) -> Sequence[Tensor]:
        """Depth, and its standard deviation where the file has it, (B, 1, H, W) each; or logits (B, classes, H, W)."""
        channels = len(self.classes) or 1
        size = f"{image.shape[-2]}x{image.shape[-1]}"
        try:
            maps = torch.cat([self.compute(part) for part in image.cpu().split(self.shape[0] or len(image))])
            if maps.shape != (len(image), channels + self.has_uncertainty, *image.shape[-2:]):
                raise ValueError(f"it made {tuple(maps.shape)} of {tuple(image.shape)}")
        except Exception as error:  # those of the runtimes have no class in common
            raise UserError(f"{self.path} fails at {size} ({first_line(error)}); export with --size {size}") from error
        return maps.split(channels, dim=1)


class OnnxModel(ExportedModel):
    """An ONNX file; one of a stranger comes by `open_exported`, which looks at it first."""

    def __init__(self, path: Path) -> None:
        session = open_session(path)
        image = session.get_inputs()[0]
        super().__init__(path, session.get_modelmeta().custom_metadata_map, image.shape)
        self.session, self.name = session, image.name
        first, *others = (output.name for output in session.get_outputs())
        self.has_uncertainty = UNCERTAINTY in others
        self.wanted = [first, UNCERTAINTY] if self.has_uncertainty else [first]

    def compute(self, image: Tensor) -> Tensor:
        """All that the file gives of as many images as it takes at once, (B, maps, H, W)."""
        maps = self.session.run(self.wanted, {self.name: image.contiguous().numpy()})
        return torch.from_numpy(np.concatenate(maps, axis=1))


class ProgramModel(ExportedModel):
    """A `.pt2` of PyTorch that holds a network and nothing else."""

    def __init__(self, path: Path) -> None:
        from torch.export.pt2_archive import _package  # torch.export.load would fall back to an older format's pickles

        content = path.read_bytes()
        check_program(content)
        archive = _package.load_pt2(io.BytesIO(content))
        program = archive.exported_programs["model"]
        (image,) = program.graph_signature.user_inputs
        shape = next(node.meta["val"].shape for node in program.graph.nodes if node.name == image)
        super().__init__(path, archive.extra_files, shape)
        self.has_uncertainty = len(program.graph_signature.user_outputs) > 1
        module = program.module()
        # As a part of this module it would refuse eval().
        self.run: Callable[[Tensor], Tensor | tuple[Tensor, ...]] = lambda image: module(image)

    def compute(self, image: Tensor) -> Tensor:
        """All that the file gives of as many images as it takes at once, (B, maps, H, W)."""
        maps = self.run(image)
        return maps if isinstance(maps, Tensor) else torch.cat(maps, dim=1)


def first_line(error: Exception) -> str:
    """The beginning of an exception's text, as runtimes' can be pages."""
    return f"{' '.join(str(error).split()) or type(error).__name__:.200}"
