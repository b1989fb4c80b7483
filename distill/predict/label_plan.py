"""What is left to be labelled of a command's inputs, and what each one's files are called."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from pathlib import Path

from distill.data.files.labels import DEPTHS, IMAGES, MANIFEST, Label, read_manifest
from distill.errors import UserError
from distill.files import checksum
from distill.predict.frames import Frame
from distill.predict.inputs import Input


@dataclass
class LabelPlan:
    """The inputs of a command that still want labels, each under a name of its own.

    Attributes:
        total: How many images that are, None where nobody knows.
        done: How many have theirs.
        frames: Of a film, by its name, the numbers of the frames that have theirs.
        former: A label of an earlier call, with which new ones must agree.
    """

    pending: list[Input] = field(default_factory=list)
    total: int | None = 0
    done: int = 0
    frames: dict[Path, set[int]] = field(default_factory=dict)
    former: Label | None = None

    def go_on(self, film: Input, labels: Sequence[Label]) -> None:
        """Take a film of which some frames have labels, under the name that it has there."""
        name = name_of(labels[-1]).parent
        self.frames[name] = {int(name_of(label).name) for label in labels if name_of(label).parent == name}
        self.done += len(self.frames[name])
        self.pending.append(replace(film, name=name))

    def wants(self, frame: Frame, rank: int, processes: int) -> bool:
        """Whether a frame of a film is for this process, and has no label; all frames of a camera are for the first."""
        if frame.number is None or isinstance(frame.source.place, int):
            return True
        return frame.number % processes == rank and frame.number not in self.frames.get(frame.source.name, ())


class FileNames:
    """Names below `depth/`, without a suffix: none is used twice, and each shows where its image comes from.

    Frames lie in a folder that has their film's name.
    """

    def __init__(self, folder: Path, labels: Iterable[Label]) -> None:
        self.folder = folder
        self.stills = {name_of(label) for label in labels if label.source is None}
        self.films = {name_of(label).parent for label in labels if label.source is not None}
        self.folders = {name.parent for name in self.stills}

    def claim(self, source: Input) -> Path:
        """The shortest free name of an input: as `distill predict` calls it, or by more of its path."""
        name = next(name for name in candidates(source) if self._free(name, source.moving))
        (self.films if source.moving else self.stills).add(name)
        self.folders.add(name.parent)
        return name

    def _free(self, name: Path, moving: bool) -> bool:
        if moving:
            used = name in self.films or name in self.folders
            return not used and not (self.folder / IMAGES / name).exists()
        return name not in self.stills and name.parent not in self.films


def candidates(source: Input) -> Iterator[Path]:
    """`b/1`, then with the suffix and more and more of its folders: `a/b/1.jpg`; with a number where all are used."""
    yield source.name
    if isinstance(source.place, Path):
        parts = Path(os.path.realpath(source.place.parent), source.place.name).parts
        for start in range(len(parts) - len(source.name.parts) - 1, 0, -1):
            yield Path(*parts[start:])
    yield from (source.name.with_name(f"{source.name.name}_{number}") for number in count(2))


def name_of(label: Label) -> Path:
    """What a label's files are called."""
    return Path(label.depth).relative_to(DEPTHS).with_suffix("")


def read_labels(folder: Path) -> list[Label]:
    """The labels of earlier calls, none in a new folder; half a line and half a file, left by a kill, are removed.

    Raises:
        UserError: If the folder holds something else.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        others = sorted(path.name for path in folder.glob("[!.]*"))
        if others:
            raise UserError(
                f"--output {folder} holds other files ({', '.join(others[:3])}) and no {MANIFEST}: it is no folder of "
                "labels; choose a new one"
            )
        return []
    for part in folder.rglob(".*.part"):
        part.unlink()
    raw = manifest.read_bytes()
    if (end := raw.rfind(b"\n") + 1) < len(raw):
        os.truncate(manifest, end)
    return read_manifest(folder) if raw[:end].strip() else []


def make_plan(inputs: Sequence[Input], folder: Path) -> LabelPlan:
    """Which inputs want labels: not those that have one in `folder` already and have not changed since.

    An image that is given by several names, as by links, is labelled once.

    Raises:
        UserError: If the folder holds something else.
    """
    labels = read_labels(folder)
    names, plan = FileNames(folder, labels), LabelPlan(former=labels[0] if labels else None)
    stills = {real(folder / label.image): label for label in labels if label.source is None}
    films: dict[str, list[Label]] = {}
    for label in labels:
        if label.source is not None and (folder / label.depth).exists():
            films.setdefault(label.source, []).append(label)
    for place, source in once(inputs).items():
        former = stills.get(place)
        if source.fault:
            plan.pending.append(source)
        elif source.moving and place in films and not has_changed(source, folder / films[place][-1].depth):
            plan.go_on(source, films[place])
        elif former is None or source.moving:
            plan.pending.append(replace(source, name=names.claim(source)))
        elif is_done(former, folder, source):
            plan.done += 1
        else:
            plan.pending.append(replace(source, name=name_of(former)))
    return plan


def once(inputs: Iterable[Input]) -> dict[str, Input]:
    """Inputs by the file that they are, of several names the first."""
    result: dict[str, Input] = {}
    for source in inputs:
        result.setdefault(real_place(source), source)
    return result


def real_place(source: Input) -> str:
    """The file that an input is, by whatever name; or which camera."""
    return real(source.place) if isinstance(source.place, Path) else str(source)


real_folder = lru_cache(os.path.realpath)  # many files lie in few folders


def real(file: Path) -> str:
    """The path of a file without links."""
    path = os.path.join(real_folder(file.parent), file.name)
    return os.path.realpath(path) if os.path.islink(path) else path


def has_changed(source: Input, label: Path) -> bool:
    """Whether a file was written after its label; a camera always has changed."""
    return isinstance(source.place, int) or source.place.stat().st_mtime > label.stat().st_mtime


def is_done(label: Label, folder: Path, image: Input) -> bool:
    """Whether an image has its label: the file is there, and the image is the one that it was made of."""
    file = folder / label.depth
    return file.exists() and (not has_changed(image, file) or checksum(Path(real_place(image))) == label.sha256)
