"""The images of a training run: which come in which step, how each is changed, and the loader that reads ahead.

Everything random is drawn from (seed, epoch, index). Neither the number of processes or workers nor an interruption
changes what a step sees.
"""

from __future__ import annotations

import itertools
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from distill.data.augment import Augmentation
from distill.data.files import DecodeError
from distill.data.sample import Batch, DepthDataset, Sample, collate
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
        prepare: Applied to a sample before its augmentation, in this order.
    """

    def __init__(self, dataset: DepthDataset, augmentation: Augmentation, seed: int, prepare: Sequence[Prepare] = ()):
        self.dataset, self.augmentation, self.seed, self.prepare = dataset, augmentation, seed, tuple(prepare)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Sample:
        """The sample of a key; an index beyond the set is an image seen once more in that epoch, changed anew."""
        epoch, index = key
        return self.augmentation(self.unvaried(index), np.random.default_rng((self.seed, epoch, index)))

    def unvaried(self, index: int) -> Sample:
        """The whole sample, prepared but not augmented."""
        sample = self._read(index)
        for step in self.prepare:
            sample = step(sample)
        return sample

    def _read(self, index: int) -> Sample:
        """The first readable sample from an index on; the files that could not be read are among its faults."""
        faults: list[DecodeError] = []
        for attempt in range(MAX_TRIES):
            try:
                sample = self.dataset[(index + attempt) % len(self.dataset)]
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
    smaller than one batch is gone through several times per epoch, under indices that go on from `count`.

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
            raise UserError(
                f"batch_size {self.batch_size} makes {self._parts} micro-batches of {self.micro_batch}, which "
                f"{self.world} processes cannot share evenly: use {_divisors(self._parts)} processes, or a batch_size "
                f"that is a multiple of {self.micro_batch * self.world}"
            )

    @property
    def _parts(self) -> int:
        """Micro-batches of one global batch."""
        return self.batch_size // self.micro_batch

    @property
    def steps_per_epoch(self) -> int:
        return max(self.count // self.batch_size, 1)

    @property
    def micro_batches_per_step(self) -> int:
        """Micro-batches of one step on this process."""
        return self._parts // self.world

    def epoch(self, number: int) -> list[list[Key]]:
        """This process's micro-batches of a whole epoch, `micro_batches_per_step` for each step."""
        rng = np.random.default_rng((self.seed, number))
        rounds = math.ceil(self.batch_size / self.count)
        order = np.concatenate([turn * self.count + rng.permutation(self.count) for turn in range(rounds)])
        keys = [(number, int(index)) for index in order[: self.steps_per_epoch * self.batch_size]]
        parts = [keys[at : at + self.micro_batch] for at in range(0, len(keys), self.micro_batch)]
        # A step has a multiple of `world` parts, so counting may go on from one step to the next.
        return parts[self.rank :: self.world]

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


class _Reported(Dataset):
    """Returns a `UserError` rather than raising it: raised in a worker it would arrive as a page of traceback."""

    def __init__(self, samples: TrainingSet):
        self.samples = samples

    def __getitem__(self, key: Key) -> Sample | UserError:
        try:
            return self.samples[key]
        except UserError as error:
            return error


def _collate(samples: Sequence[Sample | UserError]) -> Batch | UserError:
    errors = [sample for sample in samples if isinstance(sample, UserError)]
    read = [sample for sample in samples if isinstance(sample, Sample)]
    by_size = {sample.depth.shape: sample for sample in read}
    if len(by_size) > 1 and not errors:
        some = ", ".join(f"{one.name} is {size[0]}x{size[1]}" for size, one in list(by_size.items())[:2])
        errors.append(UserError(f"images of several sizes cannot form a batch: {some}; set data.size or data.crop"))
    return errors[0] if errors else collate(read)


class _Loader(DataLoader):
    """Raises, in the main process, what a worker reported."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield batch


def make_loader(
    training_set: TrainingSet, batches: EpochBatches, workers: int, pin_memory: bool = False
) -> DataLoader[Batch]:
    """Micro-batches in the order of `batches`, read ahead by `workers` processes (0: in this one)."""
    return _Loader(
        _Reported(training_set),
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=pin_memory,
        collate_fn=_collate,
        worker_init_fn=start_worker,
        # Its own, or starting would draw from the generator that networks with dropout continue from.
        generator=torch.Generator().manual_seed(batches.seed),
    )


def start_worker(_: int) -> None:
    """Settings of a process that loads images."""
    # OpenCV's thread pool does not survive a fork, and the workers share the cores already.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    # Ctrl-C reaches every process of the terminal: the main one saves its state and then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
