"""A depth model of one's own, named `module:factory`: a Python function without arguments that returns it."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from typing import cast

import torch
from torch import nn

from teachers.model import DepthModel

NEEDED = ("encode", "decode", "encoder", "decoder", "feature_channels", "min_depth", "max_depth", "output")

TRIED = (64, 96)  # height and width of an image on which a model is tried


def is_factory(name: str) -> bool:
    """Whether a name has the form `module:factory`, of two Python names."""
    module, colon, factory = name.partition(":")
    return bool(colon) and factory.isidentifier() and all(part.isidentifier() for part in module.split("."))


def open_factory(name: str) -> DepthModel:
    """What the function gives. Its module is looked for in the working directory too, and its code is run.

    Raises:
        ValueError: If there is no such function, it fails, or gives no depth model: what that lacks, by name.
    """
    module, _, factory = name.partition(":")
    here = str(Path.cwd())
    added = [] if here in sys.path else [here]
    sys.path[:0] = added
    try:
        function = getattr(importlib.import_module(module), factory)
    except ImportError as error:
        raise ValueError(f"{name}: no module {module} in {here} or among those installed ({error})") from error
    except AttributeError:
        raise ValueError(f"{name}: the module {module} has no {factory}; name a function of it") from None
    except Exception as error:
        raise ValueError(f"{name}: its module fails: {own_fault(error)}") from error
    finally:
        for path in added:
            sys.path.remove(path)
    if not callable(function):
        raise ValueError(f"{name} is no function; name one without arguments that returns a depth model")
    try:
        model = function()
    except Exception as error:
        raise ValueError(f"{name} fails: {own_fault(error)}") from error
    return checked(model, name)


def own_fault(error: Exception) -> str:
    """What went wrong in a person's own code, and in which line of it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{error.filename}:{error.lineno}" if isinstance(error, SyntaxError) else f"{last.filename}:{last.lineno}"
    return f"{type(error).__name__}: {error} ({place})"


def checked(model: object, name: str) -> DepthModel:
    """A depth model, also one that is not of that class but has all of its methods and attributes, and keeps to them.

    It is tried on one small image.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name} returned {type(model).__name__}, expected a PyTorch module that is a depth model")
    if missing := [part for part in NEEDED if not hasattr(model, part)]:
        raise ValueError(f"{name} returned {type(model).__name__}, which lacks {', '.join(missing)} of a depth model")
    depth_model = cast(DepthModel, model)
    channels = depth_model.feature_channels
    if not (isinstance(channels, tuple | list) and len(channels) == 4):
        raise ValueError(f"{name}: feature_channels must be four numbers, got {channels}")
    if depth_model.output not in ("metric", "relative"):
        raise ValueError(f'{name}: output must be "metric" or "relative", got {depth_model.output!r}')
    try:
        fault = misbehaviour(depth_model.eval())
    except Exception as error:
        raise ValueError(f"{name} gave a model that fails on an image {TRIED}: {own_fault(error)}") from error
    if fault:
        raise ValueError(f"{name} gave a model of which {fault}")
    return depth_model


@torch.no_grad()
def misbehaviour(model: DepthModel) -> str | None:
    """What a model makes of an image otherwise than it should, in words."""
    image = torch.full((1, 3, *TRIED), 0.5, device=next((p.device for p in model.parameters()), None))
    maps = model.encode(image)
    seen, wanted = [one.shape[1] for one in maps], [*model.feature_channels]
    if seen != wanted:
        return f"encode gives maps of {seen} channels, and feature_channels says {wanted}"
    for method, depth in (("decode", model.decode(maps, TRIED)), ("forward", model(image))):
        if tuple(depth.shape) != (1, 1, *TRIED):
            return f"{method} gives {tuple(depth.shape)} for an image {TRIED}, expected {(1, 1, *TRIED)}"
    return None
