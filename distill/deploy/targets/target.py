"""What every kind of file has in common: what goes into it, what it needs, how it is written and opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from distill.deploy.quantise import Quantiser
from distill.evaluation.scores import Size
from distill.inference.exported import ExportedModel, need
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
        half: Hold the weights in 16 bits; images and depth stay float32.
    """

    model: DepthModel
    size: Size | None
    facts: Mapping[str, str]
    opset: int = 0
    logits: bool = False
    uncertainty: bool = False
    half: bool = False

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
        quantiser: Makes what writes it in 8 bits, of its float file and images; None where --int8 is not for it.
        half: Whether --fp16 is for it.
        state: Adds metadata to a file that was written, where any are known only then.
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
    quantiser: Callable[[Cargo, Path, Sequence[Tensor]], Quantiser] | None = None
    half: bool = False
    state: Callable[[Path, Mapping[str, str]], None] | None = None
    beside: tuple[str, ...] = ()
    two_outputs: bool = False

    def require(self) -> None:
        """Refuse what is not installed.

        Raises:
            UserError: With the extra that brings it.
        """
        for name in self.modules:
            need(name, self.extra)

    def model(self, path: Path, cargo: Cargo) -> ExportedModel:
        """A file that was written, as a depth model in its runtime."""
        assert self.open is not None
        opened = self.open(path)
        return opened if isinstance(opened, ExportedModel) else InRuntime(path, cargo, opened)


class InRuntime(ExportedModel):
    """A file of one size, as a depth model."""

    def __init__(self, path: Path, cargo: Cargo, run: Callable[[Tensor], Tensor | Sequence[Tensor]]) -> None:
        super().__init__(path, cargo.facts, (1, 3, *cargo.one_size))
        self.has_uncertainty = cargo.uncertainty
        self.run = lambda image: run(image)  # as a part of this module one of PyTorch would refuse eval()

    def compute(self, image: Tensor) -> Tensor:
        """All that the file gives of one image, (1, 1 or 2, H, W)."""
        maps = self.run(image)
        return maps if isinstance(maps, Tensor) else torch.cat(list(maps), dim=1)
