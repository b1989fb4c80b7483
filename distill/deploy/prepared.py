"""What every way to run a model comes to."""

from __future__ import annotations

from dataclasses import dataclass

from distill.deploy.latency import Call


@dataclass(frozen=True)
class Prepared:
    """A model that is ready to run in one way: the call, the bytes of its file, and of memory at its peak."""

    call: Call
    file_bytes: int
    peak_bytes: int | None
