"""Students on the Hugging Face Hub: a student's folder is what goes up and comes down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from torch import nn

from students.card import model_card
from students.student_folder import CARD, CONFIG, WEIGHTS, save_student
from teachers.model import DepthModel, Output


class Student(ModelHubMixin, DepthModel):
    """What every student can do beside estimating depth: `save_pretrained`, `push_to_hub`, and `from_pretrained`.

    `from_pretrained` of any of these classes gives the student that the folder or repository holds.

    Attributes:
        recipe: How to build the network, as in `config.json`.
        metadata: What is known of its training; of a loaded student what its folder says.
    """

    output: Output = "metric"
    recipe: Mapping[str, Any]
    metadata: Mapping[str, Any] = {}
    load: ClassVar[Callable[[Path], nn.Module]]  # given by the package, which knows all kinds

    def _save_pretrained(self, save_directory: Path) -> None:
        save_student(self, save_directory, self.metadata)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Any:
        if Path(model_id).is_dir():
            return cls.load(Path(model_id))
        known = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        given = {name: options[name] for name in known}
        return cls.load(Path(snapshot_download(model_id, allow_patterns=[WEIGHTS, CONFIG, CARD], **given)))

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The same card as in the folder."""
        return ModelCard(model_card(self.recipe, self.metadata))
