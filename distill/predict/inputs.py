"""What `distill predict` takes: images, folders, globs, videos, cameras; and what each of them is called."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from distill.data.files.probing import IMAGE_SUFFIXES
from distill.errors import UserError

VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm"}
KNOWN = IMAGE_SUFFIXES | VIDEO_SUFFIXES
VIDEO_OUT = "_colour.mp4"
FRAME = re.compile(r"(.+)_\d{6,}")  # what a frame's files are called after its video


@dataclass(frozen=True)
class Input:
    """One input: a file or a camera's number, and the name of what is written for it, without a suffix."""

    place: Path | int
    name: Path

    @property
    def moving(self) -> bool:
        """Whether it gives frames rather than one image."""
        return isinstance(self.place, int) or self.place.suffix.lower() in VIDEO_SUFFIXES

    def __str__(self) -> str:
        return f"camera {self.place}" if isinstance(self.place, int) else str(self.place)


def find_inputs(words: Sequence[str], output: Path) -> list[Input]:
    """Every image, video and camera among the words of a command, each once.

    Folders keep their inner structure, and globs that below their first folder without a wildcard. What an earlier call
    wrote into an `output` inside of them is no input.

    Raises:
        UserError: If one does not exist, or a folder or glob holds none.
    """
    result: dict[Path | int, Input] = {}
    for word in words:
        path = Path(word)
        if path.is_dir():
            sources = _inside(path, path.rglob("*"), output, f"no image or video in {path}")
        elif path.exists():
            sources = [Input(path, Path(path.stem))]
        elif word.isdecimal():
            sources = [Input(int(word), Path(f"camera{int(word)}"))]
        elif glob.has_magic(word):
            matches = map(Path, glob.glob(word, recursive=True))
            root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
            sources = _inside(root, matches, output, f"no image or video matches {word}")
        else:
            raise UserError(f"no such input: {word}; give an image, a video, a folder, a glob or a camera's number")
        for source in sources:
            result.setdefault(source.place, source)
    return list(result.values())


def _inside(root: Path, files: Iterable[Path], output: Path, otherwise: str) -> list[Input]:
    written = set() if root.resolve() == output.resolve() else set(output.rglob("*"))
    images = sorted({p for p in files if p.suffix.lower() in KNOWN and not p.name.startswith(".")} - written)
    if not images:
        raise UserError(f"{otherwise}; known are {' '.join(sorted(KNOWN))}")
    return [Input(path, Path(os.path.relpath(path, root)).with_suffix("")) for path in images]


def check_names(sources: Sequence[Input], output: Path, suffixes: Sequence[str]) -> None:
    """Refuse inputs that would write one file, or over an input. `suffixes` are those of the files of an image.

    Raises:
        UserError: If there are such.
    """
    writers: dict[Path, Input] = {}
    inputs = {source.place.resolve(): source for source in sources if isinstance(source.place, Path)}
    films = {output / source.name: source for source in sources if source.moving}
    for source in sources:
        target = output / source.name
        frame = FRAME.fullmatch(target.name)
        if frame and not source.moving and (film := films.get(target.with_name(frame[1]))):
            raise UserError(f"{film} and {source} would both write {target}.png; predict them into two folders")
        for suffix in [VIDEO_OUT] if source.moving else suffixes:
            file = target.with_name(target.name + suffix)
            if file in writers:
                raise UserError(
                    f"{writers[file]} and {source} would both write {file}; give their folder, or predict them into "
                    "two folders"
                )
            if file.resolve() in inputs:
                raise UserError(f"{inputs[file.resolve()]} would be overwritten; choose another --output")
            writers[file] = source
