"""A model, or whatever else predicts depth, over a data set: in one process, or shared by several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol as Contract

import torch
from accelerate.utils import gather_object

from distill.data import DepthDataset, Sample, readable
from distill.evaluation import Evaluation, Outcome, Predict, Protocol, gather, interleave, score_samples
from distill.evaluation.scores import Size
from distill.inference.network import Model, Network, eval_mode


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
    protocol = protocol if tta is None else protocol.with_(tta=tta)
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
) -> list[Outcome] | None:
    """The outcome of every sample, in their order, on every process; None where one was interrupted before its end.

    Process r of n takes the samples r, r + n, r + 2n ...
    """
    outcomes = []
    mine = range(processes.process_index, len(dataset), processes.num_processes)
    for outcome in score_samples(predict, readable(dataset, mine), protocols):
        outcomes.append(outcome)
        progress()
        if interrupted():
            break
    whole = interleave(gather_object([outcomes]))
    return whole if len(whole) == len(dataset) else None
