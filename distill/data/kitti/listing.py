"""Which KITTI frames: list files, Eigen's split generated from facts, and the benchmark's selection as it lies on disk.

Nothing is downloaded: frames per drive, strides and gaps make up Eigen's lists, sets of lines `date/drive frame`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from distill.data.files.disk import wrong_layout
from distill.data.files.list_files import Part, SplitLine, drive_frame, read_split, usual_list
from distill.data.files.pairs import name_under

SIGNS = ("2011_??_??/", "data_depth_annotated/", "depth_selection/")  # of which a root holds at least one
# The folders that hold the dates: of the archives as they are, of AdaBins, GLPDepth and MDE-Toolbox.
DATES = ("", "raw", "raw_data", "input", "depth_selection")
EIGEN = {"eigen_train": "train", "eigen_trainval": "trainval", "eigen_test": "test", "eigen_test_652": "test_652"}
SELECTION = {  # folders of depth_selection/
    "selection_val": ("val_selection_cropped",),
    "selection_test": ("test_depth_prediction_anonymous", "test_depth_completion_anonymous"),
}
# Training drives: date, then drive:frames.
TRAIN_DRIVES = """
2011_09_26 1:108 5:154 11:233 14:314 15:297 17:114 18:270 19:481 22:800 28:430 32:390 35:131 39:395 51:438 57:361 60:78
  61:703 70:420 79:100 87:729 91:340 95:268 104:312 113:87
2011_09_28 1:106
2011_09_29 4:339 26:158
2011_09_30 20:1104 28:5177 33:1594 34:1224
2011_10_03 34:4663 42:1170
"""
# Test drives: date, then drive:first+stride[position:gap,...], the gaps being those that differ from the stride.
TEST_DRIVES = """
2011_09_26 2:0+3[21:6] 9:0+16[11:20] 13:0+5[2:10,3:10,8:10,11:10] 20:0+3[7:6,8:6,10:6,23:6] 23:18+18[11:36]
  27:0+7[14:14,20:14] 29:0+14[14:72,15:28] 36:0+32[22:64] 46:0+5 48:0+1 52:0+2[11:4,15:4] 56:11+11[10:22]
  59:0+14[11:28,16:36] 64:0+22[5:44] 84:49+13[8:26] 86:7+27[19:54] 93:0+16[16:49] 96:0+19 101:80+34[4:68]
  106:15+8[0:20] 117:0+26[19:52]
2011_09_28 2:0+3[4:6,7:6,11:6,18:9,19:6]
2011_09_29 71:0+36[17:123,20:72,23:103]
2011_09_30 16:0+11[8:22] 18:0+107[2:214,20:172] 27:0+41[16:97,22:82]
2011_10_03 27:0+181[3:191,11:362] 47:0+32[7:64]
"""
# Test frames without official ground truth: date, then drive:frames.
TEST_WITHOUT_TRUTH = """
2011_09_26 2:0,3,72,75 9:0 13:0,140 20:0,3,84 27:0 29:0 36:0,800 46:0,120 48:0,1,2,3,4,17,18,19,20,21 52:0,2,4 59:0,372
  64:0 93:0 96:0 117:0
