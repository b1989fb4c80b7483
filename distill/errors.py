"""How a command can end early, its exit codes, and the hint for a name that nobody knows."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable

DONE, FAILURE, MISTAKE = 0, 1, 2  # exit codes: done, a fault of ours, a mistake of the user's


class UserError(Exception):
    """A mistake of the user's (configuration, data, checkpoint, path), explained in one line with its fix.

    The command line prints it without a traceback and exits with `MISTAKE`.
    """


class Interrupted(Exception):
    """A command stopped by a signal. `state` says what became of its state, `way_on` how to continue it.

    `code` is the process's exit code, 128 + signal.
    """

    def __init__(self, number: int, way_on: str = "continue with --resume", state: str = "the state is saved") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {state}, {way_on}")
        self.code = 128 + number


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """ ", did you mean NAME?" with the nearest of the known names, or nothing where none is near."""
    near = difflib.get_close_matches(str(name), [str(one) for one in known], n=1)
    return f", did you mean {near[0]}?" if near else ""
