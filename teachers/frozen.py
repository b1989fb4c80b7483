"""The one wrapper that turns any depth model into a teacher."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from teachers.fast_cpu import use_fast_layers
from teachers.model import DepthModel, classes_of, relative_inverse
from teachers.stem import fold_standardisation


class FrozenTeacher(DepthModel):
    """A depth model that cannot train: eval mode for ever, no gradients, constant work done once.

    `train()` is ignored, so a parent's `train()` leaves its BatchNorm statistics alone. The model's parameters need no
    gradient. Images and depths are as those of the wrapped model.

    Attributes:
        fingerprint: A digest of the weights that it was made of, the same on every machine.
    """

    model: DepthModel

    def __init__(self, model: DepthModel) -> None:
        super().__init__()
        self.fingerprint = fingerprint(model)
        fold_standardisation(model)
        use_fast_layers(model)
        self.model = model.requires_grad_(False).to(memory_format=torch.channels_last)
        self.feature_channels = tuple(model.feature_channels)
        self.min_depth, self.max_depth, self.output = model.min_depth, model.max_depth, model.output
        self.classes = classes_of(model)
        super().train(False)

    def train(self, mode: bool = True) -> FrozenTeacher:
        """Eval mode stays."""
        return self

    # Both are the model's: registered here, they would count twice.
    @property
    def encoder(self) -> nn.Module:  # type: ignore[override]
        """What the model's `encode` calls."""
        return self.model.encoder

    @property
    def decoder(self) -> nn.Module:  # type: ignore[override]
        """What the model's `decode` calls."""
        return self.model.decoder

    # no_grad rather than inference_mode: losses save teacher outputs for the student's backward.
    @torch.no_grad()
    def encode(self, image: Tensor) -> list[Tensor]:
        """The model's four maps, without a graph."""
        return self.model.encode(image)

    @torch.no_grad()
    def decode(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """The model's depth (B, 1, *size) from the four maps, without a graph."""
        return self.model.decode(features, size)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """The model's depth (B, 1, H, W) of an image (B, 3, H, W) in [0, 1], without a graph."""
        return self.model(image)

    def inverse(self, output: Tensor) -> Tensor:
        """As the model's."""
        return relative_inverse(self.model, output)


def fingerprint(model: nn.Module) -> str:
    """A short digest of every parameter and buffer, by name, shape and content (on the meta device there is none)."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        if not value.is_meta:
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
