"""Labels of many images: read ahead and written behind by threads, so that the network waits for neither."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType

import numpy as np

from distill.console import inform
from distill.data import DecodeError
from distill.data.files.labels import DEPTHS, IMAGES, MANIFEST, Label, Output, encode, encode_png
from distill.data.files.reading import NotDepth
from distill.errors import UserError
from distill.evaluation.scores import Size
from distill.files import checksum, write_atomically
from distill.predict.frames import Frame, read_frames
from distill.predict.inputs import Input
from distill.predict.label_plan import real_place
from distill.predict.writing import OWN_FAULTS
from distill.report import pictures

AHEAD = 2  # images that wait for each thread, on either side of the network
SIZES = 4  # batches' worth of images that wait for others of their size

Job = Callable[[], Frame | None]


# ------------------------------------------------------------------------------------------------------------- reading


class FilmFrames:
    """The frames of what moves, one a call, by any thread; None once there are no more."""

    def __init__(self, source: Input, limit: int | None) -> None:
        self.frames, self.lock, self.over = read_frames(source, limit), Lock(), False

    def __call__(self) -> Frame | None:
        frame = None
        with self.lock:
            try:
                frame = next(self.frames, None)
            finally:
                self.over = frame is None
        return frame


def _read_still(source: Input) -> Frame:
    return next(read_frames(source))


def reading_jobs(inputs: Sequence[Input], limit: int | None, share: tuple[int, int]) -> Iterator[Job]:
    """What process `share[0]` of `share[1]` has to read: every so many stills, all films, and of cameras the first."""
    for index, source in enumerate(inputs):
        if source.moving and (isinstance(source.place, Path) or share[0] == 0):
            film = FilmFrames(source, limit)
            while not film.over:
                yield film
        elif not source.moving and index % share[1] == share[0]:
            yield partial(_read_still, source)


def read_ahead(
    jobs: Iterable[Job], threads: int, skip: Callable[[DecodeError], object]
) -> Generator[Frame, None, None]:
    """The frames that jobs read, some of them ahead; of one that cannot be read `skip` is called."""
    jobs, waiting, pool = iter(jobs), deque[Future[Frame | None]](), ThreadPoolExecutor(threads)
    try:
        while True:
            while len(waiting) < AHEAD * threads and (job := next(jobs, None)):
                waiting.append(pool.submit(job))
            if not waiting:
                return
            try:
                frame = waiting.popleft().result()
            except DecodeError as error:
                skip(error)
                continue
            if frame is not None:
                yield frame
    finally:
        pool.shutdown(cancel_futures=True)


def by_size(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    """At most `size` frames of one shape together; those of other shapes wait meanwhile, but not without end."""
    waiting: dict[tuple[int, ...], list[Frame]] = {}
    for frame in frames:
        waiting.setdefault(frame.image.shape, []).append(frame)
        fullest = max(waiting, key=lambda shape: len(waiting[shape]))
        if len(waiting[fullest]) == size or sum(map(len, waiting.values())) > SIZES * size:
            yield waiting.pop(fullest)
    yield from waiting.values()


# ------------------------------------------------------------------------------------------------------------- writing


@dataclass(frozen=True)
class Provenance:
    """Whose labels they are, and what they mean: what all lines of a manifest have in common."""

    teacher: str
    fingerprint: str
    revision: str | None
    licence: str | None
    output: Output
    input_size: Size | None
    cap: float | None

    def facts(self) -> dict[str, object]:
        """As fields of a label."""
        return {key: value for key, value in vars(self).items() if key != "cap"}

    def check(self, former: Label, folder: Path) -> None:
        """Refuse to add to labels of another teacher, or to such that another size of images gave.

        Raises:
            UserError: If `former` is such a label.
        """
        if (former.fingerprint, former.output) != (self.fingerprint, self.output):
            raise UserError(
                f"{folder} holds labels of {former.teacher} ({former.fingerprint}, {former.output}), and "
                f"{self.teacher} is another teacher ({self.fingerprint}, {self.output}); choose another --output"
            )
        if former.input_size != self.input_size:
            sizes = (former.input_size, self.input_size)
            then, now = ("x".join(map(str, size)) if size else "their own size" for size in sizes)
            raise UserError(f"{folder} holds labels of images at {then}, now at {now}; give the same --size again")


@dataclass
class Account:
    """What became of the images: how many have labels, and how many of their pixels have none."""

    images: int = 0
    pixels: int = 0
    nothing: int = 0
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def skip(self, error: DecodeError) -> None:
        """Name an image that gets no label."""
        self.broken.append(str(error))
        inform(f"skipped: {error}")

    def __iadd__(self, other: Account) -> Account:
        self.images, self.pixels = self.images + other.images, self.pixels + other.pixels
        self.nothing, self.seconds = self.nothing + other.nothing, max(self.seconds, other.seconds)
        self.broken = list(dict.fromkeys([*self.broken, *other.broken]))
        return self


class LabelWriter:
    """Writes labels by threads of its own: the PNG, then its line in the manifest. It lets few images wait.

    Raises, as it is called or closed:
        UserError: If the disk takes no more. What one image's name is to blame for is that image's fault.
    """

    def __init__(self, folder: Path, by: Provenance, threads: int, account: Account) -> None:
        self.folder, self.by, self.threads, self.account = folder, by, threads, account
        self.pool, self.most = ThreadPoolExecutor(threads), AHEAD * threads
        self.waiting, self.lock = deque[tuple[Frame, Future[np.ndarray]]](), Lock()
        (folder / MANIFEST).touch()  # before any label: by this file the folder is known

    def __enter__(self) -> LabelWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while self.waiting and not isinstance(error, Exception):
                self._settle()
        finally:
            self.pool.shutdown(cancel_futures=True)

    def add(self, frame: Frame, quantity: np.ndarray, seconds: float) -> None:
        """Have the label of an image written: metres, or relative inverse depth, (H, W)."""
        self.waiting.append((frame, self.pool.submit(self._write, frame, quantity, seconds)))
        while len(self.waiting) > self.most:
            self._settle()

    def _settle(self) -> None:
        frame, future = self.waiting.popleft()
        try:
            values = future.result()
        except DecodeError as error:
            self.account.skip(error)
            return
        except OSError as error:
            if error.errno in OWN_FAULTS:
                why = f"has no label: its files cannot be written ({error.strerror})"
                self.account.skip(NotDepth(str(frame.source), why))
                return
            raise UserError(
                f"the label of {frame.source} cannot be written to {self.folder} ({error.strerror}); make room and "
                "give the same command again"
            ) from error
        self.account.images += 1
        self.account.pixels += values.size
        self.account.nothing += int((values == 0).sum())

    def _write(self, frame: Frame, quantity: np.ndarray, seconds: float) -> np.ndarray:
        values, coding = encode(quantity, self.by.output, self.by.cap)
        if not values.any():
            raise NotDepth(str(frame.source), "has no label: none of the teacher's values is a depth that 16 bits hold")
        name, (image, digest) = label_name(frame), self._image(frame)
        label = Label(
            image=image,
            sha256=digest,
            depth=f"{DEPTHS}/{name.as_posix()}.png",
            height=values.shape[0],
            width=values.shape[1],
            seconds=round(seconds, 6),
            source=None if frame.number is None else real_place(frame.source),
            **self.by.facts(),
            **coding._asdict(),
        )
        try:
            line = label.line().encode()
        except ValueError:
            raise NotDepth(str(frame.source), "has no label: its name is no UTF-8 text, rename it") from None
        write_atomically(self.folder / label.depth, encode_png(values, label))
        self._append(line)
        return values

    def _image(self, frame: Frame) -> tuple[str, str]:
        """Where the image lies, as a manifest has it, and its digest; a frame, which lies nowhere, is written first."""
        if frame.number is not None:
            path = Path(IMAGES, f"{label_name(frame)}.png")
            content = pictures.encode_png(frame.image)
            write_atomically(self.folder / path, content)
            return path.as_posix(), hashlib.sha256(content).hexdigest()
        assert isinstance(frame.source.place, Path)
        path, folder = Path(os.path.realpath(frame.source.place.parent), frame.source.place.name), self.folder.resolve()
        return (path.relative_to(folder) if folder in path.parents else path).as_posix(), checksum(path)

    def _append(self, line: bytes) -> None:
        """Add a line to the manifest, all of it or nothing, whatever other threads and processes do."""
        with self.lock, (self.folder / MANIFEST).open("ab", buffering=0) as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
            except OSError:
                file.truncate(end)
                raise


def label_name(frame: Frame) -> Path:
    """What the files of an image are called, without a suffix."""
    return frame.source.name if frame.number is None else frame.source.name / f"{frame.number:06d}"
