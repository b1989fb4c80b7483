"""How a command can end early, its exit codes, and the hint for a name that nobody knows."""

from __future__ import annotations

import difflib
import errno
import re
import signal
from collections.abc import Iterable

DONE, FAILURE, MISTAKE = 0, 1, 2  # exit codes: done, a fault of ours, a mistake of the user's
UNHEARD = 128 + 13  # nobody reads the output any more, as in `distill ... | head`: that of SIGPIPE, by any name
# What allocators say: PyTorch's, NumPy's, OpenCV's, ONNX Runtime's, the C library's.
NO_MEMORY = re.compile(
    "(can't|cannot|unable to|failed to) allocate|(not enough|out of|insufficient) (shared )?memory|bad_alloc"
    "|unable to (open|resize|mmap|write to|allocate) .{0,20}shared memory",
    re.IGNORECASE,
)
AMOUNT = re.compile(r"(?:allocate|buffer of size):? (\d[\d.]*) ?([KMGT]iB)?")
REMEDIES = {
    errno.ENOSPC: "make room, or choose another place",
    errno.EDQUOT: "make room, or choose another place",
    errno.EFBIG: "allow larger files (ulimit -f), or choose another place",
    errno.EROFS: "choose another place",
    errno.EACCES: "change the permissions, or give another path",
    errno.EPERM: "change the permissions, or give another path",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "remove the link that leads back to itself",
    errno.ENXIO: "start the program that reads it first",
    errno.EPIPE: "keep the program that reads it running",
    errno.EMFILE: "allow more open files (ulimit -n)",
}


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
    """ ", did you mean NAME?" with the nearest of the known names, or one whose first words it is; else nothing."""
    word, names = str(name), [str(one) for one in known]
    longer = [one for one in names if one.startswith((f"{word}_", f"{word}-"))]
    near = difflib.get_close_matches(word, names, n=1) or longer
    return f", did you mean {near[0]}?" if near else ""


def out_of_memory(error: BaseException) -> str | None:
    """In words that, and how much, memory could not be had, where that is what an error says; None where it is not."""
    text = str(error)
    if isinstance(error, OSError) and error.errno != errno.ENOMEM:
        return None
    if not (isinstance(error, MemoryError) or NO_MEMORY.search(text)):
        return None
    if "shared memory" in text:
        return "out of shared memory (/dev/shm), by which loading processes hand over images"
    wanted = AMOUNT.search(text)
    if wanted is None:
        return "out of memory"
    amount = f"{wanted[1]} {wanted[2]}" if wanted[2] else f"{float(wanted[1]) / 2**30:.3g} GiB"
    return f"out of memory ({amount} more could not be had)"


def explain(error: OSError) -> str:
    """What the system refused, where, and the fix, in one line."""
    reason, place = error.strerror or str(error) or type(error).__name__, error.filename
    remedy = REMEDIES.get(error.errno or 0, "check the path, or give another")
    return f"{place}: {reason}; {remedy}" if place is not None else f"{reason}; {remedy}"
