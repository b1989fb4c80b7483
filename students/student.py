"""What every student is: a depth model that may learn in part, and goes to a folder or to the Hugging Face Hub."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Self

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from safetensors.torch import save as to_bytes
from torch import Tensor

from students.calibration import Calibration
from students.card import model_card
from teachers.model import DepthModel, Output
from teachers.weight_files import Json

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


class Student(ModelHubMixin, DepthModel):
    """A trainable depth model, with `save_pretrained`, `push_to_hub` and `from_pretrained`.

    `from_pretrained` of any of these classes gives the student that the folder or repository holds.

    Attributes:
        recipe: How to build the network, as in `config.json`.
        metadata: What is known of its training; of a loaded student what its folder says.
        frozen: Names of its parts that do not learn.
        calibration: What comes behind its decoder, where it was calibrated.
    """

    output: Output = "metric"
    recipe: Json
    metadata: Json | None = None
    frozen: tuple[str, ...] = ()
    calibration: Calibration | None = None

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Depth (B, 1, *size) from the four maps, calibrated where it is."""
        depth = super().decode(features, size)
        return depth if self.calibration is None else self.calibration(depth)

    def calibrate(self, scale: float, shift: float, cap: float) -> None:
        """Give 1 / (scale / d + shift) metres from now on, where d is what it gives now; a relative student too.

        Its limits become what the same makes of them, but a far one no more than the larger of it and `cap`: beyond,
        nothing was measured. The far limit of a relative student has no unit, and does not count there.

        Args:
            scale, shift: As of `Calibration`.
            cap: Metres up to which the depth was measured that they are fitted to.

        Raises:
            ValueError: If no range of depth would be left.
        """
        near, far = self.limits
        most = cap if self.output == "relative" else max(cap, far)
        near, far = (1 / max(scale / limit + shift, 1 / most) for limit in (near, far))
        if self.calibration is not None:
            scale, shift = self.calibration.then(scale, shift)
        self.adopt(Calibration(scale, shift, near, far))

    def adopt(self, calibration: Calibration) -> None:
        """Let this come behind the decoder, and its limits be the student's."""
        self.calibration, self.output = calibration, "metric"
        self.min_depth, self.max_depth = calibration.min_depth, calibration.max_depth

    def settle_focal(self, focal_px: float) -> None:
        """Give metres of a camera of this focal length from now on, where it gave those of the canonical one."""
        assert self.canonical_focal is not None
        near, far = self.limits
        times = focal_px / self.canonical_focal
        scale, shift = (1.0, 0.0) if self.calibration is None else (self.calibration.scale, self.calibration.shift)
        self.adopt(Calibration(scale / times, shift / times, near * times, far * times))
        self.canonical_focal = None

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the largest depth that it gives."""
        assert self.min_depth is not None  # no student is without
        assert self.max_depth is not None
        return self.min_depth, self.max_depth

    def freeze(self, parts: Sequence[str]) -> None:
        """Let parts stay what they are: no gradients, eval mode for ever, the statistics of norms included.

        Args:
            parts: Names of its modules, such as "encoder" or "encoder.stem"; "" is all of it.

        Raises:
            ValueError: If it has no such part, or nothing is left that learns.
        """
        modules = dict(self.named_modules())
        for name in parts:
            if name not in modules:
                known = ", ".join(key for key in modules if key and key.count(".") < 2)
                raise ValueError(f"the student has no part {name!r} to freeze; it has {known}")
            modules[name].requires_grad_(False)
        if not any(parameter.requires_grad for parameter in self.parameters()):
            raise ValueError(f"with {', '.join(map(repr, parts))} frozen nothing is left that learns; freeze less")
        self.frozen = (*self.frozen, *parts)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training or eval mode, which frozen parts do not leave."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def inverse(self, output: Tensor) -> Tensor:
        """Of a relative student too the reciprocal: losses without a scale compare that of what it gives."""
        return output.reciprocal()

    def _save_pretrained(self, save_directory: Path) -> None:
        save_student(self, save_directory, self.metadata)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **model_kwargs: object,
    ) -> Student:
        if not Path(model_id).is_dir():
            model_id = snapshot_download(
                model_id,
                allow_patterns=[WEIGHTS, CONFIG, CARD],
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
        student: Student = import_module("students").load_student(model_id)  # which knows every kind
        return student

    def generate_model_card(self, *args: object, **kwargs: object) -> ModelCard:
        """The same card as in the folder."""
        return ModelCard(
            model_card(self.recipe, self.metadata or {}, self.output, self.calibration, self.canonical_focal)
        )


def save_student(student: Student, folder: str | Path, metadata: Json | None = None) -> None:
    """Write `model.safetensors`, `config.json` and the model card `README.md`, each whole or not at all.

    Args:
        student: A model of `create_student`.
        metadata: Whatever should be known of its training; readable by people, ignored by `load_student`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().cpu().contiguous() for k, v in student.state_dict().items()}
    config = {"format": 1, **student.recipe, "metadata": metadata or {}}
    if student.output != "metric":
        config["output"] = student.output
    if student.canonical_focal is not None:
        config["canonical_focal"] = student.canonical_focal
    if student.calibration is not None:
        config["calibration"] = asdict(student.calibration)
    known = student.output, student.calibration, student.canonical_focal
    card = model_card(student.recipe, config["metadata"], *known)
    try:
        with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as name:  # which goes away whatever happens
            part = Path(name)
            (part / WEIGHTS).write_bytes(to_bytes(weights, metadata={"format": "pt"}))
            (part / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
            (part / CARD).write_text(card, encoding="utf-8")
            for file in (WEIGHTS, CONFIG, CARD):
                os.replace(part / file, folder / file)
    except OSError as error:
        error.filename = error.filename or str(folder)  # a write to a full disk has none
        raise