2011_09_28 2:0,3
2011_09_29 71:0,1054
2011_09_30 16:0,275 18:0 27:0
2011_10_03 27:0 47:0
"""
FRAMES_PER_TEST_DRIVE = 25
SHORT_TEST_DRIVE = {48: 22}  # all of its frames
WITHOUT_TRUTH_AT_ENDS = 5  # frames at either end of a drive that official ground truth lacks


def kitti_eigen_split(name: str) -> list[str]:
    """Lines `date/drive frame`, sorted, of a part of the Eigen split.

    Args:
        name: "test" (697 frames), "test_652" (those with official ground truth), "train" (23158, BTS' list) or
            "trainval" (23488, every frame of the training drives).

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in EIGEN.values():
        raise ValueError(f"unknown part {name!r} of KITTI's Eigen split, known are {', '.join(EIGEN.values())}")
    if name in ("train", "trainval"):
        ends = WITHOUT_TRUTH_AT_ENDS if name == "train" else 0
        drives = _parse(TRAIN_DRIVES)
        return sorted(_line(date, drive, i) for date, drive, rest in drives for i in range(ends, int(rest) - ends))
    lines = {_line(date, drive, i) for date, drive, rule in _parse(TEST_DRIVES) for i in _test_frames(drive, rule)}
    if name == "test_652":
        missing = _parse(TEST_WITHOUT_TRUTH)
        lines -= {_line(date, drive, int(i)) for date, drive, frames in missing for i in frames.split(",")}
    return sorted(lines)


def eigen_test_drives() -> set[str]:
    """The `date/drive`s of the test frames."""
    return {line.partition(" ")[0] for line in kitti_eigen_split("test")}


def _line(date: str, drive: int, frame: int) -> str:
    return f"{date}/{date}_drive_{drive:04d}_sync {frame:010d}"


def _parse(table: str) -> list[tuple[str, int, str]]:
    """Rows (date, drive, rest) of one of the tables above."""
    rows, date = [], ""
    for word in table.split():
        drive, colon, rest = word.partition(":")
        if colon:
            rows.append((date, int(drive), rest))
        else:
            date = word
    return rows


def _test_frames(drive: int, rule: str) -> list[int]:
    """Frames of one test drive: an arithmetic progression with irregular gaps."""
    first, stride, gaps = re.fullmatch(r"(\d+)\+(\d+)(?:\[(.*)\])?", rule).groups()  # type: ignore[union-attr]
    irregular = dict(pair.split(":") for pair in gaps.split(",")) if gaps else {}
    frames = [int(first)]
    for position in range(SHORT_TEST_DRIVE.get(drive, FRAMES_PER_TEST_DRIVE) - 1):
        frames.append(frames[-1] + int(irregular.get(str(position), stride)))
    return frames


def kitti_lines(root: Path, split: str | os.PathLike[str]) -> tuple[list[SplitLine], str]:
    """The lines of a list file, or of a list that is known by name, and what to call it."""
    name = str(split)
    if name in EIGEN and not Path(split).is_file():
        with_truth = {*kitti_eigen_split("train"), *kitti_eigen_split("test_652")}
        frames = [(line, *line.split()) for line in kitti_eigen_split(EIGEN[name])]
        lines = [drive_frame(drive, int(number), truth=line in with_truth) for line, drive, number in frames]
        return lines, f"the list {name}"
    if name in SELECTION and not Path(split).is_file():
        folder = selection_folder(root, name)
        if folder is None:
            raise wrong_layout(root, "KITTI", [f"depth_selection/{one}/" for one in SELECTION[name]])
        images = sorted((folder / "image").glob("*.png"))  # by the names of which their depth maps are known
        return [SplitLine(name_under(root, str(path)), None, silent=True) for path in images], f"the list {name}"
    if not Path(split).exists() and not any(any(root.glob(os.path.join(base, s))) for base in DATES for s in SIGNS):
        raise wrong_layout(root, "KITTI", SIGNS)
    return read_split(split), name


def selection_folder(root: Path, name: str) -> Path | None:
    """Where a list of `SELECTION` lies: below the root, in its depth_selection/, or as the root itself."""
    for folder in SELECTION[name]:
        places = [root / folder, root / "depth_selection" / folder, *([root] if root.name == folder else [])]
        for place in places:
            if (place / "image").is_dir():
                return place
    return None


def usual_kitti_split(root: Path, part: Part) -> Path | str | None:
    """The list to take where none is named: a file of the root, else Eigen's. None if there is nothing of this half."""
    if listed := usual_list(root, part):
        return listed
    drives = {line.partition(" ")[0] for line in kitti_eigen_split(part)}
    if not (part == "train" and usual_list(root, "test")) and has_drive(root, drives):
        return f"eigen_{part}"
    return "selection_val" if part == "test" and selection_folder(root, "selection_val") else None


def has_drive(root: Path, drives: set[str]) -> bool:
    """Whether one of these `date/drive`s lies in a root."""
    return any((root / base / drive).is_dir() for base in DATES for drive in drives)
