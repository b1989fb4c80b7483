"""KITTI: raw frames with the official annotated depth."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from distill.data.augment import Window
from distill.data.files import Layout, find_listed
from distill.data.folder import Pair, PairDataset, name_under, split_by_truth
from distill.data.sample import Sample
from distill.errors import UserError

DEPTH_SCALE = 256.0  # units per metre
MAX_DEPTH = 80.0  # metres
KB_CROP = (352, 1216)  # height, width: the window that every frame of every drive contains
# The official archive sorts drives into train/ and val/, the lists that go round leave that level out.
TRUTH_FOLDERS = ("data_depth_annotated", "data_depth_annotated/train", "data_depth_annotated/val", "", "train", "val")
LAYOUT = Layout("KITTI", images=("",), depths=TRUTH_FOLDERS, signs=("2011_??_??/", "data_depth_annotated/"))
RAW_FRAME = re.compile(r"(\d{4}_\d\d_\d\d)/(\1_drive_\d{4}_sync)/image_(\d\d)/data/(\d{10})\.\w+$")


class KittiDataset(PairDataset):
    """The frames of a list file.

    Frames of the left colour camera are named `2011_09_26/2011_09_26_drive_0001_sync 0000000005`, all others by their
    path. Intrinsics come from `calib_cam_to_cam.txt` of the date, where it is there.

    Args:
        root: The folder that holds the dates, such as `2011_09_26/`.
        split_file: List of `rgb depth focal` lines. Frames whose depth is `None` are left out.
        depth_root: Where the depth maps lie, with or without `train/` and `val/`; by default in the root or its
            `data_depth_annotated/`.
        skip_missing_depth: Leave out frames whose depth map is not on disk, rather than refusing the set.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split_file: str | os.PathLike[str],
        *,
        depth_root: str | os.PathLike[str] | None = None,
        skip_missing_depth: bool = False,
    ):
        root, split_file, depth_root = Path(root), Path(split_file), Path(depth_root or root)
        listed = find_listed(root, split_file, LAYOUT, depth_root=depth_root, skip_missing_depth=skip_missing_depth)
        cameras: dict[tuple[Path, str], np.ndarray | None] = {}
        pairs = [
            Pair(_name(root, files.image), files.image, files.depth, _intrinsics(files.image, cameras))
            for files in listed
        ]
        known, without_truth = split_by_truth(pairs, split_file)
        super().__init__(known, depth_scale=DEPTH_SCALE, max_depth=MAX_DEPTH, without_truth=without_truth)


def _name(root: Path, image: str) -> str:
    raw = RAW_FRAME.search(Path(image).as_posix())
    # The right camera has frames of the same number.
    return f"{raw[1]}/{raw[2]} {raw[4]}" if raw and raw[3] == "02" else name_under(root, image)


def _intrinsics(image: str, cameras: dict[tuple[Path, str], np.ndarray | None]) -> np.ndarray | None:
    """The camera of a frame, 3x3; each date's file is read once and kept in `cameras`."""
    raw = RAW_FRAME.search(Path(image).as_posix())
    if raw is None:
        return None
    key = Path(image).parents[3] / "calib_cam_to_cam.txt", raw[3]
    if key not in cameras:
        cameras[key] = read_calibration(*key) if key[0].exists() else None
    return cameras[key]


def read_calibration(path: Path, camera: str) -> np.ndarray:
    """The float64 3x3 matrix of a rectified camera, "02" or "03", in pixels of its full frame."""
    key = f"P_rect_{camera}"
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == key and len(numbers.split()) == 12:
            return np.array(numbers.split(), dtype=np.float64).reshape(3, 4)[:, :3]
    raise UserError(f"{path} has no line '{key}:' with 12 numbers: unpack the date's calibration again, or remove it")


def kb_crop(sample: Sample) -> Sample:
    """Cut the 352x1216 window at the bottom centre, in which KITTI models are trained and evaluated."""
    height, width = sample.depth.shape
    if height < KB_CROP[0] or width < KB_CROP[1]:
        raise UserError(
            f"{sample.name} is {height}x{width}, smaller than the KITTI crop of {KB_CROP[0]}x{KB_CROP[1]} "
            "(height x width): give it full frames, before any resizing"
        )
    top, left = height - KB_CROP[0], (width - KB_CROP[1]) // 2
    return Window(top, left, *KB_CROP).cut(sample)
