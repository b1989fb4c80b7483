"""Views of a data set: kept in memory, its first samples or their depth only, what can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
from torch.utils.data import DataLoader, Dataset

from distill.data.files.reading import DecodeError
from distill.data.loader import start_worker
from distill.data.sample import DepthDataset, Sample


class InMemory(DepthDataset):
    """The samples of a small data set, read by several processes, then held: for what is dear to read or render.

    Args:
        dataset: Where they come from.
        workers: Processes that read; 0 reads in this one.
        progress: Called after every sample with how many there are.
    """

    def __init__(self, dataset: DepthDataset, workers: int, progress: Callable[[int], object] | None = None) -> None:
        self.max_depth = dataset.max_depth
        self.samples: list[Sample] = []
        source: Dataset[Sample] = dataset  # type: ignore[assignment]
        for sample in DataLoader(source, batch_size=None, num_workers=workers, worker_init_fn=start_worker):
            self.samples.append(sample)
            if progress:
                progress(len(self.samples))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


class Subset(DepthDataset):
    """The first `count` samples of a data set."""

    def __init__(self, dataset: DepthDataset, count: int) -> None:
        self.dataset, self.count, self.max_depth = dataset, min(count, len(dataset)), dataset.max_depth
        self.contents = dataset.contents and dataset.contents.first(self.count)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not -self.count <= index < self.count:
            raise IndexError(index)
        return self.dataset[index]


class PartlyLabelled(DepthDataset):
    """A data set whose first `count` samples have their depth, the others none, as if nobody had measured it."""

    def __init__(self, dataset: DepthDataset, count: int) -> None:
        self.dataset, self.count, self.max_depth = dataset, count, dataset.max_depth
        self.contents = dataset.contents

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        if index % len(self) < self.count:
            return sample
        return replace(sample, depth=np.zeros_like(sample.depth), valid=np.zeros_like(sample.valid))


def readable(dataset: DepthDataset, indices: Iterable[int] | None = None) -> Iterator[Sample]:
    """Every sample or those of `indices`; in place of one that cannot be read, an empty one whose `faults` name it."""
    for index in range(len(dataset)) if indices is None else indices:
        try:
            yield dataset[index]
        except DecodeError as error:
            nothing = np.zeros((1, 1), np.float32)
            yield Sample(np.zeros((1, 1, 3), np.uint8), nothing, nothing > 0, name=error.path, faults=(error.path,))
