"""The ghost decoder: the student's decoder as constants, of this very moment or of a training that is over."""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call

from teachers.model import DepthModel


def ghost_decode(student: DepthModel, features: list[Tensor], size: tuple[int, int]) -> Tensor:
    """Depth from `features` by the student's decoder, through which gradients pass but where none stay.

    Parameters are detached, not copied, so the ghost is the student at every step. Buffers are cloned: BatchNorm uses
    batch statistics while training, as the student does, but its running ones are the student's own affair.

    Args:
        student: The depth model whose decoder is meant.
        features: Four maps in the shape of the student's.
        size: (H, W) of the depth wanted.

    Returns:
        Depth in metres, (B, 1, H, W).
    """
    decoder = student.decoder
    constants = {name: parameter.detach() for name, parameter in decoder.named_parameters()}
    constants |= {name: buffer.clone() for name, buffer in decoder.named_buffers()}
    return functional_call(decoder, constants, (features, size))


class FixedGhost(nn.Module):
    """The decoder of a student that is already trained, as a ghost that stays what it is (DisDepth, section 3.3).

    Its BatchNorm uses the statistics of that training, so that acclimated maps must take on the scale of its features.

    Args:
        trained: The depth model whose decoder is meant.
    """

    def __init__(self, trained: DepthModel) -> None:
        super().__init__()
        self.decoder = trained.decoder
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> FixedGhost:
        return self

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Depth in metres, (B, 1, H, W), from four maps in the shape of the student's."""
        return self.decoder(features, size)
