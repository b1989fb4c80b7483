"""Parts of a student that do not learn, for training in stages."""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType

from torch import nn


def freeze(student: nn.Module, parts: Sequence[str]) -> None:
    """Let parts of a student stay what they are: no gradients, eval mode for ever, the statistics of norms included.

    Args:
        parts: Names of its modules, such as "encoder" or "encoder.stem".

    Raises:
        ValueError: If it has no such part, or nothing is left that learns.
    """
    for name in parts:
        try:
            part = student.get_submodule(name) if name else student
        except AttributeError:
            known = [key for key, _ in student.named_modules() if key and key.count(".") < 2]
            raise ValueError(f"the student has no part {name!r} to freeze; it has {', '.join(known)}") from None
        part.requires_grad_(False).eval()
        part.train = MethodType(_stay, part)  # type: ignore[method-assign]  # a parent's train() recurses
    if not any(parameter.requires_grad for parameter in student.parameters()):
        raise ValueError(f"with {', '.join(map(repr, parts))} frozen nothing is left that learns; freeze less")


def _stay(part: nn.Module, mode: bool = True) -> nn.Module:
    return part
