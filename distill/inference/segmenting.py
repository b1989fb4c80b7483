"""A model of classes over annotated images: in one process, or shared by several, to the same counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from accelerate.utils import gather_object

from distill.data import DecodeError, DepthDataset, Sample
from distill.errors import UserError
from distill.evaluation.origin import digest
from distill.evaluation.segmentation import Segmentation
from distill.inference.evaluating import Processes
from distill.inference.network import Network
from teachers.model import MIN_SIDE


def segment(
    network: Network,
    samples: Iterable[Sample],
    into: Segmentation,
    *,
    step: int = 1,
    progress: Callable[[str], object] = lambda name: None,
) -> Segmentation:
    """Add every sample, whose truth is the number of each pixel's class from 1, to `into`; the unreadable are skipped.

    `step` is what the files' numbers would be off by if they counted otherwise.
    """
    for sample in samples:
        if sample.faults:
            into.skipped += sample.faults
            continue
        if network.size is None and min(sample.image.shape[:2]) < MIN_SIDE:
            into.skipped.append(f"{sample.name}: less than {MIN_SIDE} pixels on a side; enlarge images by --size HxW")
            continue
        truth = sample.depth.astype(np.int16) - 1
        into.add(sample.name, network.images([sample.image])[0], truth, step, digest(sample.image, truth))
        progress(sample.name)
    return into


def segment_shared(
    network: Network,
    dataset: DepthDataset,
    into: Segmentation,
    processes: Processes,
    *,
    step: int = 1,
    progress: Callable[[], object] = lambda: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Segmentation | None:
    """The same of a data set that processes share, on every process; None where one was interrupted before its end.

    Raises:
        UserError: If an annotation holds other classes than the model's, on every process.
    """
    refusal: UserError | None = None
    stopped = False
    try:
        for index in range(processes.process_index, len(dataset), processes.num_processes):
            try:
                segment(network, [dataset[index]], into, step=step)
            except DecodeError as error:
                into.skipped.append(str(error))
            progress()
            if stopped := interrupted():
                break
    except UserError as error:  # raised on every process, or the others would wait for this one
        refusal = error
    whole = Segmentation(into.protocol, input_size=into.input_size)
    parts = gather_object([(into, refusal, stopped)])
    for part, other, _ in parts:
        if other is not None:
            raise other
        whole.merge(part)
    return None if any(cut for *_, cut in parts) else whole
