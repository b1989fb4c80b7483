"""Carries out runs, some at a time, one process each."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from distill.ablation.plan import PlannedRun
from distill.console import console, inform, text_column
from distill.engine.processes import cores
from distill.engine.signals import SignalWatch
from distill.errors import Interrupted

PAUSE = 0.1  # seconds between looks at the processes
LAST_LINES = 5  # of a failed run's log
NO_PROCESS = 1  # "exit code" of a run that could not even be started


@dataclass
class Job:
    """A run in a process of its own."""

    run: PlannedRun
    process: subprocess.Popen[bytes]
    slot: int
    started: float


class Launcher:
    """Starts runs as others end. `failed` holds the exit codes of those that did not finish, by their folders.

    A run's process is not in this one's group: Ctrl-C in a terminal reaches it once, handed on from here.
    """

    def __init__(self, runs: Sequence[PlannedRun], jobs: int) -> None:
        self.waiting = [run for run in runs if not run.finished]
        self.slots = list(range(min(jobs, len(self.waiting))))[::-1]
        self.shares = shares(len(self.slots))
        self.total, self.working, self.failed = len(runs), list[Job](), dict[Path, int]()

    def launch(self) -> None:
        """Carry out what is not finished.

        Raises:
            Interrupted: After SIGINT or SIGTERM, when every run has saved its state.
        """
        with ExitStack() as stack:
            stack.callback(self.end_all)
            signals = stack.enter_context(SignalWatch())
            columns = (BarColumn(), MofNCompleteColumn(), text_column("runs"), TimeElapsedColumn())
            shown = Progress(
                *columns, text_column("{task.description}"), console=console, disable=not console.is_terminal
            )
            progress = stack.enter_context(shown)
            task = progress.add_task("", total=self.total)
            while (self.waiting or self.working) and not signals.received:
                self.drop_hopeless()
                self.start_ready()
                working = " · ".join(str(job.run) for job in self.working)
                done = self.total - len(self.waiting) - len(self.working)
                progress.update(task, completed=done, description=working)
                time.sleep(PAUSE)
                self.collect()
            if signals.received:
                self.stop_all(signals.received)
                raise Interrupted(signals.received, "continue with the same command")

    def drop_hopeless(self) -> None:
        """Give up runs that wait for one that failed."""
        for run in [run for run in self.waiting if self.failed.keys() & run.needs]:
            self.waiting.remove(run)
            self.failed[run.folder] = next(self.failed[folder] for folder in run.needs if folder in self.failed)
            inform(f"{run}: not started, as what it needs failed", "red")

    def start_ready(self) -> None:
        """Start as many of the runs that can start as there are free slots."""
        for run in [run for run in self.waiting if run.ready][: len(self.slots)]:
            self.waiting.remove(run)
            try:
                process = self.start(run, self.shares[self.slots[-1]])
            except OSError as error:  # a full disk, say: other runs may still have what they need
                self.failed[run.folder] = NO_PROCESS
                inform(f"{run}: could not be started: {error}", "red")
            else:
                self.working.append(Job(run, process, self.slots.pop(), time.monotonic()))

    def start(self, run: PlannedRun, share: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """The process of a run, with its share of the machine."""
        run.prepare()
        with run.log.open("ab") as log:
            return subprocess.Popen(
                run.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **share},
                process_group=0,
            )

    def collect(self) -> None:
        """Take note of what has ended."""
        for job in [job for job in self.working if job.process.poll() is not None]:
            self.working.remove(job)
            self.slots.append(job.slot)
            code = job.process.returncode
            if code == 0:
                inform(f"{job.run}: done in {time.monotonic() - job.started:.0f} s")
                continue
            self.failed[job.run.folder] = code
            inform(f"{job.run}: failed with exit code {code}; {job.run.log} ends with", "red")
            lines = [line for line in job.run.log.read_text(errors="replace").splitlines() if line.strip()]
            inform("\n".join(f"    {line}" for line in lines[-LAST_LINES:]))

    def stop_all(self, number: int) -> None:
        """Ask every run to save its state, and wait until it has."""
        for job in self.working:
            job.process.send_signal(number)
        inform(f"stopping: {len(self.working)} runs save their state")
        for job in self.working:
            job.process.wait()

    def end_all(self) -> None:
        """Nothing stays behind, also where a second signal or an error of ours cuts the waiting short."""
        for job in self.working:
            job.process.terminate()  # does nothing to one that has ended


# -------------------------------------------------------------------------------------------------------- the machine


def shares(jobs: int) -> list[Mapping[str, str]]:
    """The environment of each of so many processes: its share of the cores, and one of the GPUs."""
    if jobs < 2:
        return [{}] * jobs
    threads, allowed = max(cores() // jobs, 1), os.environ.get("OMP_NUM_THREADS", "")
    if allowed.isdigit():
        threads = min(threads, int(allowed))
    share = {"OMP_NUM_THREADS": str(threads)}
    devices = gpus()
    if len(devices) < 2:
        return [share] * jobs
    return [share | {"CUDA_VISIBLE_DEVICES": devices[slot % len(devices)]} for slot in range(jobs)]


def gpus() -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip()]
    return [str(number) for number in range(torch.cuda.device_count())]
