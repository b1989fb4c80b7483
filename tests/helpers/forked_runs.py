"""Runs of `distill` in processes of their own that start in milliseconds: forked from one that has imported everything.

They are real processes, to be killed, stopped, or joined to a group; only the seconds of importing are saved.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["distill.commands.train"])


def launch(
    words: Sequence[str], log: Path, env: Mapping[str, str] | None = None, script: Path | None = None
) -> BaseProcess:
    """Start `distill`, or a script, with these words, on one thread; what it prints is appended to `log`."""
    process = CONTEXT.Process(target=_run, args=(list(words), log, {"OMP_NUM_THREADS": "1", **(env or {})}, script))
    process.start()
    return process


def launch_group(words: Sequence[str], log: Path, count: int, script: Path | None = None) -> list[BaseProcess]:
    """Start the processes of one run on this machine, as torchrun would; their logs are numbered."""
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank), **shared} for rank in range(count)]
    return [launch(words, log.with_suffix(f".{env['RANK']}"), env, script) for env in ranks]


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _run(words: Sequence[str], log: Path, env: Mapping[str, str], script: Path | None) -> None:
    os.environ.update(env)
    with log.open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    import torch

    from distill.cli import main
    from distill.console import console

    torch.set_num_threads(int(env["OMP_NUM_THREADS"]))  # libraries that are loaded already do not look there again
    console.quiet = env.get("RANK", "0") != "0"  # which was decided before this process had a rank
    if script is not None:
        sys.argv = [str(script), *words]
        runpy.run_path(str(script), run_name="__main__")
    sys.exit(main(words))
