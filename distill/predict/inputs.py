"""What `distill predict` takes: images, folders, globs, videos, cameras; and what each of them is called."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path

from PIL import Image

from distill.console import inform
from distill.data.files.disk import walk, what_is
from distill.data.files.probing import DEPTH_SUFFIXES, IMAGE_SUFFIXES, holds_depth, probe_all
from distill.errors import UserError

# Beside those of data sets, what OpenCV reads.
PICTURE_SUFFIXES = IMAGE_SUFFIXES | {".jfif", ".jpe", ".gif", ".avif", ".jp2", ".dib", ".ppm", ".pgm", ".pnm"}
ANIMATIONS = {".gif", ".webp", ".avif"}  # may hold one picture or many
VIDEO_SUFFIXES = {
    *(".mp4", ".m4v", ".mov", ".3gp", ".avi", ".wmv", ".flv", ".mkv", ".webm", ".ogv", ".apng"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
}
KNOWN = PICTURE_SUFFIXES | VIDEO_SUFFIXES
VIDEO_OUT = "_colour.mp4"
FRAME = re.compile(r"(.+)_\d{6,}")  # what a frame's files are called after its video


@dataclass(frozen=True)
class Input:
    """One input: a file or a camera's number, and the name of what is written for it, without a suffix.

    `fault` says why it can never be read, where that is known; it is named in its turn.
    """

    place: Path | int
    name: Path
    fault: str | None = None

    @cached_property
    def moving(self) -> bool:
        """Whether it gives frames rather than one image."""
        if isinstance(self.place, int) or self.fault:
            return not self.fault
        suffix = self.place.suffix.lower()
        return suffix in VIDEO_SUFFIXES or (suffix in ANIMATIONS and is_animated(self.place))

    def __str__(self) -> str:
        return f"camera {self.place}" if isinstance(self.place, int) else str(self.place)


def is_animated(path: Path) -> bool:
    """Whether a picture has several frames; one that Pillow cannot read has not."""
    try:
        with Image.open(path) as picture:
            picture.seek(1)
    except (EOFError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True


def find_inputs(words: Sequence[str], output: Path) -> list[Input]:
    """Every image, video and camera among the words of a command, each once.

    Folders keep their inner structure, and globs that below their first folder without a wildcard. Links are followed;
    hidden files and folders are left out, and so is what an earlier call wrote into an `output` inside of them. Files
    of other kinds and depth maps are counted in a line each.

    Raises:
        UserError: If one does not exist, or a folder or glob holds none.
    """
    result: dict[Path | int, Input] = {}
    for word in words:
        path = Path(word)
        if os.path.isdir(path):
            odd: dict[Path, str] = {}
            sources = _inside(path, list(walk(path, odd)), odd, output, f"no image or video in {path}")
        elif os.path.exists(path):
            sources = [Input(path, Path(path.stem), None if os.path.isfile(path) else _no_file(path))]
        elif word.isdecimal():
            sources = [Input(int(word), Path(f"camera{int(word)}"))]
        elif glob.has_magic(word):
            matches = [Path(match) for match in sorted(glob.glob(word, recursive=True)) if not os.path.isdir(match)]
            odd = {match: what_is(match) for match in matches if not os.path.isfile(match)}
            root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
            sources = _inside(root, matches, odd, output, f"no image or video matches {word}")
        else:
            raise UserError(f"no such input: {word}; give an image, a video, a folder, a glob or a camera's number")
        for source in sources:
            result.setdefault(source.place, source)
    return list(result.values())


def _no_file(path: Path) -> str:
    camera = re.fullmatch(r"/dev/video(\d+)", str(path))
    return what_is(path) + (f"; of a camera give the number, {camera[1]}" if camera else "")


def _inside(root: Path, files: Sequence[Path], odd: Mapping[Path, str], output: Path, otherwise: str) -> list[Input]:
    """What of a folder or glob is an input; what is `odd` is one with a fault, unless it is of no known kind."""
    written = set() if root.resolve() == output.resolve() else set(output.rglob("*"))
    entries = sorted({*files, *odd} - written)
    folders = {path for path in odd if not path.suffix or path.is_dir()}  # that cannot be entered
    known = [path for path in entries if path.suffix.lower() in KNOWN or path in folders]
    facts = probe_all(str(path) for path in known if path.suffix.lower() in DEPTH_SUFFIXES and path not in odd)
    depth = {path for path in known if str(path) in facts and holds_depth(_below(path, root), facts[str(path)])}
    chosen = [path for path in known if path not in depth]
    if not chosen:
        left_out = f", {len(depth)} depth maps left out" if depth else ""
        raise UserError(f"{otherwise}{left_out}; known are {' '.join(sorted(KNOWN))}")
    if depth:
        inform(f"{len(depth)} depth maps left out of {root}, such as {min(depth)}; name a file to predict it")
    if others := Counter(path.suffix.lower() or "no suffix" for path in {*entries}.difference(known)):
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        inform(f"{others.total()} files of other kinds left out of {root}: {kinds}")
    return [Input(path, Path(_below(path, root)).with_suffix(""), odd.get(path)) for path in chosen]


def _below(path: Path, root: Path) -> str:
    return os.path.relpath(path, root)


def check_names(sources: Sequence[Input], output: Path, suffixes: Sequence[str]) -> None:
    """Refuse inputs that would write one file, or over an input. `suffixes` are those of the files of an image.

    Raises:
        UserError: If there are such.
    """
    writers: dict[Path, Input] = {}
    sources = [source for source in sources if not source.fault]
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
