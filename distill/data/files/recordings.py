"""Recordings of depth cameras, as they and their tools write them: which image belongs to which depth map."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from distill.data.files.clocks import LATEST, joined, partners, seconds
from distill.data.files.disk import names_in
from distill.data.files.list_files import SplitLine
from distill.data.files.pairs import name_under
from distill.data.files.probing import DEPTH_SUFFIXES, IMAGE_SUFFIXES
from distill.errors import UserError
from distill.files import read_whole

Clock = Mapping[float, str]  # files by their time in seconds
Role = Literal["image", "depth", "mask", "other"]
Key = tuple[str, ...]  # what is left of a path without the words that say what a file is

# The first of these words in a file's name says what it is, else in the folder it lies in, and so on; masks are masks
# whatever they are of.
WORDS: dict[Role, tuple[str, ...]] = {
    "image": ("image", "images", "img", "rgb", "color", "colors", "colour", "colours", "left", "wide"),
    "depth": ("depth", "depths", "gt"),
    "mask": ("mask", "masks", "valid"),
    "other": ("right", "ir", "infra", "infrared", "conf", "confidence", "normal", "normals", "pose", "poses", "label"),
}
ROLES = {word: role for role, words in WORDS.items() for word in words}
NEUTRAL = {"frame", "frames", "aligned", "registered", "to", "raw", "rect", "sync", "lowres", "camera", "data"}
TOKEN = re.compile(r"[^\W\d_]+|\d+(?:\.\d+)?")
ASSOCIATIONS = ("associations.txt", "association.txt", "associate.txt", "assoc.txt")
TUM_UNITS = 5000.0  # a metre, of its depth maps
OF_RECORD3D, OF_ROS = "export it as EXR + RGB in Record3D", "write its frames out with the tools of ROS"
INSIDE = {  # recordings whose frames lie inside a file, by its suffix: how they are written out
    ".r3d": OF_RECORD3D,
    ".depth": OF_RECORD3D,  # of an .r3d that was unpacked
    ".bag": f"{OF_ROS}, or of a RealSense with rs-convert",
    ".db3": OF_ROS,
    ".mcap": OF_ROS,
    ".sens": "write its frames out with ScanNet's SensReader",
    ".svo": "write its frames out with ZED's SDK",
    ".svo2": "write its frames out with ZED's SDK",
    ".oni": "write its frames out with OpenNI",
}
FILMS = {
    ".mkv": "write its frames out with Open3D's azure_kinect_mkv_reader.py",
    **dict.fromkeys(
        (".mp4", ".mov"), "write a film's frames beside its depth, called as that (ffmpeg -i FILE rgb/%06d.png)"
    ),
}
COMPRESSED = (".jpg", ".jpeg", ".webp", ".bmp")  # of files that cannot hold depth


@dataclass(frozen=True)
class Recordings:
    """Which files belong together, how that is known, and what is left out, both in words.

    `units` are those of the depth maps a metre, where the kind of recording says so; `unknown_units` says why those of
    integers have to be asked for.
    """

    lines: list[SplitLine]
    layout: str
    units: float | None = None
    left_out: tuple[str, ...] = ()
    unknown_units: str = ""


@dataclass
class RecordedFiles:
    """The files of a root by what they are, and of each kind by their keys."""

    images: dict[Key, str] = field(default_factory=dict)
    depths: dict[Key, str] = field(default_factory=dict)
    masks: dict[Key, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    doubles: list[tuple[str, str, str]] = field(default_factory=list)


def find_recordings(root: Path) -> Recordings | None:
    """The images and depth maps in and below a folder that belong together by their names or by time.

    None where none do.

    Raises:
        UserError: If two files have one name, or clocks do not overlap.
    """
    files = sort_files(name_under(root, str(path)) for path in names_in(root))
    matches = {depth: files.images[key] for key, depth in files.depths.items() if key in files.images}
    left = RecordedFiles(
        {key: name for key, name in files.images.items() if key not in files.depths},
        {key: name for key, name in files.depths.items() if key not in files.images},
    )
    timed = by_time(left, partners if matches else joined)
    ways = {"by name": matches, f"by time, at most {LATEST:g} s apart": timed}
    how = " and ".join(way for way, some in ways.items() if some)
    matches |= timed
    if not matches:
        return None
    for role, one, other in files.doubles:
        raise UserError(f"{one} and {other} have one name, expected one {role} per name: remove or rename one")
    masks = {depth: files.masks.get(key) for key, depth in files.depths.items()}
    depth_of = {image: depth for depth, image in matches.items()}
    lines = [
        SplitLine(image, depth := depth_of.get(image), mask=masks[depth] if depth else None)
        for image in files.images.values()
    ]
    alone = [depth for depth in files.depths.values() if depth not in matches]
    remarks = [f"{len(alone)} depth maps have no image, such as {alone[0]}"] if alone else []
    remarks += [f"{len(files.others)} other pictures are left out, such as {files.others[0]}"] if files.others else []
    unread = [mask for key, mask in files.masks.items() if key not in files.depths]
    remarks += [f"{len(unread)} masks are of no depth map and not read, such as {unread[0]}"] if unread else []
    count = len({PurePosixPath(image).parent for image in matches.values()})
    where = f"images in {places(matches.values())}, depth maps in {places(matches)}"
    layout = f"{count} recording{'s' * (count > 1)}: {where}, joined {how}"
    return Recordings(lines, layout, left_out=tuple(remarks))


def how_to_unpack(paths: Iterable[Path], kinds: Mapping[str, str]) -> str:
    """What to do with the first of some files that holds a recording's frames; empty where none does."""
    packed = next((path for path in paths if path.suffix.lower() in kinds), None)
    return f"{packed.name} holds frames inside: {kinds[packed.suffix.lower()]}" if packed else ""


