"""The images of a training run: which come in which step, and how each is changed.

Everything random is drawn from (seed, epoch, index). Neither the number of processes or workers nor an interruption
changes what a step sees.
"""

from __future__ import annotations

import bisect
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
FIRST = 2**20  # stream of random numbers of the first source, where 0 would be that of the epoch's order

Key = tuple[int, int]  # epoch, index
Prepare = Callable[[Sample], Sample]


@dataclass(frozen=True)
class TrainingPart:
    """Images of one source, and what is done to each before it is varied, in this order; and others, held out of it."""

    dataset: DepthDataset
    prepare: Sequence[Prepare] = ()
    name: str = "training"
    held_out: DepthDataset | None = None


class TrainingSet(Dataset[Sample]):
    """Augmented samples by key (epoch, index).

    Args:
        dataset: Where the images come from.
        augmentation: Applied last, with a generator seeded by (seed, epoch, index).
        seed: The run's seed.
        prepare: Applied to a sample of `dataset` before its augmentation, in this order.
        others: Images of further sources, under the indices that follow.
    """

    def __init__(
        self,
        dataset: DepthDataset,
        augmentation: Augmentation,
        seed: int,
        prepare: Sequence[Prepare] = (),
        others: Sequence[TrainingPart] = (),
    ):
        self.augmentation, self.seed = augmentation, seed
        self.parts = (TrainingPart(dataset, tuple(prepare)), *others)
        self.counts = tuple(len(part.dataset) for part in self.parts)
        contents = [part.dataset.contents for part in self.parts]
        self.labels = tuple(one.labels for one in contents if one and one.labels)
        self.without_truth = all(one is not None and one.images_only for one in contents)

    def __len__(self) -> int:
        return sum(self.counts)

    def __getitem__(self, key: Key) -> Sample:
        """The sample of a key; an index beyond the set is an image seen once more in that epoch, changed anew."""
        epoch, index = key
        return self.augmentation(self.unvaried(index), np.random.default_rng((self.seed, epoch, index)))

    def unvaried(self, index: int) -> Sample:
        """The whole sample, prepared but not augmented; where some have labels, each has one, if only an empty one."""
        place = index % len(self)
        ends = list(itertools.accumulate(self.counts))
        number = bisect.bisect_right(ends, place)
        part, place = self.parts[number], place - ends[number] + self.counts[number]
        sample = read(part.dataset, place)
        if self.labels and sample.label is None:
            sample = replace(sample, label=np.full_like(sample.depth, np.nan))
        for step in part.prepare:
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


def mix(counts: Sequence[int], weights: Sequence[float]) -> tuple[int, ...]:
    """How many images an epoch draws of each source: as many as there are in all, in proportion to the weights."""
    return tuple(max(round(sum(counts) * weight / sum(weights)), 1) for weight in weights)


@dataclass(frozen=True)
class EpochBatches:
    """The keys of every step, as lists of one micro-batch each: the `batch_sampler` of a `DataLoader`.

    A step is one global batch: `batch_size` images in micro-batches of `micro_batch`, of which number m goes to
    process m % world. An epoch is a permutation drawn from (seed, epoch), without its last incomplete batch. A set
    smaller than one batch is gone through several times per epoch, under indices that go on behind the last.

    Of several sources, `counts` says how many images each has and `shown` how many an epoch draws of it; by default
    all. Images of one source come by turns: each is seen once before any is seen again, over as many epochs as that
    takes.

    Iterating yields this process's micro-batches from `start_step` up to `total_steps` (None: without end), so that
    the loader's workers live as long as the run.
    """

    counts: tuple[int, ...]
    batch_size: int
    micro_batch: int
    seed: int
    rank: int = 0
    world: int = 1
    start_step: int = 0
    total_steps: int | None = None
    shown: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if min(self.total, self.batch_size, self.micro_batch, self.world) < 1:
            raise UserError(
                f"{self.total} images, batch_size {self.batch_size}, micro_batch {self.micro_batch} and {self.world} "
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
        return sum(self.counts)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch, at least one."""
        return max(sum(self.shown or self.counts) // self.batch_size, 1)

    @property
    def micro_batches_per_step(self) -> int:
        """Micro-batches of one step on this process."""
        return self._parts // self.world

    def epoch(self, number: int) -> list[list[Key]]:
        """This process's micro-batches of a whole epoch, `micro_batches_per_step` for each step."""
        rng = np.random.default_rng((self.seed, number))
        images = np.concatenate([self.turns(number, source) for source in range(len(self.counts))])
        span = self.total * (1 + images.max() // self.total)
        rounds = math.ceil(self.batch_size / len(images))
        order = np.concatenate([turn * span + rng.permutation(images) for turn in range(rounds)])
        keys = [(number, int(index)) for index in order[: self.steps_per_epoch * self.batch_size]]
        parts = [keys[at : at + self.micro_batch] for at in range(0, len(keys), self.micro_batch)]
        # A step has a multiple of `world` parts, so counting may go on from one step to the next.
        return parts[self.rank :: self.world]

    def turns(self, epoch: int, source: int) -> np.ndarray:
        """Indices of a source's images in an epoch; one that is seen again in it goes on behind the last index."""
        count, first = self.counts[source], sum(self.counts[:source])
        shown = (self.shown or self.counts)[source]
        if shown == count and not source:
            return np.arange(count)
        cycle, place = divmod(epoch * shown, count)
        stop, stream = place + shown, source or FIRST
        order = [
            again * self.total + np.random.default_rng((self.seed, cycle + again, stream)).permutation(count)
            for again in range(max(math.ceil(stop / count), 1))
        ]
        return first + np.concatenate(order)[place:stop]

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
