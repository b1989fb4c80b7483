"""A model, a ghost, or whatever else predicts depth, over a data set: in one process, or shared by several."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol as Contract

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn

from distill.data import DepthDataset, Sample, TrainingSet, collate, readable
from distill.errors import UserError
from distill.evaluation import Evaluation, Outcome, Predict, Protocol, gather, interleave, score_samples
from distill.evaluation.scores import Size
from distill.inference.network import Model, Network, eval_mode, protocols_for
from distill.method import DisDepth, Guide
from teachers import DepthModel
from teachers.model import classes_of, output_of

MOST_BATCHES = 16  # of training images, from which the ghost's norms learn its statistics


class Processes(Contract):
    """What an `Accelerator` and a `PartialState` know of this process's place among all."""

    process_index: int
    num_processes: int


def evaluate(
    model: Model,
    samples: Iterable[Sample],
    protocol: Protocol,
    *,
    device: torch.device | str = "cpu",
    tta: str | None = None,
    size: Size | None = None,
    progress: Callable[[int, str], object] | None = None,
    autocast: torch.dtype | None = None,
    without_truth: Sequence[str] = (),
) -> Evaluation:
    """Evaluate a model on every sample that has ground truth, one image at a time, in this process.

    The model is in eval mode meanwhile, and afterwards in the modes it came with.

    Args:
        model: As of `Network`, as are `device`, `size` and `autocast`.
        tta: Takes the place of the protocol's, and so changes the fingerprint.
        progress: Called after every sample with how many are done and the last one's name.
        without_truth: Names of further images, known to have no ground truth: they are counted among the skipped.

    Raises:
        UserError: If no sample has a score, a frame does not suit the protocol, or an image is too small.
        ValueError: If the model's output has another shape than promised.
    """
    (protocol,) = protocols_for(model, [protocol if tta is None else protocol.with_(tta=tta)])
    network = Network(model, protocol, torch.device(device), size, autocast)
    outcomes = []
    with eval_mode(model):
        for outcome in score_samples(network, samples, [protocol]):
            outcomes.append(outcome)
            if progress:
                progress(len(outcomes), outcome.name)
    return gather(outcomes, [protocol], network.seconds, size, without_truth)[0]


def evaluate_shared(
    predict: Predict,
    dataset: DepthDataset,
    protocols: Sequence[Protocol],
    processes: Processes,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    progress: Callable[[], object] = lambda: None,
    digests: bool = False,
) -> list[Outcome] | None:
    """The outcome of every sample, in their order, on every process; None where one was interrupted before its end.

    Process r of n takes the samples r, r + n, r + 2n ...
    """
    outcomes: list[Outcome] = []
    refusal: UserError | None = None
    mine = range(processes.process_index, len(dataset), processes.num_processes)
    try:
        for outcome in score_samples(predict, readable(dataset, mine), protocols, digests=digests):
            outcomes.append(outcome)
            progress()
            if interrupted():
                break
    except UserError as error:  # raised on every process, or the others would wait for this one
        refusal = error
    parts = gather_object([(outcomes, refusal)])
    for _, refusal in parts:
        if refusal is not None:
            raise refusal
    whole = interleave([outcomes for outcomes, _ in parts])
    return whole if len(whole) == len(dataset) else None


class GhostModel(DepthModel):
    """The ghost as a model of its own (DisDepth, Table 5): the teacher seen through the student's decoder.

    While training, a live ghost normalises by its batch and keeps no statistics; the student's running ones are of
    other features. Here its norms have the mean of its own over a few batches of training images.
    """

    def __init__(self, method: DisDepth, teacher: DepthModel, batches: Iterable[Tensor]) -> None:
        super().__init__()
        self.method, self.teacher = copy.deepcopy(method).eval(), teacher
        self.canonical_focal = method.student.canonical_focal
        self.output, self.classes = output_of(method.student), classes_of(method.student)
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
        """Image (B, 3, H, W) in [0, 1] -> depth (B, 1, H, W) in metres."""
        return self.method.explain(image, Guide(self.teacher.encode(image)))["ghost"]


def training_images(samples: TrainingSet, size: int, device: torch.device) -> Iterator[Tensor]:
    """A few batches (B, 3, H, W) as training sees them."""
    size = min(size, len(samples))
    for first in range(0, min(MOST_BATCHES, len(samples) // size) * size, size):
        yield collate([samples[(0, index)] for index in range(first, first + size)]).to(device).image
