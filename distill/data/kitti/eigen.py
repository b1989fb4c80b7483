"""The Eigen split of KITTI, generated from facts: frames per drive, strides and gaps. Nothing is downloaded.

A list is a set of lines `date/drive frame`.
"""

from __future__ import annotations

import re

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
    parts = {"test": test_lines, "test_652": test_lines_with_truth, "train": train_lines, "trainval": trainval_lines}
    if name not in parts:
        raise ValueError(f"unknown part {name!r} of KITTI's Eigen split, known are {', '.join(parts)}")
    return sorted(parts[name]())


def eigen_test_drives() -> set[str]:
    """The `date/drive`s of the test frames."""
    return {line.partition(" ")[0] for line in test_lines()}


def line(date: str, drive: int, frame: int) -> str:
    return f"{date}/{date}_drive_{drive:04d}_sync {frame:010d}"


def parse(table: str) -> list[tuple[str, int, str]]:
    """Rows (date, drive, rest) of one of the tables above."""
    rows, date = [], ""
    for word in table.split():
        if ":" not in word:
            date = word
            continue
        drive, rest = word.split(":", 1)
        rows.append((date, int(drive), rest))
    return rows


def trainval_lines() -> list[str]:
    return [line(date, drive, i) for date, drive, frames in parse(TRAIN_DRIVES) for i in range(int(frames))]


def train_lines() -> list[str]:
    ends = WITHOUT_TRUTH_AT_ENDS
    drives = parse(TRAIN_DRIVES)
    return [line(date, drive, i) for date, drive, frames in drives for i in range(ends, int(frames) - ends)]


def test_lines() -> list[str]:
    return [line(date, drive, i) for date, drive, rule in parse(TEST_DRIVES) for i in test_frames(drive, rule)]


def test_frames(drive: int, rule: str) -> list[int]:
    """Frames of one test drive: an arithmetic progression with irregular gaps."""
    first, stride, gaps = re.fullmatch(r"(\d+)\+(\d+)(?:\[(.*)\])?", rule).groups()  # type: ignore[union-attr]
    irregular = dict(pair.split(":") for pair in gaps.split(",")) if gaps else {}
    frames = [int(first)]
    for position in range(SHORT_TEST_DRIVE.get(drive, FRAMES_PER_TEST_DRIVE) - 1):
        frames.append(frames[-1] + int(irregular.get(str(position), stride)))
    return frames


def test_lines_with_truth() -> list[str]:
    missing = {
        line(date, drive, int(frame))
        for date, drive, frames in parse(TEST_WITHOUT_TRUTH)
        for frame in frames.split(",")
    }
    return [one for one in test_lines() if one not in missing]
