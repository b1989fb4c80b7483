"""NYU's labelled file as pictures: the layout that most toolkits read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from distill.data.files.list_files import LIST_NAMES, Part
from distill.data.files.pairs import Contents, Pair
from distill.data.nyu.camera import DEPTH_SCALE, INTRINSICS
from distill.data.nyu.recordings import TEST_FOLDER

FOLDERS: dict[Part, str] = {"train": "sync", "test": TEST_FOLDER}


def write_pictures(
    contents: Contents, part: Part, output: Path, *, progress: Callable[[], object] = lambda: None
) -> Path:
    """Write the pairs of the labelled file as JPEG and 16-bit PNG, and their list last; returns the list.

    Millimetres are cut, not rounded, and images get a black border and quality 95, as in BTS' copies of the test half.
    """
    lines = []
    for pair in contents.usable:
        image, depth = contents.read(pair)
        stem = stem_of(pair, part)
        folder = output / FOLDERS[part]
        (folder / stem).parent.mkdir(parents=True, exist_ok=True)
        names = stem.format("rgb") + ".jpg", stem.format("sync_depth") + ".png"
        cv2.imwrite(str(folder / names[0]), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        cv2.imwrite(str(folder / names[1]), (depth * np.float32(DEPTH_SCALE)).astype(np.uint16))
        lines.append(f"{names[0]} {names[1]} {INTRINSICS[0, 0]}\n")
        progress()
    listed = output / LIST_NAMES[0].format(part=part)
    listed.write_text("".join(lines), encoding="utf-8")
    return listed


def stem_of(pair: Pair, part: Part) -> str:
    """`kitchen_0004/{}_00002`: the recording where it is known, for the test half the kind of room as in its list."""
    kind, _, number = pair.name.rpartition(" ")
    return f"{(part == 'train' and pair.scene) or kind or 'scene'}/{{}}_{number}"
