"""NYU Depth V2 as pictures: BTS' sync/ and official_splits/, folders of scenes, DenseDepth's lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from distill.data.files.disk import Finder, walk, wrong_layout
from distill.data.files.known_lists import check_belongs, name_images
from distill.data.files.list_files import Part, SplitLine
from distill.data.files.pairs import Contents, Pair, PictureReader, name_under
from distill.data.nyu.camera import BYTE_SCALE, DEPTH_SCALE, INTRINSICS, MAX_DEPTH

TEST_FOLDER = "official_splits/test"
SIGNS = ("sync/", f"{TEST_FOLDER}/", "nyu_depth_v2_labeled.mat")  # of which a root holds one, in the usual layouts
# What list lines are relative to. MDE-Toolbox and GLPDepth have the scenes in the root.
FOLDERS = ("sync", TEST_FOLDER, "official_splits/train", "test", "train", "")
HALVES: dict[Part, tuple[str, ...]] = {"train": ("sync", "official_splits/train"), "test": (TEST_FOLDER,)}
ROOM = re.compile(r"(.+_\d{4})[a-z]*(?:_out)?$")  # kitchen_0028b is a part of the recording kitchen_0028
RGB_FILE = re.compile(r"rgb_(\d+)\.(?:jpg|png)$")


def find_pictures(root: Path, lines: list[SplitLine], source: str) -> Contents:
    """The files of every line of a list."""
    check_belongs("nyu", [line.image for line in lines], source)
    images, depths = Finder(root, FOLDERS), Finder(root, FOLDERS)
    pairs: list[Pair] = []
    missing: list[str] = []
    for line in lines:
        image = images.find(_names(line.image))
        depth = depths.find(_names(line.depth)) if line.depth else None
        if line.depth and not (image and depth):
            missing.append(line.depth if image else line.image)
            continue
        name = name_under(root, image) if image else line.image
        pairs.append(Pair(name, image or line.image, depth, INTRINSICS, room(name)))
    if lines and not images.hits:
        raise wrong_layout(root, "NYU Depth V2", SIGNS, f"; none of the {len(lines)} images of {source} is in it")
    dense_depth = bool(lines) and all("nyu2_train/" in line.image for line in lines)
    return Contents(
        root=root,
        source=source,
        list_name=name_images(line.image for line in lines),
        layout=f"NYU frames in {images}",
        truth="DenseDepth's 8-bit depth" if dense_depth else "depth maps",
        max_depth=MAX_DEPTH,
        pairs=tuple(pairs),
        missing=tuple(missing),
        read=PictureReader(DEPTH_SCALE, BYTE_SCALE if dense_depth else None),
    )


def _names(listed: str) -> list[str]:
    """What a listed file may be called: DenseDepth's lists start above their folder, data/."""
    return [listed, listed.removeprefix("data/")]


def room(name: str) -> str:
    """The recording that a frame is from, "" where only its kind of room is known."""
    folder = Path(name).parent.name
    numbered = ROOM.fullmatch(folder)
    return numbered[1] if numbered else ""


def scene_lines(root: Path, part: Part) -> Iterator[SplitLine]:
    """Every `rgb_N` with its `sync_depth_N` where this half of the set lies; none where it does not lie in pictures.

    In a root that holds scenes itself, the numbered ones are recordings for training, the others kinds of test rooms.
    """
    halves = [root / folder for folder in HALVES[part] if (root / folder).is_dir()]
    scenes = sorted(path for path in root.iterdir() if path.is_dir() and path.name not in ("sync", "official_splits"))
    wanted = [scene for scene in scenes if bool(ROOM.fullmatch(scene.name)) == (part == "train")]
    for folder in halves[:1] or wanted:
        for path in walk(folder):
            if number := RGB_FILE.fullmatch(path.name):
                depth = path.with_name(f"sync_depth_{number[1]}.png")
                yield SplitLine(name_under(root, str(path)), name_under(root, str(depth)))
