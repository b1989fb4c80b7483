"""Reading ahead: micro-batches by processes of their own, begun anew where one of those dies."""

from __future__ import annotations

import ctypes
import re
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from distill.data.sample import Batch, Sample, collate
from distill.data.training_set import EpochBatches, Key, TrainingSet
from distill.errors import UserError

MAX_DEATHS = 3  # of workers in a row, without a batch in between
# Of glibc's malloc.h, in megabytes: M_MMAP_THRESHOLD, which may be 32 at most, and M_TRIM_THRESHOLD.
MALLOC = {-3: 32, -1: 256}


# What the other end of a socket meets, by which a worker hands over the memory of a batch, where it died on the way.
TORN = (ConnectionError, EOFError, FileNotFoundError)


@dataclass(frozen=True)
class Loader:
    """The micro-batches of `batches`, in their order, read ahead by `workers` processes (0: in this one).

    A worker that dies, mostly for want of memory, takes its batches with it; they are read again by new ones.

    Raises, while it is gone through:
        UserError: If a sample cannot be used, images differ in size, or workers die one after the other.
    """

    samples: TrainingSet
    batches: EpochBatches
    workers: int
    pin_memory: bool = False

    def __iter__(self) -> Iterator[Batch]:
        done = deaths = 0
        while True:
            try:
                for batch in self._from(done):
                    if isinstance(batch, UserError):
                        raise batch
                    yield batch
                    done, deaths = done + 1, 0
                return
            except (RuntimeError, *TORN) as error:
                if not self.workers or not is_death(error):
                    raise
                deaths += 1
                message = " ".join(str(error).split())
                if deaths == MAX_DEATHS:
                    raise UserError(
                        f"processes that load images died {deaths} times in a row ({message}): if "
                        f"memory was short, lower data.workers={self.workers}; data.workers=0 shows what else it was"
                    ) from error
                warnings.warn("a process that loads images died; its images are read again", stacklevel=2)

    def _from(self, done: int) -> Iterator[Batch | UserError]:
        """Everything after the first `done` micro-batches."""
        loader: DataLoader[Sample] = DataLoader(
            _Reported(self.samples),
            batch_sampler=islice(self.batches, done, None),
            num_workers=self.workers,
            pin_memory=self.pin_memory,
            collate_fn=_Reported.collate,
            worker_init_fn=start_worker,
            # Its own, or starting would draw from the generator that networks with dropout continue from.
            generator=torch.Generator().manual_seed(self.batches.seed),
        )
        iterator = iter(loader)
        if self.workers and threading.current_thread() is threading.main_thread():
            # PyTorch's handler raises wherever the program is, also within a step. A death is seen when a batch is due.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return iterator


def is_death(error: Exception) -> bool:
    """Whether an error of PyTorch's loader says that a worker died; what it caught in one says so by `Caught`."""
    message = str(error)
    if isinstance(error, TORN):
        return not message.startswith("Caught ")
    return "DataLoader worker" in message and re.search("exited unexpectedly|killed by signal", message) is not None


@dataclass(frozen=True)
class _Reported(Dataset):
    """Returns a `UserError` rather than raising it: raised in a worker it would arrive as a page of traceback."""

    samples: TrainingSet

    def __getitem__(self, key: Key) -> Sample | UserError:
        try:
            return self.samples[key]
        except UserError as error:
            return error

    @staticmethod
    def collate(samples: Sequence[Sample | UserError]) -> Batch | UserError:
        """A batch, or the first refusal among its samples."""
        errors = [sample for sample in samples if isinstance(sample, UserError)]
        read = [sample for sample in samples if isinstance(sample, Sample)]
        by_size = {sample.depth.shape: sample for sample in read}
        if len(by_size) > 1 and not errors:
            some = ", ".join(f"{one.name} is {size[0]}x{size[1]}" for size, one in list(by_size.items())[:2])
            errors.append(UserError(f"images of several sizes cannot form a batch: {some}; set data.size or data.crop"))
        return errors[0] if errors else collate(read)


def start_worker(_: int) -> None:
    """Settings of a process that loads images."""
    # OpenCV's thread pool does not survive a fork, and the workers share the cores already.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    # Ctrl-C reaches every process of the terminal, a scheduler's SIGUSR1 every one of a job: the main one minds them.
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let this process reuse the megabytes of one image for the next: glibc would give them back and get them anew.

    Every page so got is cleared first, which can cost as much as decoding.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # another C library
        return
    for parameter, megabytes in MALLOC.items():
        mallopt(parameter, megabytes * 2**20)
