"""A half of a data set by the name of the set: what `data.name`, `data.root` and `data.split` stand for."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from distill.data.files.annotations import NUMBERINGS, find_annotated, has_annotated
from distill.data.files.list_files import Camera, Part
from distill.data.files.matching import with_labels
from distill.data.files.pairs import Contents
from distill.data.files.rgb_depth import DEFAULT_MAX_DEPTH, find_folder, remarks_on_halves, usual_folder_split
from distill.data.kitti.drives import find_kitti
from distill.data.kitti.listing import EIGEN, SELECTION, usual_kitti_split
from distill.data.nyu.halves import find_nyu, usual_nyu_split
from distill.data.zeroshot.published import PUBLISHED, find_published, has_half
from distill.errors import UserError

Truth = Literal["annotated", "velodyne", "raw", "filled"]
TRUTHS: dict[str, tuple[str, ...]] = {
    "kitti": ("annotated", "velodyne"),
    "nyu": ("raw", "filled"),
    "folder": (),
    **dict.fromkeys(PUBLISHED, ()),
}
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

    name: str  # "kitti", "nyu", "folder", or one of `PUBLISHED`
    root: Path
    truth: Truth | None = None  # which depth, where there are several: `TRUTHS`
    max_depth: float | None = None  # cap of a folder's ground truth in metres
    depth_scale: float | None = None  # units per metre of a folder's depth maps
    camera: Camera | None = None  # of a folder's images
    labels: Path | None = None  # what a teacher has written of its training images
    classes: int = 0  # of a folder's annotations, which then are its truth in place of depth
    numbering: str = "ade20k"  # how these count, of `NUMBERINGS`

    def find(self, part: Part, split: Path | None = None) -> Contents:
        """What a half holds, by the list `split` (a path, also relative to the root, or a name) or by what is on disk.

        The training half has its labels.

        Raises:
            UserError: If the data are not there or not what they should be.
        """
        contents = self.find_half(part, split)
        return contents if self.labels is None or part == "test" else with_labels(contents, self.labels)

    def find_half(self, part: Part, split: Path | None = None) -> Contents:
        """The same without labels."""
        if self.classes:
            return find_annotated(self.root, part).contents(NUMBERINGS[self.numbering], self.classes)
        if self.truth is not None and self.truth not in TRUTHS[self.name]:
            known = ", ".join(TRUTHS[self.name]) or "none"
            raise UserError(f"data.truth={self.truth} is no depth of {self.name}, expected one of: {known}")
        named: Path | str | None = None  # a list's name, or the path in the root at which it is missed
        if split is not None and split.is_file():
            named = split
        elif split is not None:
            named = str(split) if str(split) in NAMED_LISTS.get(self.name, ()) else self.root / split
        other: Part = "test" if part == "train" else "train"
        whole = self.root, None, ""  # a folder that nobody divided: to train on, and to evaluate on
        if named is None and self.usual(part) is None and self.usual(other) not in (None, whole):
            replace(self, depth_scale=None).find(other)  # refuses a root of another layout, and says what it holds
            what = "train" if part == "train" else "evaluate"
            raise UserError(
                f"{self.root} holds the {other} half alone, nothing to {what} on: add the {part} half, or name a list"
            )
        listed = named or self.usual(part)
        if self.name == "kitti":
            return self.unscaled(find_kitti(self.root, listed or f"eigen_{part}", self.truth))  # type: ignore[arg-type]
        if self.name == "nyu":
            return self.unscaled(find_nyu(self.root, listed or part, self.truth))  # type: ignore[arg-type]
        if self.name in PUBLISHED:
            path = Path(named) if named else None
            return self.unscaled(find_published(self.root, self.name, part, path))
        root, pairs, half = listed if isinstance(listed, tuple) else (self.root, Path(named) if named else None, "")
        contents = find_folder(root, self.max_depth or DEFAULT_MAX_DEPTH, self.depth_scale, pairs, self.camera, half)
        divided = isinstance(listed, tuple) and not (pairs or half)
        remarks = remarks_on_halves(self.root, part, contents) if divided else []
        return replace(contents, left_out=(*contents.left_out, *remarks))

    def unscaled(self, contents: Contents) -> Contents:
        """The contents of a set whose files have a scale of their own; refused where another is declared."""
        if self.depth_scale is not None:
            raise UserError(
                f"a depth scale of {self.depth_scale:g} is given for {self.name}, whose files have one of their own: "
                "leave it out, or name the data set folder"
            )
        return contents

    def usual(self, part: Part) -> Path | str | tuple[Path, Path | None, str] | None:
        """What a half is read from where no list is named; None where there is no such half."""
        if not self.root.is_dir():
            return None
        if self.name in PUBLISHED:
            return part if has_half(self.root, self.name, part) else None
        if self.name == "folder":
            return usual_folder_split(self.root, part)
        return usual_kitti_split(self.root, part) if self.name == "kitti" else usual_nyu_split(self.root, part)

    def has_half(self, part: Part) -> bool:
        """Whether there is a half to train on, or to validate on, where no list is named."""
        return has_annotated(self.root, part) if self.classes else self.usual(part) is not None


def recognise(root: Path) -> list[str]:
    """The data sets of which images to evaluate on lie in a folder, by name.

    Raises:
        UserError: If there are none.
    """
    names = []
    for name in TRUTHS:
        with suppress(UserError):
            if name != "folder" and Source(name, root).find("test").usable:
                names.append(name)
    if not names:
        for name in TRUTHS:
            if name != "folder" and Source(name, root).has_half("train"):
                Source(name, root).find("test")  # says that there is no other half
        expected = "; ".join(f"{name}: {one.sign}" for name, one in PUBLISHED.items())
        raise UserError(f"{root} holds no known data set, expected KITTI, NYU Depth V2, or one of {expected}")
    return names


def kind_of_truth(dataset: str, contents: Contents) -> str:
    """Where depth comes from, in words: by its files' names, unless the maps themselves show another kind.

    `dataset` is the one whose protocol is to score it: "kitti", "nyu" or another.
    """
    if contents.truth not in (USUAL.get(dataset), "depth maps"):
        return contents.truth
    least, less = LESS.get(dataset, (0.0, ""))
    most, more = MORE.get(dataset, (1.0, ""))
    return less if contents.measured < least else more if contents.measured > most else contents.truth
