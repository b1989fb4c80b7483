"""The records of a run while it goes on: `metrics.jsonl` and TensorBoard."""

from __future__ import annotations

import json
import math
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distill.console import warn
from distill.files import write_atomically

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Tracker:
    """Writes records of a run. Losing TensorBoard or the disk is warned of once and never stops a run.

    Args:
        folder: The run's folder.
        step: The step a resumed run starts from; later records of `metrics.jsonl` are dropped.
        active: False on every process but the main one, which makes all calls do nothing.
    """

    def __init__(self, folder: Path, step: int = 0, active: bool = True) -> None:
        self.active = active
        self.writer: SummaryWriter | None = None
        self.path = folder / "metrics.jsonl"
        self.lost = False
        self.started = time.monotonic()
        if not active:
            return
        self._forget_after(step)
        threading.excepthook = report_thread
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(folder), purge_step=step + 1)  # hides that step and all later
        except Exception as error:  # any failure of a tracker is only warned of
            self._lose(error)

    def _forget_after(self, step: int) -> None:
        """A killed run may have logged steps that its last checkpoint does not hold; they will be logged again.

        The clock goes on from the last record that is kept.
        """
        try:
            lines = [line for line in self.path.read_bytes().splitlines() if record_number(line, "step") <= step]
            write_atomically(self.path, b"".join(line + b"\n" for line in lines))
        except FileNotFoundError:
            return
        except OSError as error:
            warnings.warn(f"former records of the run stay as they are: {error}", stacklevel=4)
            return
        seconds = record_number(lines[-1], "seconds") if lines else 0.0
        self.started -= seconds if math.isfinite(seconds) else 0.0

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """One record: `kind` is "train" or "val"; values are plain numbers."""
        if not self.active:
            return
        seconds = round(time.monotonic() - self.started, 3)
        self._append(json.dumps({"kind": kind, "step": step, "seconds": seconds, **values}))

        def add_all(board: SummaryWriter) -> None:
            for key, value in values.items():
                board.add_scalar(f"{kind}/{key}", value, step)

        self._write(add_all)

    def _append(self, line: str) -> None:
        """One line more, on the disk at once. The file is opened each time: its folder may vanish meanwhile."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(f"{line}\n")
            self.lost = False
        except OSError as error:
            if not self.lost:
                warnings.warn(f"records of the run are lost until they can be written again: {error}", stacklevel=3)
            self.lost = True

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        """An RGB picture (H, W, 3), uint8, for TensorBoard."""
        if self.active:
            self._write(lambda board: board.add_image(name, picture, step, dataformats="HWC"))

    def _write(self, action: Callable[[SummaryWriter], object]) -> None:
        if self.writer is None:
            return
        try:
            action(self.writer)
        except Exception as error:  # a full disk under TensorBoard is no reason to lose a run
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        self.writer = None
        warnings.warn(f"TensorBoard is off for the rest of this run: {error}", stacklevel=3)

    def close(self) -> None:
        """Finish the files of TensorBoard."""
        if self.active:
            self._write(lambda board: board.close())


def report_thread(failure: threading.ExceptHookArgs) -> None:
    """Report what ended a thread; nothing of TensorBoard's own, which raises the same at its next record."""
    if not type(failure.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(failure)


class Announcer:
    """Warns of what is wrong with a record of values, of each thing once.

    Args:
        symptoms: Values of a step -> what is wrong, in words, by name.
    """

    def __init__(self, symptoms: Callable[[Mapping[str, float]], Mapping[str, str]]) -> None:
        self.symptoms = symptoms
        self.announced: set[str] = set()

    def __call__(self, record: Mapping[str, float]) -> None:
        for name, words in self.symptoms(record).items():
            if name not in self.announced:
                self.announced.add(name)
                warn(words)


def record_number(line: bytes | str, name: str) -> float:
    """A number, such as "step", of one line of metrics.jsonl; infinite where the line is torn."""
    try:
        return float(json.loads(line)[name])
    except (ValueError, KeyError, TypeError, RecursionError):
        return math.inf
