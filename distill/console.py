"""What a person sees: results, one console on the error output, progress bars, and lines where there is no terminal."""

from __future__ import annotations

import io
import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from functools import partial
from types import TracebackType
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

LINE_SECONDS = 15  # between two lines of progress where there is no terminal


class PlainConsole(Console):
    """Nothing in a text is taken for markup, and a reader that has gone is an error as any other."""

    def __init__(self, stderr: bool = False, soft_wrap: bool = False, quiet: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, quiet=quiet, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        """Rich would end the process here."""
        raise


console = PlainConsole(stderr=True, soft_wrap=True, quiet=os.environ.get("RANK", "0") != "0")  # one process talks


def printable(text: object) -> str:
    """A text as a terminal may show it: what would control it, or no encoding knows, as its escape."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode() for char in str(text)
    )


def display(result: str | Table, style: str = "") -> None:
    """A table or a line of results, on the standard output, as it is."""
    out = PlainConsole()
    if isinstance(result, str):
        out.print(printable(result), style=style, soft_wrap=True)
    else:
        out.print(result)


def inform(message: object, style: str = "") -> None:
    """One line, as it is."""
    console.print(printable(message), style=style)


def warn(message: object) -> None:
    """One line that should be noticed."""
    inform(message, "yellow")


def text_column(content: str) -> TextColumn:
    """A column of a bar, in which nothing is taken for markup."""
    return TextColumn(content, markup=False)


class Unbreakable(io.TextIOBase):
    """A stream that loses what it cannot write: its disk is full, its reader or its terminal has gone."""

    def __init__(self, stream: TextIO | None) -> None:  # None: closed before this process began
        self.stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # which for a stream is an attribute
        return self.stream.encoding if self.stream else "utf-8"

    def write(self, text: str) -> int:
        """All of it, or as much as goes."""
        with suppress(OSError, ValueError):
            if self.stream:
                self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As far as it goes."""
        with suppress(OSError, ValueError):
            if self.stream:
                self.stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal, or was one."""
        return self.stream is not None and self.stream.isatty()

    def fileno(self) -> int:
        """Descriptor of the stream, for those who write past it."""
        if self.stream is None:
            raise io.UnsupportedOperation("fileno")
        return self.stream.fileno()


@contextmanager
def going_on_unheard() -> Iterator[None]:
    """Inside, what cannot be said on the error output stops nobody."""
    with redirect_stderr(Unbreakable(sys.stderr)):
        yield


def leave_output() -> None:
    """Once the standard output has failed, the interpreter would try it again at its end, and say so at length."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_output_unread() -> bool:
    """Whether the reader of the standard output has gone, as `head` does when it has its lines."""
    output = select.poll()
    output.register(1, 0)
    return any(event & select.POLLERR for _, event in output.poll(0))


class Update(Protocol):
    """Moves a bar: `completed` is how far it is, `advance` how much farther, `total` its end."""

    def __call__(
        self,
        *,
        completed: float | None = None,
        total: float | None = None,
        advance: float | None = None,
        description: str | None = None,
    ) -> None: ...


@contextmanager
def progress_bar(title: str, total: float | None = None, *, active: bool = True) -> Iterator[Update]:
    """A bar on a terminal that vanishes at its end; nothing where there is no terminal or it is not `active`."""
    columns = text_column("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not (active and console.is_terminal)) as progress:
        yield partial(progress.update, progress.add_task(title, total=total))


class StepProgress:
    """A bar with a note, such as speed and loss, on a terminal; a line now and then where there is none."""

    def __init__(self, total: int | None, done: int, title: str, active: bool = True) -> None:
        self.terminal = active and sys.stderr.isatty()
        self.lines = active and not self.terminal
        self.total, self.title, self.last_line = total, title, time.monotonic()
        columns = (
            text_column("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            text_column("{task.fields[note]}"),
        )
        self.bar = Progress(*columns, console=console, disable=not self.terminal)
        self.task = self.bar.add_task(title, total=total, completed=done, note="")

    def __enter__(self) -> StepProgress:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def update(self, done: int, note: str) -> None:
        """Show that `done` are done, with a note."""
        self.bar.update(self.task, completed=done, note=note)
        if self.lines and (time.monotonic() - self.last_line > LINE_SECONDS or done == self.total):
            self.last_line = time.monotonic()
            inform(f"{self.title}: step {done} of {self.total or '?'}, {note}")
