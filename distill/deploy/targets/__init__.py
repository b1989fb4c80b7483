"""The kinds of files that `distill export` writes. A new one is a file beside this one and a line here."""

from distill.deploy.targets.coreml_files import COREML
from distill.deploy.targets.executorch_files import EXECUTORCH
from distill.deploy.targets.litert_files import LITERT
from distill.deploy.targets.onnx_files import ONNX, PORTABLE
from distill.deploy.targets.openvino_files import OPENVINO
from distill.deploy.targets.pt2 import PT2
from distill.deploy.targets.target import Cargo, Target

TARGETS: dict[str, Target] = {
    "onnx": ONNX,
    "onnx-portable": PORTABLE,
    "pt2": PT2,
    "openvino": OPENVINO,
    "executorch": EXECUTORCH,
    "litert": LITERT,
    "coreml": COREML,
}

__all__ = ["TARGETS", "Cargo", "Target"]
