"""NYU Depth V2 as pictures (BTS' folders, folders of scenes, DenseDepth's lists), and facts of its frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from distill.data.files.disk import Finder, walk, wrong_layout
from distill.data.files.known_lists import check_belongs, name_images
from distill.data.files.list_files import Part, SplitLine
from distill.data.files.pairs import Contents, Pair, PictureReader, name_under

FRAME = (480, 640)  # height, width
MAX_DEPTH = 10.0  # metres
DEPTH_SCALE = 1000.0  # units per metre of 16-bit depth maps
BYTE_SCALE = 255 / MAX_DEPTH  # of DenseDepth's 8-bit training maps
MEASURED = np.s_[45:472, 43:608]  # what the depth camera sees of the colour frame
COLOURED = np.s_[7:474, 7:632]  # what of the colour frame is left in BTS' copies; a black border is around it
# Of the colour camera, from the data set's toolbox.
INTRINSICS = np.array([[518.8579, 0, 325.58], [0, 519.4696, 253.74], [0, 0, 1]])

LABELLED = 1449
# Frames of the test half, counted from 0, as runs; all others are for training.
TEST_RUNS = """
0-1 8 13-17 20 27-42 45-46 55-56 58-62 75-78 83-90 116-118 124-128 130-133 136 152-154 166-168 170-175 179-201 206-211
219-221 249 263 270-272 278-284 295-301 309-311 314-316 324-334 350-351 354-363 383-389 394-396 410-413 429-434
440-447 461-465 468-476 507-512 514-525 530-532 536-538 548-550 554-570 578-582 590-593 602-606 611-612 616-620
632-637 643-644 649-650 655-657 662-663 667-672 675-680 685-689 692-693 696-698 705-712 716-717 723-727 730-733
742-743 758-786 799-803 809-813 820-822 832-845 849-851 856-861 868-870 905-907 916-918 925-927 931-934 944-946
958-961 964-966 969-976 990-994 1000-1003 1009-1011 1020-1022 1031-1033 1037-1038 1047-1048 1051-1052 1056-1057
1074-1083 1087-1095 1097-1103 1105-1108 1116-1118 1122-1130 1134-1135 1143-1157 1161-1166 1169-1170 1173-1175
1178-1183 1191-1195 1200-1211 1215-1219 1225-1229 1232-1234 1246-1249 1253-1264 1274-1279 1284-1294 1296-1298
1301-1307 1313-1314 1328-1331 1334-1339 1346-1348 1352-1355 1363-1364 1367-1368 1383-1390 1393-1400 1406-1413
1420-1423 1429-1432 1440-1448
"""

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


def nyu_labelled_split(name: str) -> list[int]:
    """Numbers of the labelled frames of a half, "train" (795) or "test" (654), counted from 0.

    Raises:
        ValueError: If the name is neither.
    """
    if name not in ("train", "test"):
        raise ValueError(f"unknown half {name!r} of NYU's labelled frames, known are train, test")
    runs = [[int(number) for number in run.split("-")] for run in TEST_RUNS.split()]
    test = {number for run in runs for number in range(run[0], run[-1] + 1)}
    return [number for number in range(LABELLED) if (number in test) == (name == "test")]
