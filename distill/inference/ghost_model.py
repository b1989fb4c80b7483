"""The ghost as a model of its own, to be evaluated beside teacher and student (DisDepth, Table 5)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from distill.data import TrainingSet, collate
from distill.method import DisDepth, Guide
from teachers import DepthModel

MOST_BATCHES = 16  # of training images, from which the ghost's norms learn its statistics


class GhostModel(nn.Module):
    """The teacher seen through the student's decoder: image (B, 3, H, W) in [0, 1] -> depth (B, 1, H, W) in metres.

    While training, a live ghost normalises by its batch and keeps no statistics; the student's running ones are of
    other features. Here its norms have the mean of its own over a few batches of training images.
    """

    def __init__(self, method: DisDepth, teacher: DepthModel, batches: Iterable[Tensor]) -> None:
        super().__init__()
        self.method, self.teacher = copy.deepcopy(method).eval(), teacher
        if method.ghost is None:  # a fixed one has those of its own training
            self.settle(batches)

    @torch.no_grad()
    def settle(self, batches: Iterable[Tensor]) -> None:
        """Let the decoder's norms take on the statistics of the ghost's features."""
        student = self.method.student
        norms = [norm for norm in student.decoder.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all that is seen
            norm.train()
        for image in batches if norms else ():
            levels = self.method.acclimate(self.teacher.encode(image), student.encode(image))
            student.decoder([level.y for level in levels], tuple(image.shape[-2:]))
        student.eval()

    def forward(self, image: Tensor) -> Tensor:
        return self.method.explain(image, Guide(self.teacher.encode(image)))["ghost"]


def training_images(samples: TrainingSet, size: int, device: torch.device) -> Iterator[Tensor]:
    """A few batches (B, 3, H, W) as training sees them."""
    size = min(size, len(samples))
    for first in range(0, min(MOST_BATCHES, len(samples) // size) * size, size):
        yield collate([samples[(0, index)] for index in range(first, first + size)]).to(device).image
