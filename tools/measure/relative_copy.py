"""A metric teacher that forgets its metres, to tell what they are worth (configs/ablations/relative_teacher.yaml).

Its depth is inverted, and scaled and shifted anew for each image, as no relative teacher is worse off. Use it as

    PYTHONPATH=tools/measure distill ablate configs/ablations/relative_teacher.yaml
    PYTHONPATH=tools/measure distill ablate configs/ablations/relative_teacher_nyu.yaml

The second copies the model of the folder RELATIVE_COPY_OF, by default the teacher of configs/nyu/small.yaml.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from students import load_student
from teachers import create_teacher
from teachers.model import DepthModel

FURTHEST = 10.0  # the scale lies between 1 / FURTHEST and FURTHEST, the shift between minus and plus one


class RelativeCopy(DepthModel):
    """A teacher's inverse depth, a x + b with a and b that the image's own depth draws.

    Args:
        teacher: Of metres.
    """

    output = "relative"

    def __init__(self, teacher: DepthModel) -> None:
        super().__init__()
        self.teacher = teacher
        self.encoder, self.decoder = teacher.encoder, teacher.decoder
        self.feature_channels = teacher.feature_channels
        self.min_depth = self.max_depth = None

    def encode(self, image: Tensor) -> list[Tensor]:
        """The teacher's four maps, of the image as it normalises it."""
        return self.teacher.encode(image)

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Inverse depth up to scale and shift, (B, 1, *size)."""
        depth = self.teacher.decode(features, size)
        draws = torch.tensor([draw(image) for image in depth], device=depth.device).view(-1, 2, 1, 1, 1)
        return FURTHEST ** draws[:, 0] * depth.reciprocal() + draws[:, 1]


def draw(depth: Tensor) -> list[float]:
    """Two numbers between -1 and 1 that look random and that an image always gets."""
    seed = int(depth.double().sum().item() * 1e6) % 2**31
    return (2 * torch.rand(2, generator=torch.Generator().manual_seed(seed)) - 1).tolist()


def streets() -> DepthModel:
    """The copy of the teacher that ships, which knows streets."""
    return RelativeCopy(create_teacher("dpt_micro"))


def trained() -> DepthModel:
    """The copy of a trained model, of which a run's folder is named in the environment."""
    return RelativeCopy(load_student(os.environ.get("RELATIVE_COPY_OF", "runs/nyu_small_teacher")))
