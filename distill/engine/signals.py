"""Ctrl-C and termination: the step is finished, the state saved, the promised exit code given."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class SignalWatch:
    """Remembers SIGINT and SIGTERM instead of dying of them; a second one is obeyed at once."""

    watched = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> SignalWatch:
        self.former = {number: signal.signal(number, self._remember) for number in self.watched}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
