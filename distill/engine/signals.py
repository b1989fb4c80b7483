"""Ctrl-C, termination and SIGUSR1: the step is finished, the state saved, the promised exit code returned."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import NoReturn

from distill.errors import Interrupted

ECHO = 2.0  # seconds in which a second signal is the first once more: a launcher hands on what its terminal sent it


class SignalWatch:
    """Remembers SIGINT, SIGTERM and SIGHUP in `received` instead of dying of them; a second one is obeyed at once.

    SIGHUP, of a terminal that closes, stays ignored under nohup. SIGUSR1 asks for a checkpoint and nothing else: it
    sets `save_asked`, which whoever saves takes back.
    """

    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

    def __init__(self) -> None:
        self.received: int | None = None
        self.save_asked = False

    def __enter__(self) -> SignalWatch:
        deaf = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        heard = [number for number in self.watched if not (deaf and number == signal.SIGHUP)]
        self.former = {number: signal.signal(number, self._remember) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            self.save_asked = True
        elif self.received is None:
            self.received, self.since = number, time.monotonic()
        elif time.monotonic() - self.since > ECHO:
            raise Interrupted(number, state="at once, what was saved before stays")


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Inside, SIGTERM unwinds what is open (locks, workers, half-written files) and ends the process with 143.

    So does SIGHUP, with 129, unless nohup has it ignored. SIGUSR1 does nothing while there is nothing to save; left
    alone it would kill.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    former = {signal.SIGTERM: signal.signal(signal.SIGTERM, end)}
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        former[signal.SIGHUP] = signal.signal(signal.SIGHUP, end)
    former[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
