"""ONNX files of others, of which only the time and the memory are asked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from distill.deploy.ways import Prepared, weighed
from distill.errors import UserError
from distill.evaluation.scores import Size
from distill.inference.exported import first_line, need, open_session

if TYPE_CHECKING:
    from onnx import TensorProto


def open_stranger(path: Path, size: Size) -> tuple[Prepared, int, Size]:
    """A network of one image in ONNX Runtime, its number of weights, and the size at which it runs.

    That is its own, and `size` where it takes any. What it gives is not looked at.

    Raises:
        UserError: If it is no such file, or does not run.
    """
    if path.suffix != ".onnx" or not path.is_file():
        raise UserError(f"--against {path}: there is no such file, expected FILE.onnx")
    try:
        onnx = need("onnx")
        onnx.checker.check_model(str(path))  # among others that weights outside lie in its own folder
        graph = onnx.load(str(path), load_external_data=False).graph
        session = open_session(path)
        (taken,) = session.get_inputs()
        batch, *sides = taken.shape
        if len(sides) != 3 or 3 not in (sides[0], sides[2]) or taken.type != "tensor(float)":
            raise ValueError(
                f"its image is {taken.type} of {taken.shape}, expected floats (1, 3, H, W) or (1, H, W, 3)"
            )
        if isinstance(batch, int) and batch != 1:
            raise ValueError(f"it takes {batch} images at once, expected one or any number")
        place = 1 if sides[0] == 3 else 0  # of the height among the sides
        own = tuple(side if isinstance(side, int) else usual for side, usual in zip(sides[place:], size, strict=False))
        image = torch.rand(1, *((3, *own) if place else (*own, 3)))
        ready = weighed(
            lambda one: session.run(None, {taken.name: one.numpy()}), bytes_of(path, graph.initializer), image
        )
    except UserError:
        raise
    except Exception as error:  # those of the runtimes have no class in common
        raise UserError(f"--against {path} is no network that ONNX Runtime runs ({first_line(error)})") from error
    return ready, sum(math.prod(one.dims) for one in graph.initializer), (own[0], own[1])


def bytes_of(path: Path, weights: Iterable[TensorProto]) -> int:
    """Of a file and of those beside it that hold its weights."""
    outside = {entry.value for one in weights for entry in one.external_data if entry.key == "location"}
    return sum(place.stat().st_size for place in (path, *(path.parent / name for name in outside)))