def sort_files(names: Iterator[str]) -> RecordedFiles:
    """The files by what their paths say that they are."""
    files = RecordedFiles()
    for name in names:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix not in IMAGE_SUFFIXES | DEPTH_SUFFIXES:
            continue
        role, key = read_path(name)
        by_role = {"image": files.images, "depth": files.depths, "mask": files.masks}.get(role)
        fits = suffix in IMAGE_SUFFIXES if role == "image" else suffix not in COMPRESSED
        if by_role is None or not fits:
            files.others.append(name)
        elif (other := by_role.setdefault(key, name)) != name:
            files.doubles.append((role, other, name))
    return files


def read_path(name: str) -> tuple[Role, Key]:
    """What a file is, and what is left of its path without the words that say so.

    Its own name decides, else a folder of such words alone (`depth/`, before `left_room/`), else any folder.
    """
    path = PurePosixPath(name)
    parts = [TOKEN.findall(part) for part in (*path.parts[:-1], path.stem)]
    plain = [all(is_word(token) for token in part if token.isalpha()) for part in parts]
    *folders, own = range(len(parts))
    order = [own, *sorted(folders, key=lambda place: (plain[place], place), reverse=True)]
    roles = {place: [ROLES[token.lower()] for token in parts[place] if token.lower() in ROLES] for place in order}
    deciding = next((place for place in order if roles[place]), own)
    kept = [
        [token for token in part if not is_word(token)] if plain[place] or place in (own, deciding) else part
        for place, part in enumerate(parts)
    ]
    words = [token.lower() for token in parts[deciding]]
    role: Role = "mask" if {"mask", "masks"} & {*words} else (roles[deciding] or ["image"])[0]
    return role, tuple(" ".join(part) for part in kept if part)


def is_word(token: str) -> bool:
    """Whether a part of a name says what a file is and not which."""
    return token.lower() in ROLES or token.lower() in NEUTRAL


def by_time(files: RecordedFiles, join: Callable[[Clock, Clock], dict[str, str]]) -> dict[str, str]:
    """The image of each depth map by the times in their names, recording by recording."""
    clocks: defaultdict[Key, tuple[dict[float, str], dict[float, str]]] = defaultdict(lambda: ({}, {}))
    for number, some in enumerate((files.images, files.depths)):
        for key, name in some.items():
            *before, last = key or ("",)
            time = seconds(last.split()[-1]) if last else None
            if time is not None:
                clocks[(*before, *last.split()[:-1])][number][time] = name
    matches: dict[str, str] = {}
    for images, depths in clocks.values():
        if images and depths:
            matches |= join(images, depths)
    return matches


def places(names: Iterable[str]) -> str:
    """Where most of some files lie: the last of their folders."""
    folders = Counter(PurePosixPath(name).parent.name or "." for name in names)
    return f"{folders.most_common(1)[0][0]}/"


def find_associations(root: Path) -> Recordings | None:
    """The pairs of TUM's lists of a sequence or of several: `associations.txt`, or `rgb.txt` beside `depth.txt`.

    Lists whose pairs all have equal names need not be TUM's: no units are known of theirs.
    """
    lines: list[SplitLine] = []
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        listed = next((folder / name for name in ASSOCIATIONS if (folder / name).is_file()), None)
        pairs: Mapping[str, str] = {}
        if listed is not None:
            pairs = dict(read_association(listed))
        elif all((folder / name).is_file() for name in ("rgb.txt", "depth.txt")):
            images, depths = (read_stamps(folder / name) for name in ("rgb.txt", "depth.txt"))
            pairs = joined(images, depths) if images and depths else {}
        prefix = "" if folder == root else f"{folder.name}/"
        lines += [SplitLine(prefix + image, prefix + depth) for depth, image in pairs.items()]
    if not lines:
        return None
    if all(PurePosixPath(line.image).stem == PurePosixPath(str(line.depth)).stem for line in lines):
        return Recordings(lines, "it has lists of pairs as TUM, of equal names")
    used = {str(PurePosixPath(name)) for line in lines for name in (line.image, str(line.depth))}
    pictures = (name_under(root, str(path)) for path in names_in(root) if path.suffix.lower() in IMAGE_SUFFIXES)
    others = [name for name in pictures if name not in used]
    left_out = (f"{len(others)} pictures are in no list and left out, such as {others[0]}",) if others else ()
    layout = f"lists of TUM RGB-D, {TUM_UNITS:g} units a metre unless data.depth_scale says otherwise"
    return Recordings(sorted(lines, key=lambda line: line.image), layout, TUM_UNITS, left_out)


def read_association(path: Path) -> Iterator[tuple[str, str]]:
    """The depth map and image of each line of `time file time file`, in either order."""
    for number, columns in columns_of(path):
        files = {read_path(name)[0]: name for name in columns[1::2]}
        if len(columns) != 4 or files.keys() != {"image", "depth"}:
            raise UserError(f"{path}:{number}: expected 'time rgb/FILE time depth/FILE', as TUM's associate.py writes")
        yield files["depth"], files["image"]


def read_stamps(path: Path) -> dict[float, str]:
    """The files of a list of TUM's by their time in seconds."""
    try:
        return {float(columns[0]): columns[1] for _, columns in columns_of(path)}
    except (ValueError, IndexError):
        raise UserError(f"{path} is not a list of a TUM sequence, expected lines of 'seconds file'") from None


def columns_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The columns of each line that is no comment, with the line's number."""
    try:
        text = read_whole(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path} is not a list of a TUM sequence, expected lines of 'seconds file'") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if (columns := line.split()) and not columns[0].startswith("#"):
            yield number, columns
