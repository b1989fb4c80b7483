"""Every kind of exported file that runs here, as a model by its own runtime on the CPU."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from distill.errors import UserError
from distill.inference.exported import LOGITS, MEANINGS, ExportedModel, OnnxModel, ProgramModel, first_line, need

MOST_FACTS = 2**20  # bytes


class OpenVinoModel(ExportedModel):
    """A `.xml` of OpenVINO, whose weights lie beside it."""

    def __init__(self, path: Path) -> None:
        core = need("openvino", "openvino").Core()
        model = core.read_model(str(path))
        facts = dict(model.get_rt_info()).get("distill", {})
        super().__init__(path, {key: fact.astype(str) for key, fact in facts.items()}, tuple(model.input(0).shape))
        self.files.append(path.with_suffix(".bin"))
        # Without the first it computes in bfloat16 or float16 where the processor can: 0.1 to 2 % of the depth.
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        self.network = core.compile_model(model, "CPU", options)

    def compute(self, image: Tensor) -> Tensor:
        """What the file gives of one image."""
        return torch.from_numpy(self.network(image.contiguous().numpy())[0].copy())


class ExecuTorchModel(ExportedModel):
    """A `.pte` of ExecuTorch, whose method `facts` gives its metadata."""

    def __init__(self, path: Path) -> None:
        program = need("executorch.runtime", "executorch").Runtime.get().load_program(path)
        stated = program.load_method("facts").execute([])[0] if "facts" in program.method_names else "{}"
        shape = program.metadata("forward").input_tensor_meta(0).sizes()
        super().__init__(path, json.loads(stated), shape)
        self.method = program.load_method("forward")

    def compute(self, image: Tensor) -> Tensor:
        """What the file gives of one image."""
        return self.method.execute([image.contiguous()])[0].clone()


class LiteRtModel(ExportedModel):
    """A `.tflite` of LiteRT, behind which a ZIP archive holds its metadata."""

    def __init__(self, path: Path) -> None:
        tools = need("ai_edge_litert.interpreter", "litert")
        self.interpreter = tools.Interpreter(model_path=str(path), num_threads=torch.get_num_threads())
        self.interpreter.allocate_tensors()
        (taken,), (made,) = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        super().__init__(path, facts_behind(path), taken["shape"].tolist())
        self.taken, self.made = taken["index"], made["index"]

    def compute(self, image: Tensor) -> Tensor:
        """What the file gives of one image."""
        self.interpreter.set_tensor(self.taken, image.contiguous().numpy())
        self.interpreter.invoke()
        return torch.from_numpy(self.interpreter.get_tensor(self.made).copy())


def facts_behind(path: Path) -> dict[str, str]:
    """The metadata in an archive behind a file, where there is one."""
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo("distill.json").file_size > MOST_FACTS:  # of which no more is unpacked than is stated
            raise ValueError("its metadata are of more than 1 MiB")
        return json.loads(archive.read("distill.json"))


KINDS: dict[str, Callable[[Path], ExportedModel]] = {
    ".onnx": OnnxModel,
    ".pt2": ProgramModel,
    ".xml": OpenVinoModel,
    ".pte": ExecuTorchModel,
    ".tflite": LiteRtModel,
}

UNITLESS = "none"  # the beginning of all units but metres


def open_exported(path: Path) -> ExportedModel:
    """A file that `distill export` wrote, or one that states its units as it does.

    Raises:
        UserError: If there is no such file, it is damaged, or it holds something else.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}; expected one of distill export ({' '.join(KINDS)})")
    try:
        if path.suffix == ".onnx":
            need("onnx").checker.check_model(str(path))  # among others that weights outside lie in its own folder
        model = KINDS[path.suffix](path)
    except UserError:
        raise
    except Exception as error:  # those of the runtimes have no class in common
        raise UserError(f"{path} is no exported model ({first_line(error)}); export it again") from error
    units = model.known.units
    if units is None:
        raise UserError(f"{path} does not state its units; expected a file of distill export, which does")
    if units not in MEANINGS and not units.startswith(UNITLESS):
        known = f"metres, {UNITLESS} (relative depth, and what is larger), {LOGITS}"
        raise UserError(f"{path} states its units as {units!r}; known are {known}: state one of these")
    return model
