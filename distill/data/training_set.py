"""The images of a training run: which come in which step, and how each is changed.

Everything random is drawn from (seed, epoch, index). Neither the number of processes or workers nor an interruption
changes what a step sees.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch.utils.data import Dataset

from distill.data.augment import Augmentation
from distill.data.files.reading import DecodeError
from distill.data.sample import DepthDataset, Sample
from distill.errors import UserError

MAX_TRIES = 20  # unreadable neighbours before a set is given up

Key = tuple[int, int]  # epoch, index
Prepare = Callable[[Sample], Sample]


class TrainingSet(Dataset[Sample]):
    """Augmented samples by key (epoch, index).

    Args:
        dataset: Where the images come from.
        augmentation: Applied last, with a generator seeded by (seed, epoch, index).
        seed: The run's seed.
        prepare: Applied to a sample of `dataset` before its augmentation, in this order.
        photographs: Further images, ready to be augmented, under the indices that follow.
    """

    def __init__(
        self,
        dataset: DepthDataset,
        augmentation: Augmentation,
        seed: int,
        prepare: Sequence[Prepare] = (),
        photographs: DepthDataset | None = None,
    ):
        self.dataset, self.augmentation, self.seed, self.prepare = dataset, augmentation, seed, tuple(prepare)
        self.photographs = photographs
        parts = [dataset, *([photographs] if photographs else [])]
        self.labels = tuple(one.contents.labels for one in parts if one.contents and one.contents.labels)

    def __len__(self) -> int:
        return len(self.dataset) + (len(self.photographs) if self.photographs else 0)

    def __getitem__(self, key: Key) -> Sample:
        """The sample of a key; an index beyond the set is an image seen once more in that epoch, changed anew."""
        epoch, index = key
        return self.augmentation(self.unvaried(index), np.random.default_rng((self.seed, epoch, index)))

    def unvaried(self, index: int) -> Sample:
        """The whole sample, prepared but not augmented; where some have labels, each has one, if only an empty one."""
        index %= len(self)
        photographs = self.photographs if index >= len(self.dataset) else None
        sample = read(photographs, index - len(self.dataset)) if photographs else read(self.dataset, index)
        if self.labels and sample.label is None:
            sample = replace(sample, label=np.full_like(sample.depth, np.nan))
        for step in self.prepare if photographs is None else ():
            sample = step(sample)
        return sample


def read(dataset: DepthDataset, index: int) -> Sample:
    """The first readable sample from an index on; the files that could not be read are among its faults."""
    faults: list[DecodeError] = []
    for attempt in range(MAX_TRIES):
        try:
            sample = dataset[(index + attempt) % len(dataset)]
        except DecodeError as fault:
            faults.append(fault)
            continue
        return replace(sample, faults=(*sample.faults, *(fault.path for fault in faults)))
    raise UserError(f"{MAX_TRIES} samples in a row cannot be read, the first: {faults[0]}; check the data set")


@dataclass(frozen=True)
class EpochBatches:
    """The keys of every step, as lists of one micro-batch each: the `batch_sampler` of a `DataLoader`.

    A step is one global batch: `batch_size` images in micro-batches of `micro_batch`, of which number m goes to
    process m % world. An epoch is a permutation drawn from (seed, epoch), without its last incomplete batch. A set
    smaller than one batch is gone through several times per epoch, under indices that go on behind the last.

    With `photographs`, whose indices follow those of the `count` images, an epoch shows as many of them as makes up
    `share` of it. They come by turns: each is seen once before any is seen again, over as many epochs as that takes.

    Iterating yields this process's micro-batches from `start_step` up to `total_steps` (None: without end), so that
    the loader's workers live as long as the run.
    """

    count: int
    batch_size: int
    micro_batch: int
    seed: int
    rank: int = 0
    world: int = 1
    start_step: int = 0
    total_steps: int | None = None
    photographs: int = 0
    share: float = 0.0

    def __post_init__(self) -> None:
        if min(self.count, self.batch_size, self.micro_batch, self.world) < 1:
            raise UserError(
                f"{self.count} images, batch_size {self.batch_size}, micro_batch {self.micro_batch} and {self.world} "
                "processes: expected at least 1 of each"
            )
        if self.batch_size % self.micro_batch:
            raise UserError(
                f"batch_size {self.batch_size} is not a multiple of micro_batch {self.micro_batch}: choose a "
                f"micro_batch among {_divisors(self.batch_size)}"
            )
        if self._parts % self.world:
            each, rest = divmod(self.batch_size, self.world)
            smaller = f"set train.micro_batch={each} (or a divisor of it), " if not rest else ""
            raise UserError(
                f"batch_size {self.batch_size} makes {self._parts} micro-batches of {self.micro_batch}, which "
                f"{self.world} processes cannot share evenly: {smaller}use {_divisors(self._parts)} processes, or a "
                f"train.batch_size that is a multiple of {self.micro_batch * self.world}"
            )

    @property
    def _parts(self) -> int:
        """Micro-batches of one global batch."""
        return self.batch_size // self.micro_batch

    @property
    def total(self) -> int:
        """Images that there are."""
        return self.count + self.photographs

    @property
    def photographs_per_epoch(self) -> int:
        """Photographs that an epoch shows."""
        return round(self.count * self.share / (1 - self.share)) if self.photographs else 0

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch, at least one."""
        return max((self.count + self.photographs_per_epoch) // self.batch_size, 1)

    @property
    def micro_batches_per_step(self) -> int:
        """Micro-batches of one step on this process."""
        return self._parts // self.world

    def epoch(self, number: int) -> list[list[Key]]:
        """This process's micro-batches of a whole epoch, `micro_batches_per_step` for each step."""
        rng = np.random.default_rng((self.seed, number))
        images = np.concatenate([np.arange(self.count), self.turns(number)])
        span = self.total * (1 + images.max() // self.total)
        rounds = math.ceil(self.batch_size / len(images))
        order = np.concatenate([turn * span + rng.permutation(images) for turn in range(rounds)])
        keys = [(number, int(index)) for index in order[: self.steps_per_epoch * self.batch_size]]
        parts = [keys[at : at + self.micro_batch] for at in range(0, len(keys), self.micro_batch)]
        # A step has a multiple of `world` parts, so counting may go on from one step to the next.
        return parts[self.rank :: self.world]

    def turns(self, epoch: int) -> np.ndarray:
        """Indices of the photographs of an epoch; one that is seen again in it goes on behind the last index."""
        if not self.photographs:
            return np.zeros(0, np.int64)
        cycle, place = divmod(epoch * self.photographs_per_epoch, self.photographs)
        stop = place + self.photographs_per_epoch
        order = [
            again * self.total + np.random.default_rng((self.seed, cycle + again, 1)).permutation(self.photographs)
            for again in range(math.ceil(stop / self.photographs))
        ]
        return self.count + np.concatenate(order)[place:stop]

    def __iter__(self) -> Iterator[list[Key]]:
        first, done = divmod(self.start_step, self.steps_per_epoch)
        epochs = itertools.chain.from_iterable(self.epoch(number) for number in itertools.count(first))
        skipped = done * self.micro_batches_per_step
        stop = None if self.total_steps is None else skipped + len(self)
        return itertools.islice(epochs, skipped, stop)

    def __len__(self) -> int:
        """Micro-batches that are left for this process."""
        if self.total_steps is None:
            raise TypeError("batches without total_steps have no end and no length")
        return max(self.total_steps - self.start_step, 0) * self.micro_batches_per_step


def _divisors(number: int) -> str:
    return ", ".join(str(n) for n in range(1, number + 1) if number % n == 0)
