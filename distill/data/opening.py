"""A half of a data set by the name of the set: what `data.name`, `data.root` and `data.split` stand for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distill.data.files.list_files import Camera, Part
from distill.data.files.pairs import Contents
from distill.data.files.rgb_depth import DEFAULT_MAX_DEPTH, find_folder, usual_folder_split
from distill.data.kitti.drives import find_kitti
from distill.data.kitti.listing import EIGEN, SELECTION, usual_kitti_split
from distill.data.nyu.halves import find_nyu, usual_nyu_split
from distill.errors import UserError

Truth = Literal["annotated", "velodyne", "raw", "filled"]
TRUTHS: dict[str, tuple[str, ...]] = {"kitti": ("annotated", "velodyne"), "nyu": ("raw", "filled"), "folder": ()}
DATA_SETS = (*TRUTHS, "scenes")
# The words for depth as protocols mean it, and what it is instead where less or more of its pixels are measured: in a
# single scan 4 % are, in annotated depth 14 to 21 %; a Kinect leaves a fifth of the colour frame empty.
USUAL = {"kitti": "official annotated depth", "nyu": "raw depth"}
LESS = {"kitti": (0.08, "single Velodyne scans")}
MORE = {"kitti": (0.75, "dense depth"), "nyu": (0.95, "filled depth")}
NAMED_LISTS = {"kitti": (*EIGEN, *SELECTION), "nyu": ("train", "test"), "folder": ()}


@dataclass(frozen=True)
class Source:
    """A data set on disk."""

    name: str  # "kitti", "nyu" or "folder"
    root: Path
    truth: Truth | None = None  # which depth, where there are several: `TRUTHS`
    max_depth: float | None = None  # cap of a folder's ground truth in metres
    depth_scale: float | None = None  # units per metre of a folder's depth maps
    camera: Camera | None = None  # of a folder's images

    def find(self, part: Part, split: Path | None = None) -> Contents:
        """What a half holds, by the list `split` (a path, also relative to the root, or a name) or by what is on disk.

        Raises:
            UserError: If the data are not there or not what they should be.
        """
        if self.truth is not None and self.truth not in TRUTHS[self.name]:
            known = ", ".join(TRUTHS[self.name]) or "none"
            raise UserError(f"data.truth={self.truth} is no depth of {self.name}, expected one of: {known}")
        named: Path | str | None = None  # a list's name, or the path in the root at which it is missed
        if split is not None and split.is_file():
            named = split
        elif split is not None:
            named = str(split) if str(split) in NAMED_LISTS[self.name] else self.root / split
        if self.name == "kitti":
            listed = named or usual_kitti_split(self.root, part) or f"eigen_{part}"
            return find_kitti(self.root, listed, self.truth)  # type: ignore[arg-type]
        if self.name == "nyu":
            return find_nyu(self.root, named or usual_nyu_split(self.root, part) or part, self.truth)  # type: ignore[arg-type]
        root, pairs = (self.root, Path(named)) if named else usual_folder_split(self.root, part)
        return find_folder(root, self.max_depth or DEFAULT_MAX_DEPTH, self.depth_scale, pairs, self.camera)

    def has_test_half(self) -> bool:
        """Whether there is a half to validate on where no list is named."""
        if not self.root.is_dir():
            return False
        if self.name == "folder":
            return usual_folder_split(self.root, "test") != (self.root, None)
        usual = usual_kitti_split if self.name == "kitti" else usual_nyu_split
        return usual(self.root, "test") is not None


def kind_of_truth(dataset: str, contents: Contents) -> str:
    """Where depth comes from, in words: by its files' names, unless the maps themselves show another kind.

    `dataset` is the one whose protocol is to score it: "kitti", "nyu" or another.
    """
    if contents.truth not in (USUAL.get(dataset), "depth maps"):
        return contents.truth
    least, less = LESS.get(dataset, (0.0, ""))
    most, more = MORE.get(dataset, (1.0, ""))
    return less if contents.measured < least else more if contents.measured > most else contents.truth
