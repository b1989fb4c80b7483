"""`.onnx`, as ONNX Runtime takes it, and in older operators that the compilers of many chips take."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch
from torch import Tensor

from distill.console import display
from distill.deploy import decode_bins
from distill.deploy.graph import OPSETS, finish, halve, simplify, state, write_onnx
from distill.deploy.quantise import Quantiser
from distill.deploy.targets.operators import LISTS
from distill.deploy.targets.target import Cargo, Target
from distill.inference.exported import OnnxModel, need, open_session

DECODER = "_decode.py"  # the end of its name
SOURCE = inspect.getsource(decode_bins).encode()


def decoder_of(path: Path) -> Path:
    """Where the decoder of a file lies that ends at the logits."""
    return path.with_name(path.stem + DECODER)


def is_decoder(path: Path) -> bool:
    """Whether a file is the decoder, as it is written here."""
    return path.is_file() and path.read_bytes() == SOURCE


def write_plain(cargo: Cargo, path: Path) -> None:
    """Write it."""
    traced = path.with_name(".traced.onnx")
    ending = {"logits": cargo.logits, "uncertainty": cargo.uncertainty}
    write_onnx(cargo.model, traced, cargo.size, cargo.opset, **ending)
    finish(traced, path, cargo.facts)
    if cargo.half:
        halve(path)
    traced.unlink()


def write_portable(cargo: Cargo, path: Path) -> None:
    """Write it, and say which compilers lack some of it; the lines of NumPy that make depth of logits lie beside it."""
    write_plain(cargo, path)
    simplify(path)
    for compiler, lacking in missing_operators(path).items():
        display(f"{compiler} lists all of its operators" if not lacking else f"{compiler} lacks {', '.join(lacking)}")
    if cargo.logits:
        decoder_of(path).write_bytes(SOURCE)


def missing_operators(path: Path) -> dict[str, list[str]]:
    """The operators of a file that the lists of compilers lack, by compiler."""
    used = {node.op_type for node in need("onnx").load(str(path)).graph.node}
    return {compiler: sorted(used - listed) for compiler, listed in LISTS.items()}


def open_portable(path: Path) -> OnnxModel | Scores:
    """The file in ONNX Runtime, with its decoder where it ends at the logits."""
    return Scores(path) if decoder_of(path).exists() else OnnxModel(path)


class Scores:
    """A file that ends at the scores of the bins, followed by its decoder."""

    def __init__(self, path: Path) -> None:
        self.session = open_session(path)

    def __call__(self, image: Tensor) -> Tensor:
        scores, centres = self.session.run(None, {"image": image.numpy()})
        return torch.from_numpy(decode_bins.depth_of(scores, centres, *image.shape[-2:]))


ONNX = Target(
    ".onnx",
    "export",
    ("onnx", "onnxruntime"),
    "ONNX Runtime",
    write_plain,
    OnnxModel,
    OPSETS,
    any_size=True,
    quantiser=lambda cargo, path, images: Quantiser(path, images),
    half=True,
    state=state,
    two_outputs=True,
)
PORTABLE = Target(
    ".onnx",
    "export",
    ("onnx", "onnxruntime"),
    "ONNX Runtime",
    write_portable,
    open_portable,
    opsets=(16, 11),
    two_outputs=True,
)
