"""`.xml` and `.bin`, OpenVINO's intermediate representation, made of the ONNX graph."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from torch import Tensor

from distill.deploy.graph import OPSETS
from distill.deploy.quantise import Quantiser
from distill.deploy.targets.onnx_files import write_plain
from distill.deploy.targets.target import Cargo, Target
from distill.inference.exported import need
from distill.inference.file_kinds import OpenVinoModel


def write(cargo: Cargo, path: Path) -> None:
    """Write it, in float32 or with weights in float16, which it computes with in float32."""
    with plain_file(cargo) as plain:
        convert(plain, path, cargo.facts, half=cargo.half)


@contextmanager
def plain_file(cargo: Cargo) -> Iterator[Path]:
    """The float ONNX file that it is made of, for a while."""
    with tempfile.TemporaryDirectory(prefix="distill-") as folder:
        path = Path(folder) / "plain.onnx"
        write_plain(replace(cargo, opset=OPSETS[0], half=False), path)
        yield path


def convert(source: Path, path: Path, facts: Mapping[str, str], *, half: bool = False) -> None:
    """Write an ONNX file as OpenVINO's; what has 8 bits there has them here, and is computed in them."""
    openvino = need("openvino", "openvino")
    model = openvino.Core().read_model(str(source))
    for key, text in facts.items():
        model.set_rt_info(text, ["distill", key])
    openvino.save_model(model, str(path), compress_to_fp16=half)


class OpenVinoQuantiser(Quantiser):
    """By way of ONNX's 8 bits, which OpenVINO computes in too: nearer to the float file than NNCF's, and as fast."""

    def __init__(self, cargo: Cargo, images: Sequence[Tensor]) -> None:
        with plain_file(cargo) as plain:
            super().__init__(plain, images)
        self.facts = cargo.facts

    def write(self, target: Path, kept: Sequence[str] = ()) -> None:
        """Write the file and its weights beside it."""
        with tempfile.TemporaryDirectory(prefix="distill-") as folder:
            plain = Path(folder) / "plain.onnx"
            super().write(plain, kept)
            convert(plain, target, self.facts)


def state(path: Path, facts: Mapping[str, str]) -> None:
    """Add facts to those of a file."""
    tree = ElementTree.parse(path)
    stated = tree.find("./rt_info/distill")
    assert stated is not None
    for key, text in facts.items():
        ElementTree.SubElement(stated, key, value=text)
    tree.write(path)


OPENVINO = Target(
    ".xml",
    "openvino",
    ("openvino", "onnx", "onnxruntime"),
    "OpenVINO",
    write,
    OpenVinoModel,
    state=state,
    quantiser=lambda cargo, path, images: OpenVinoQuantiser(cargo, images),
    half=True,
    beside=(".bin",),
)
