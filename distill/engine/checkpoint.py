"""Checkpoints: written aside and renamed, verified when read, rotated; and the saving of a run's state in one."""

from __future__ import annotations

import os
import pickle
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from distill.config import Config
from distill.console import warn
from distill.engine.processes import on_main
from distill.engine.run_folder import RunFolder
from distill.engine.state import Resumable, StateDict
from distill.engine.step import merge_statistics
from distill.errors import UserError, out_of_memory
from distill.files import HashingWriter, checksum, read_whole, sync_folder, write_atomically

STATE, DIGEST = "state.pt", "state.sha256"
PLACE = re.compile(r"step-\d{9,}")  # the name of a checkpoint


class DamagedError(Exception):
    """A checkpoint that is not what was written, and so passed over; one that cannot be read just now is not."""


class Checkpoints:
    """The `checkpoints/` folder of a run: one folder per step, of which the newest `keep` are kept."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep

    def paths(self) -> list[Path]:
        """Checkpoints, newest first. Whatever else lies there is somebody else's, and never touched.

        Raises:
            OSError: If the folder is there and cannot be read.
        """
        names = [path for path in listed(self.folder) if PLACE.fullmatch(path.name)]
        return sorted((path for path in names if {STATE, DIGEST} & {one.name for one in listed(path)}), reverse=True)

    def save(self, step: int, state: StateDict) -> Path:
        """Write a state of tensors and plain values; a crash at any moment leaves the older ones untouched.

        Raises:
            OSError: If it cannot be written; what was is taken away again.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clear()
        final, part = self.folder / f"step-{step:09d}", self.folder / f".part-{step:09d}"
        try:
            write_state(part, state)
            if final.exists():  # renamed rather than removed, which takes longer and could be interrupted
                os.rename(final, self.folder / f".part-old-{step:09d}")
            os.rename(part, final)
            sync_folder(self.folder)
        finally:
            self._clear()
        self._rotate(final)
        return final

    def _clear(self) -> None:
        """Remove what interrupted writes left: it would take the room that the next one needs."""
        self._recover()
        for old in listed(self.folder, ".part-"):
            remove(old)

    def _recover(self) -> None:
        """A kill between two renames leaves neither state of a step in its place: put the former one back."""
        for old in listed(self.folder, ".part-old-"):
            place = self.folder / f"step-{old.name.rpartition('-')[2]}"
            if not place.exists():
                os.rename(old, place)

    def _rotate(self, newest: Path) -> None:
        # Later ones are damaged: the run went back behind them. They must not push this one out.
        paths = self.paths()
        for old in paths[: paths.index(newest)] + paths[paths.index(newest) + self.keep :]:
            remove(old)

    def load(self) -> StateDict | None:
        """The newest state that is whole, None where there is no checkpoint; a damaged one is named and passed over.

        Raises:
            UserError: If one cannot be read just now, or all are damaged: starting afresh would cost the whole run.
        """
        path = self.folder
        try:
            self._recover()
            paths = self.paths()
            for path in paths:
                try:
                    return read_state(path)
                except DamagedError as error:
                    warnings.warn(f"checkpoint {path} is damaged ({error}) and passed over", stacklevel=2)
        except OSError as error:
            raise UserError(
                f"checkpoint {path} cannot be read ({error.strerror}); nothing was changed: mend that and continue "
                "with --resume, or choose another --output"
            ) from error
        if paths:
            raise UserError(
                f"no checkpoint in {self.folder} is whole ({len(paths)} are damaged); put a copy of one there, or "
                "remove that folder to start from step 0"
            )
        return None


def listed(folder: Path, prefix: str = "") -> list[Path]:
    """What lies in a folder under names with a prefix; nothing where there is no folder.

    Unlike `Path.glob`, which takes a folder that may not be read for an empty one.
    """
    try:
        return [folder / name for name in os.listdir(folder) if name.startswith(prefix)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove(folder: Path) -> None:
    """Take a checkpoint away, or what there is of it: its own files, and the folder where nothing else is in it."""
    with suppress(OSError):
        for path in listed(folder):
            if path.name in (STATE, DIGEST) or path.name.startswith(f".{DIGEST}."):
                path.unlink()
        folder.rmdir()


def write_state(folder: Path, state: StateDict) -> None:
    """A state and its checksum in a new folder, all of it on the disk on return."""
    folder.mkdir()
    with (folder / STATE).open("wb") as file:
        writer = HashingWriter(file)
        try:
            torch.save(state, writer)  # type: ignore[arg-type]  # which only writes and flushes
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # PyTorch's writer hides what went wrong behind one of its own
                raise error.__context__ from None
            raise
        file.flush()
        os.fsync(file.fileno())
    write_atomically(folder / DIGEST, writer.digest.hexdigest())
    sync_folder(folder)


def read_state(folder: Path) -> StateDict:
    """A state whose checksum is right, on the CPU.

    Raises:
        DamagedError: If it is not what was written, or half of it is missing.
        OSError: If it cannot be read.
        UserError: If it is whole, but nothing that this version reads.
    """
    try:
        expected = read_whole(folder / DIGEST).strip()
        if checksum(folder / STATE).encode() != expected:
            raise DamagedError("its checksum does not match")
    except FileNotFoundError as error:
        raise DamagedError(f"{Path(error.filename).name} is missing") from error
    try:
        state: StateDict = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        if out_of_memory(error):
            raise
        raise UserError(f"checkpoint {folder} is no state of a run: {' '.join(str(error).split())[:200]}") from error
    return state


@dataclass
class Saving:
    """Writes the state of a run, by its main process, and returns whether it could.

    A full disk or a vanished folder is reported, and ends the run only where `train.if_not_saved` is "stop".
    """

    accelerator: Accelerator
    config: Config
    folder: RunFolder
    checkpoints: Checkpoints
    resumable: Resumable

    def __call__(self) -> bool:
        merge_statistics(self.accelerator, self.resumable.method, self.resumable.average)
        return on_main(self.accelerator, self._write)

    def _write(self) -> bool:
        try:
            if not self.folder.config.is_file():
                warn(f"{self.folder.path} has vanished; it is made anew")
                self.folder.begin(self.config)
            self.checkpoints.save(self.resumable.state.step, self.resumable.capture())
        except OSError as error:
            self._report(error)
            return False
        return True

    def _report(self, error: OSError) -> None:
        last = "none"
        with suppress(OSError, IndexError):
            last = self.checkpoints.paths()[0].name
        failure = f"checkpoint of step {self.resumable.state.step} not written ({error}); the last good one is {last}"
        if self.config.train.if_not_saved == "stop":
            raise UserError(f"{failure}. Make room and continue with --resume, or set train.if_not_saved=go_on")
        warn(f"{failure}, the run goes on")
