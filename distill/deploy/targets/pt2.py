"""`.pt2`, PyTorch's own exported programs, which AOTInductor and ExecuTorch take."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from distill.deploy.graph import write_program
from distill.deploy.targets.target import Cargo, Target


def write(cargo: Cargo, path: Path) -> None:
    """Write it."""
    write_program(cargo.model, path, cargo.one_size, dict(cargo.facts), uncertainty=cargo.uncertainty)


def opened(path: Path) -> nn.Module:
    """The file as PyTorch loads it."""
    return torch.export.load(path).module()


PT2 = Target(".pt2", "export", (), "PyTorch", write, opened, two_outputs=True)
