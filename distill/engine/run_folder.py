"""The folder of a run: claimed by one live process, never mixed with another run."""

from __future__ import annotations

import os
import socket
import warnings
from pathlib import Path

from distill.config import Config, Content, dump_config, load_config
from distill.errors import UserError
from distill.files import write_atomically

CONFIG, LOCK, DONE = "config.yaml", "run.lock", "done.json"
# Where a run lies, what is shown and kept of it, and where things come from; a teacher is known by its weights.
HARMLESS = {
    "output",
    "data.root",
    "data.workers",
    "data.max_faults",
    "data.scenes.keep",
    "teacher.checkpoint",
    "teacher.shard",
    "train.log_every",
    "train.validations",
    "train.validate_every",
    "train.checkpoint_every",
    "train.checkpoint_minutes",
    "train.keep",
    "train.if_not_saved",
    "eval.pictures",
}


class RunFolder:
    """Paths inside a run's folder, and the lock that keeps two processes from writing into it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config, self.lock, self.done = path / CONFIG, path / LOCK, path / DONE
        self.checkpoints, self.student = path / "checkpoints", path / "student"

    @property
    def finished(self) -> bool:
        """Whether the run in here is over."""
        return self.done.is_file()

    def check_same(self, config: Config, force: bool = False) -> None:
        """Refuse to continue the run in here under another configuration, naming the keys that differ.

        Args:
            force: Accept other values of keys that do not change what is learnt.
        """
        former, now = keys_of(load_config(self.config)), keys_of(config)
        differing = [key for key in now if now[key] != former.get(key)]
        harmful = [key for key in differing if key not in HARMLESS]
        if not harmful and (force or not differing):
            return
        changes = "; ".join(f"{key} was {former.get(key)!r}, now {now[key]!r}" for key in (harmful or differing)[:5])
        way = "choose another --output" if harmful else "accept that with --resume --force, or choose another --output"
        raise UserError(f"{self.path} was started with another configuration ({changes}); {way}")

    def holds_finished(self, config: Config, force: bool = False) -> bool:
        """Whether the run in here is over; refuses one of another configuration, finished or not."""
        if self.config.is_file():
            self.check_same(config, force)
        return self.config.is_file() and self.finished

    def begin(self, config: Config) -> None:
        """Write what marks this folder as that run's, and as in use."""
        self._lock()
        write_atomically(self.config, dump_config(config))

    def _lock(self) -> None:
        write_atomically(self.lock, f"{os.getpid()} {socket.gethostname()}\n")

    def claim(self, resume: bool) -> None:
        """Make the folder and lock it.

        Raises:
            UserError: If it cannot be written, is in use, or holds something and `resume` is False.
        """
        try:
            self._refuse_if_locked()
            self._refuse_if_taken(resume)
            self._lock()
        except OSError as error:
            raise UserError(
                f"output {self.path} cannot be written ({error.strerror}); choose another --output"
            ) from error

    def _refuse_if_taken(self, resume: bool) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"output {self.path} is a file; give a folder with --output")
        if not resume and self.path.is_dir() and any(p.name != LOCK for p in self.path.iterdir()):
            kind = "another run" if self.config.exists() else "other files"
            raise UserError(f"output {self.path} holds {kind}; continue it with --resume, or choose another --output")

    def _refuse_if_locked(self) -> None:
        try:
            number, host = self.lock.read_text().split()
            process = int(number)
        except (OSError, ValueError):
            return
        if host != socket.gethostname():
            warnings.warn(
                f"output {self.path} was in use by process {process} on {host}; if it still is, stop one of the two",
                stacklevel=4,
            )
        elif process != os.getpid() and is_alive(process):
            raise UserError(
                f"output {self.path} is in use by process {process}; wait for it, or choose another --output"
            )

    def release(self) -> None:
        """Let others have the folder."""
        self.lock.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    """Whether a process of that number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def keys_of(config: Config) -> Content:
    """Every value of a configuration by its dotted key, but for where the run lies."""
    return flatten(config.model_dump(mode="json", exclude={"output"}))


def flatten(tree: Content, prefix: str = "") -> Content:
    """Nested mappings as one with dotted keys."""
    flat: Content = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
