"""NYU Depth V2 by its halves, mostly as pictures: BTS' folders, folders of scenes, DenseDepth's lists."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from distill.data.files.disk import Finder, check_root, names_in, wrong_layout
from distill.data.files.known_lists import NYU_FRAME, check_belongs, name_images
from distill.data.files.list_files import Part, SplitLine, read_split, refuse_masks, usual_list
from distill.data.files.pairs import Contents, Pair, PictureReader, name_under
from distill.data.files.reading import Units
from distill.data.nyu import labelled
from distill.data.nyu.labelled import FRAME, INTRINSICS, MAX_DEPTH, ROOM, TEST_FOLDER, LabelledDepth, room
from distill.data.sample import PairDataset, Sample
from distill.errors import UserError

SIGNS = ("sync/", f"{TEST_FOLDER}/", "nyu_depth_v2_labeled.mat")  # of which a root holds one, in the usual layouts
# What list lines are relative to. MDE-Toolbox and GLPDepth have the scenes in the root.
FOLDERS = ("sync", TEST_FOLDER, "official_splits/train", "test", "train", "")
HALVES: dict[Part, tuple[str, ...]] = {"train": ("sync", "official_splits/train"), "test": (TEST_FOLDER,)}
BYTE_SCALE = 255 / MAX_DEPTH  # of DenseDepth's 8-bit training maps
MEASURED = np.s_[45:472, 43:608]  # what the depth camera sees of the colour frame
DEPTH_FILE = re.compile(r"(?:^|/)(?P<scene>[^/]+)/(?:dense/)?sync_depth_(?:dense_)?(?P<number>\d+)\.")
RGB_FILE = re.compile(r"rgb_(\d+)\.(?:jpg|png)$")


class NyuDataset(PairDataset):
    """The frames of a list, named by their path.

    Args:
        root: The folder that holds `sync/` and `official_splits/`, or another of the layouts in docs/reference/data.md.
        split: A list file; or "train" or "test" for every frame that lies where this half of the set does.
        truth: Of the labelled file, "raw" (default) or "filled".
    """

    def __init__(
        self, root: str | os.PathLike[str], split: str | os.PathLike[str] = "train", truth: LabelledDepth | None = None
    ):
        super().__init__(find_nyu(Path(root), split, truth))


def find_nyu(root: Path, split: str | os.PathLike[str], truth: LabelledDepth | None = None) -> Contents:
    """The files of every line of a list, or of a half of the set."""
    check_root(root, f"the NYU Depth V2 folder that holds {' or '.join(SIGNS)}")
    file = labelled.labelled_file(root)
    if truth is not None and (file is None or split not in ("train", "test")):
        raise UserError(f"data.truth={truth} chooses a depth of nyu_depth_v2_labeled.mat, which is not what is read")
    if split not in ("train", "test"):
        if not Path(split).exists() and not any(has_half(root, part) for part in ("train", "test")):
            raise wrong_layout(root, "NYU Depth V2", SIGNS)
        return find_pictures(root, read_split(split), str(split))
    part: Part = "train" if split == "train" else "test"
    if truth is None and (lines := list(scene_lines(root, part))):
        return find_pictures(root, lines, f"all {part}ing frames")
    if truth is None and (folder := labelled.h5_folder(root, part)):
        return labelled.find_h5(root, folder)
    if file:
        return labelled.find_labelled(file, part, truth or "raw")
    raise wrong_layout(root, "NYU Depth V2", SIGNS)


def find_pictures(root: Path, lines: list[SplitLine], source: str) -> Contents:
    """The files of every line of a list."""
    check_belongs("nyu", [line.image for line in lines], source)
    refuse_masks(lines, source)
    images, depths = Finder(root, FOLDERS), Finder(root, FOLDERS)
    pairs: list[Pair] = []
    missing: list[str] = []
    for line in lines:
        check_one_frame(line)
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
        read=PictureReader(Units(usual=labelled.DEPTH_SCALE, in_bytes=BYTE_SCALE if dense_depth else None)),
    )


def check_one_frame(line: SplitLine) -> None:
    """Refuse a line whose image and depth are of different frames by their names."""
    image, depth = NYU_FRAME.search(line.image), DEPTH_FILE.search(line.depth or "")
    if image and depth and (image["scene"], int(image["number"])) != (depth["scene"], int(depth["number"])):
        raise UserError(f"'{line.image} {line.depth}': image and depth are of different frames; correct the list")


def _names(listed: str) -> list[str]:
    """What a listed file may be called: DenseDepth's lists start above their folder, data/."""
    return [listed, listed.removeprefix("data/")]


def scene_lines(root: Path, part: Part) -> Iterator[SplitLine]:
    """Every `rgb_N` with its `sync_depth_N` where this half of the set lies; none where it does not lie in pictures.

    In a root that holds scenes itself, the numbered ones are recordings for training, the others kinds of test rooms.
    """
    halves = [root / folder for folder in HALVES[part] if (root / folder).is_dir()]
    scenes = sorted(path for path in root.iterdir() if path.is_dir() and path.name not in ("sync", "official_splits"))
    wanted = [scene for scene in scenes if bool(ROOM.fullmatch(scene.name)) == (part == "train")]
    for folder in halves[:1] or wanted:
        for path in names_in(folder):
            if number := RGB_FILE.fullmatch(path.name):
                depth = path.with_name(f"sync_depth_{number[1]}.png")
                yield SplitLine(name_under(root, str(path)), name_under(root, str(depth)))


def usual_nyu_split(root: Path, part: Part) -> Path | str | None:
    """The list to take where none is named: a file of the root, else every frame of the half that is on disk."""
    if listed := usual_list(root, part):
        return listed
    return part if has_half(root, part) and not (part == "train" and usual_list(root, "test")) else None


def has_half(root: Path, part: Part) -> bool:
    """Whether a half of the set lies here in any of the layouts."""
    return root.is_dir() and any(
        (next(scene_lines(root, part), None), labelled.h5_folder(root, part), labelled.labelled_file(root))
    )


def mask_nyu_border(sample: Sample) -> Sample:
    """Take the depth of the frame's border out of training, where the depth camera saw nothing; the image stays."""
    if sample.depth.shape != FRAME:
        height, width = sample.depth.shape
        raise UserError(
            f"{sample.name} is {height}x{width}, but the border of NYU is known for frames of {FRAME[0]}x{FRAME[1]} "
            "(height x width): mask before any resizing or cropping"
        )
    depth, valid = np.zeros_like(sample.depth), np.zeros_like(sample.valid)
    depth[MEASURED], valid[MEASURED] = sample.depth[MEASURED], sample.valid[MEASURED]
    return replace(sample, depth=depth, valid=valid)
