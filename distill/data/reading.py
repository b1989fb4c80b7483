"""Going through a data set once, without stopping at a file that cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from distill.data.files import DecodeError
from distill.data.sample import DepthDataset, Sample


def readable(dataset: DepthDataset, indices: Iterable[int] | None = None) -> Iterator[Sample]:
    """Every sample or those of `indices`; in place of one that cannot be read, an empty one whose `faults` name it."""
    for index in range(len(dataset)) if indices is None else indices:
        try:
            yield dataset[index]
        except DecodeError as error:
            nothing = np.zeros((1, 1), np.float32)
            yield Sample(np.zeros((1, 1, 3), np.uint8), nothing, nothing > 0, name=error.path, faults=(error.path,))
