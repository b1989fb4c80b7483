"""NYU Depth V2: indoor Kinect frames of 480x640."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from distill.data.files import Layout, find_listed
from distill.data.folder import Pair, PairDataset, name_under, split_by_truth
from distill.data.sample import Sample
from distill.errors import UserError

DEPTH_SCALE = 1000.0  # units per metre
MAX_DEPTH = 10.0  # metres
FRAME = (480, 640)  # height, width
MEASURED = np.s_[45:472, 43:608]  # what the depth camera sees of the colour frame
TEST_FOLDER = "official_splits/test"
FOLDERS = ("sync", TEST_FOLDER, "")
LAYOUT = Layout("NYU Depth V2", images=FOLDERS, depths=FOLDERS, signs=("sync/", f"{TEST_FOLDER}/"))
# Of the colour camera, from the data set's toolbox.
INTRINSICS = np.array([[518.8579, 0, 325.58], [0, 519.4696, 253.74], [0, 0, 1]])


class NyuDataset(PairDataset):
    """The frames of a list file, named by their path.

    Args:
        root: The folder that holds `sync/` (training) and `official_splits/test/`.
        split_file: List of `rgb depth focal` lines, relative to one of these or to the root.
    """

    def __init__(self, root: str | os.PathLike[str], split_file: str | os.PathLike[str]):
        root, split_file = Path(root), Path(split_file)
        listed = find_listed(root, split_file, LAYOUT)
        pairs = [Pair(name_under(root, files.image), files.image, files.depth, INTRINSICS) for files in listed]
        known, without_truth = split_by_truth(pairs, split_file)
        super().__init__(known, depth_scale=DEPTH_SCALE, max_depth=MAX_DEPTH, without_truth=without_truth)


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
