"""Which KITTI frames: list files, Eigen's lists generated, and the benchmark's selection as it lies on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from distill.data.files.disk import wrong_layout
from distill.data.files.list_files import Part, SplitLine, default_split, drive_frame, read_split
from distill.data.files.pairs import name_under
from distill.data.kitti.eigen import eigen_test_drives, kitti_eigen_split

SIGNS = ("2011_??_??/", "data_depth_annotated/", "depth_selection/")  # of which a root holds at least one
# The folders that hold the dates: of the archives as they are, of AdaBins, GLPDepth and MDE-Toolbox.
DATES = ("", "raw", "raw_data", "input", "depth_selection")
EIGEN = {"eigen_train": "train", "eigen_trainval": "trainval", "eigen_test": "test", "eigen_test_652": "test_652"}
SELECTION = {  # folders of depth_selection/
    "selection_val": ("val_selection_cropped",),
    "selection_test": ("test_depth_prediction_anonymous", "test_depth_completion_anonymous"),
}


def kitti_lines(root: Path, split: str | os.PathLike[str]) -> tuple[list[SplitLine], str]:
    """The lines of a list file, or of a list that is known by name, and what to call it."""
    name = str(split)
    if name in EIGEN and not Path(split).is_file():
        return list(eigen_lines(name)), f"the list {name}"
    if name in SELECTION and not Path(split).is_file():
        return selection_lines(root, name), f"the list {name}"
    if not Path(split).exists() and not any(any(root.glob(os.path.join(base, s))) for base in DATES for s in SIGNS):
        raise wrong_layout(root, "KITTI", SIGNS)
    return read_split(split), name


def eigen_lines(name: str) -> Iterator[SplitLine]:
    """The lines of one of `kitti_eigen_split`'s lists, with what is known of their ground truth."""
    with_truth = {*kitti_eigen_split("train"), *kitti_eigen_split("test_652")}
    for line in kitti_eigen_split(EIGEN[name]):
        drive, _, number = line.partition(" ")
        yield drive_frame(drive, int(number), truth=line in with_truth)


def selection_lines(root: Path, name: str) -> list[SplitLine]:
    """Every image of the benchmark's selection; its depth maps are found by the names of the images."""
    folder = selection_folder(root, name)
    if folder is None:
        raise wrong_layout(root, "KITTI", [f"depth_selection/{one}/" for one in SELECTION[name]])
    images = sorted((folder / "image").glob("*.png"))
    return [SplitLine(name_under(root, str(path)), None, silent=True) for path in images]


def selection_folder(root: Path, name: str) -> Path | None:
    """Where a list of `SELECTION` lies: below the root, in its depth_selection/, or as the root itself."""
    for folder in SELECTION[name]:
        places = [root / folder, root / "depth_selection" / folder, *([root] if root.name == folder else [])]
        for place in places:
            if (place / "image").is_dir():
                return place
    return None


def usual_kitti_split(root: Path, part: Part) -> Path | str | None:
    """The list to take where none is named: a file of the root, else Eigen's. None if there is nothing to test on."""
    listed = default_split(root, part)
    if listed.is_file() or (part == "train" and default_split(root, "test").is_file()):
        return listed
    if part == "train":
        return "eigen_train"
    if any((root / base / drive).is_dir() for base in DATES for drive in eigen_test_drives()):
        return "eigen_test"
    return "selection_val" if selection_folder(root, "selection_val") else None
