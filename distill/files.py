"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write beside `path`, flush to the disk, then rename over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    data = content.encode() if isinstance(content, str) else content
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


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


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
