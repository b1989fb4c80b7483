"""What every kind of file has in common: what goes into it, what it needs, how it is written and opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from distill.evaluation.scores import Size
from distill.inference.exported import need
from teachers import DepthModel


@dataclass(frozen=True)
class Cargo:
    """What goes into a file.

    Attributes:
        size: (H, W) of the one image that it takes; None leaves batch, height and width free.
        facts: Its metadata.
        opset: Version of ONNX's operators, for the targets that have one.
        logits: End at the scores of the bins and their centres, in place of depth.
        uncertainty: Give the depth's standard deviation as a second output.
    """

    model: DepthModel
    size: Size | None
    facts: Mapping[str, str]
    opset: int = 0
    logits: bool = False
    uncertainty: bool = False

    @property
    def one_size(self) -> Size:
        """The size, for targets that take no other."""
        assert self.size is not None
        return self.size


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
        suffix: The end of its name.
        extra: The extra of this package that brings `modules`.
        runtime: What opens it for the check.
        write: Writes it; what lies beside it has a name that begins alike.
        open: The file in its runtime: image (1, 3, H, W) in [0, 1] -> depth (1, 1, H, W). None where no machine but
            the maker's runs it.
        opsets: Versions of ONNX's operators that it may have, the usual one first.
        any_size: Whether it may leave sizes free.
        eight_bits: Whether --int8 is for it.
        beside: Ends of the names of further files that belong to it.
        two_outputs: Whether --confidence is for it; of what it opens then the outputs are `maps`, or a tuple.
    """

    suffix: str
    extra: str
    modules: tuple[str, ...]
    runtime: str
    write: Callable[[Cargo, Path], None]
    open: Callable[[Path], Callable[[Tensor], Tensor]] | None
    opsets: tuple[int, ...] = ()
    any_size: bool = False
    eight_bits: bool = False
    beside: tuple[str, ...] = ()
    two_outputs: bool = False

    def require(self) -> None:
        """Refuse what is not installed.

        Raises:
            UserError: With the extra that brings it.
        """
        for name in self.modules:
            need(name, self.extra)
