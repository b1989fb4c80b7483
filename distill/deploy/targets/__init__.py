"""The kinds of files that `distill export` writes. A new one is a file beside this one and a line here."""

from distill.deploy.targets.onnx_files import ONNX, PORTABLE
from distill.deploy.targets.pt2 import PT2
from distill.deploy.targets.target import Cargo, Target

TARGETS: dict[str, Target] = {
    "onnx": ONNX,
    "onnx-portable": PORTABLE,
    "pt2": PT2,
}

__all__ = ["TARGETS", "Cargo", "Target"]
