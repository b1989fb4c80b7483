"""Photographs without depth, brought to the size of the images that they are mixed with."""

from __future__ import annotations

from distill.data.augment import cover
from distill.data.pairs import Contents, PairDataset
from distill.data.sample import Sample


class Photographs(PairDataset):
    """Images of any sizes whose depth nobody has measured: 0 and valid nowhere.

    Args:
        contents: Those that there are.
        size: (height, width) that each is scaled to cover, its proportions kept; None leaves them as they are.
    """

    def __init__(self, contents: Contents, size: tuple[int, int] | None) -> None:
        super().__init__(contents)
        self.size = size

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return sample if self.size is None else cover(sample, self.size)
