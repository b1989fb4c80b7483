"""The folder of a run: claimed by one live process, never mixed with another run."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import warnings
from contextlib import suppress
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
    "eval.protocol",
    "eval.tta",
    "eval.limit",
    "eval.pictures",
}
SOURCE = re.compile(r"^data\.sources\.\d+\.")  # what is harmless of the data is so of each source
# What a run that was killed before it wrote its configuration leaves, and what a scheduler writes for it.
BEGINNINGS = re.compile(r"run\.lock|alignment\.json|events\..*|\..*|.*\.(log|out|err)")


class RunFolder:
    """Paths inside a run's folder, and the lock that keeps two processes from writing into it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config, self.lock, self.done = path / CONFIG, path / LOCK, path / DONE
        self.checkpoints, self.student = path / "checkpoints", path / "student"
        self.held: int | None = None  # descriptor of the lock

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
        harmful = [key for key in differing if SOURCE.sub("data.", key) not in HARMLESS]
        if not harmful and (force or not differing):
            return
        changes = "; ".join(f"{key} was {former.get(key)!r}, now {now[key]!r}" for key in (harmful or differing)[:5])
        way = "choose another --output" if harmful else "accept that with --resume --force, or choose another --output"
        raise UserError(f"{self.path} was started with another configuration ({changes}); {way}")

    def holds_finished(self, config: Config, force: bool = False) -> bool:
        """Whether the run in here is over and all is there; refuses one of another configuration, finished or not."""
        if self.config.is_file():
            self.check_same(config, force)
        results = [self.student / "model.safetensors", self.student / "config.json", self.path / "report.html"]
        return self.config.is_file() and self.finished and all(path.is_file() for path in results)

    def begin(self, config: Config) -> None:
        """Write what marks this folder as that run's, and as in use."""
        if self.held is None or not self._is_ours(self.held):  # the folder has vanished meanwhile
            self.release()
            self._lock()
        write_atomically(self.config, dump_config(config))

    def claim(self, resume: bool) -> None:
        """Make the folder and lock it, for as long as this process lives.

        Raises:
            UserError: If it cannot be written, is in use, or holds something and `resume` is False; other programs'
                files are not resumed either.
        """
        try:
            self._refuse_if_foreign()
            self._lock()
            if not resume and any(path.name != LOCK for path in self.path.iterdir()):
                self.release()
                kind = "another run" if self.config.exists() else "other files"
                raise UserError(
                    f"output {self.path} holds {kind}; continue it with --resume, or choose another --output"
                )
        except OSError as error:
            raise UserError(
                f"output {self.path} cannot be written ({error.strerror}); choose another --output"
            ) from error

    def _refuse_if_foreign(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"output {self.path} is a file; give a folder with --output")
        if self.config.is_file() or not self.path.is_dir():
            return
        if any(self.checkpoints.glob("step-*/state.sha256")):
            warnings.warn(f"{self.config} is lost; the run goes on by the configuration that was given", stacklevel=4)
            return
        others = sorted(path.name for path in self.path.iterdir() if not BEGINNINGS.fullmatch(path.name))
        if others:
            raise UserError(
                f"output {self.path} holds other files ({', '.join(others[:3])}) and no {CONFIG}: it is no run's "
                "folder; choose another --output"
            )

    def _lock(self) -> None:
        """Lock the folder in one step. The system lets go of the lock of a process that ends, however it ends."""
        self.path.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            try:
                # Unlike flock's, not inherited by processes that load images and may outlive this one.
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                holder = os.read(descriptor, 200).decode(errors="replace").split()
                os.close(descriptor)
                raise UserError(
                    f"output {self.path} is in use by process {' on '.join(holder)}; wait for it, or choose another "
                    f"--output (if no run goes on there, delete {self.lock})"
                ) from None
            except OSError as error:
                warnings.warn(f"{self.lock} cannot be locked ({error.strerror}); let no other run use it", stacklevel=4)
            if self._is_ours(descriptor):
                break
            os.close(descriptor)  # of one that its run has just released
        self._sign(descriptor)
        self.held = descriptor

    def _is_ours(self, descriptor: int) -> bool:
        """Whether an open file is the one that lies in the lock's place."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(descriptor), self.lock.lstat())
        return False

    def _sign(self, descriptor: int) -> None:
        """Write who holds the lock, for messages; a note of another machine may be of a run that still goes on."""
        number, *host = os.read(descriptor, 200).decode(errors="replace").split() or [""]
        if number.isdigit() and host and host[0] != socket.gethostname():
            warnings.warn(
                f"output {self.path} was in use by process {number} on {host[0]}; if it still is, stop one of the two",
                stacklevel=5,
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Let others have the folder."""
        if self.held is not None:
            if self._is_ours(self.held):
                self.lock.unlink()
            os.close(self.held)
            self.held = None


def keys_of(config: Config) -> Content:
    """Every value of a configuration by its dotted key, but for where the run lies."""
    return flatten(config.model_dump(mode="json", exclude={"output"}))


def flatten(tree: Content, prefix: str = "") -> Content:
    """Nested mappings, also in lists, as one with dotted keys."""
    flat: Content = {}
    for key, value in tree.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = dict(enumerate(value))
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
