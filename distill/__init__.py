"""distill: turns a large depth-estimation transformer into a small, fast depth network.

Importing this package is light: torch is loaded only when something that needs it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

__version__ = "0.1.0"


def load_model(folder: str | Path, *, optimise: bool = False) -> nn.Module:
    """A trained student as a PyTorch module in eval mode: image (B, 3, H, W) in [0, 1] -> depth (B, 1, H, W) in metres.

    Args:
        folder: A run folder, or its `student/` folder (`model.safetensors` and `config.json`).
        optimise: For inference alone: norms are folded, layers fused and packed. It gives the same but for rounding.

    Raises:
        FileNotFoundError: If the folder holds no student.
        ValueError: If its files do not fit together.
    """
    from students import load_student

    student = load_student(folder)
    if not optimise:
        return student
    from students import fused  # needs more than torch and timm

    return fused.optimise(student)
