"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 256 * 2**20  # of a text that is read as a whole: a list of two million images


def read_whole(path: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes:
    """All bytes of a file.

    Raises:
        OSError: If it cannot be read, is larger than `most`, or is no file.
    """
    if (size := check_file(path)) > most:
        raise OSError(errno.EINVAL, f"it has {size} bytes, expected at most {most}", str(path))
    return Path(path).read_bytes()


def check_file(path: str | os.PathLike[str]) -> int:
    """The bytes of a file.

    Raises:
        OSError: If it is no file: a FIFO or a device may never end, and to open one may wait for ever.
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, expected a file", str(path))
    if not stat.S_ISREG(status.st_mode):
        kind = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}.get(stat.S_IFMT(status.st_mode), "a device")
        raise OSError(errno.EINVAL, f"it is {kind}, expected a file", str(path))
    return status.st_size


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write beside `path`, flush to the disk, then rename over it; a device or FIFO is written into, never replaced."""
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    if is_special(path):
        with _opened_special(path) as file:
            file.write(data)
    else:
        with whole_or_absent(path) as part:
            part.write_bytes(data)


@contextmanager
def whole_or_absent(path: Path, suffix: str = "") -> Iterator[Path]:
    """A new file beside `path`, to be written by whatever takes a name; it becomes `path` on leaving without an error.

    It goes away after any failure. Nobody can guess its name and put a link there; its first dot keeps one that a kill
    left from being taken for data. It ends with `suffix`, for writers that go by that. Links to `path` are followed.

    Raises:
        OSError: If it cannot be written, with the name `path`.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{secrets.token_hex(8)}.part{suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        if error.errno and error.filename in (None, str(part)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        part.unlink(missing_ok=True)


def is_special(path: Path) -> bool:
    """Whether a path is there and neither a file nor a folder: a device, a FIFO, or where the output goes already."""
    return path.exists() and not path.is_dir() and (not path.is_file() or descriptor_of(path) is not None)


def descriptor_of(path: Path) -> int | None:
    """1 or 2 where a name such as /dev/stdout stands for the standard output or error."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream and not stream.closed and os.path.samestat(path.stat(), os.fstat(stream.fileno())):
            stream.flush()
            return stream.fileno()
    return None


def _opened_special(path: Path) -> BinaryIO:
    if (number := descriptor_of(path)) is not None:
        return open(os.dup(number), "wb")
    number = os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # a FIFO that nobody reads is an error and not a wait
    os.set_blocking(number, True)
    return open(number, "wb")


def write_json(path: Path, value: object) -> None:
    """An indented JSON file, written atomically."""
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class HashingWriter:
    """A binary file that knows the checksum of what was written, so that nothing need be held or read again for it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write and digest."""
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        """Hand on what the file still holds back."""
        self.file.flush()


def checksum(*paths: Path) -> str:
    """SHA-256 of a file, or of some behind each other."""
    digest = hashlib.sha256()
    for path in paths:
        check_file(path)
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
