"""NYU Depth V2: indoor Kinect frames of 480x640."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from distill.data.files.disk import check_root, wrong_layout
from distill.data.files.list_files import Part, default_split, read_split
from distill.data.files.pairs import Contents, PairDataset
from distill.data.nyu.labelled import LabelledDepth, find_h5, find_labelled, h5_folder, labelled_file
from distill.data.nyu.recordings import FRAME, MEASURED, SIGNS, find_pictures, scene_lines
from distill.data.sample import Sample
from distill.errors import UserError


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
    labelled = labelled_file(root)
    if truth is not None and (labelled is None or split not in ("train", "test")):
        raise UserError(f"data.truth={truth} chooses a depth of nyu_depth_v2_labeled.mat, which is not what is read")
    if split not in ("train", "test"):
        if not Path(split).exists() and not any(has_half(root, part) for part in ("train", "test")):
            raise wrong_layout(root, "NYU Depth V2", SIGNS)
        return find_pictures(root, read_split(split), str(split))
    part: Part = "train" if split == "train" else "test"
    if truth is None and (lines := list(scene_lines(root, part))):
        return find_pictures(root, lines, f"all {part}ing frames")
    if truth is None and (folder := h5_folder(root, part)):
        return find_h5(root, folder)
    if labelled:
        return find_labelled(labelled, part, truth or "raw")
    raise wrong_layout(root, "NYU Depth V2", SIGNS)


def usual_nyu_split(root: Path, part: Part) -> Path | str | None:
    """The list to take where none is named: a file of the root, else every frame of the half that is on disk."""
    listed = default_split(root, part)
    if listed.is_file() or (part == "train" and default_split(root, "test").is_file()):
        return listed
    return part if has_half(root, part) else None


def has_half(root: Path, part: Part) -> bool:
    """Whether a half of the set lies here in any of the layouts."""
    return root.is_dir() and any((next(scene_lines(root, part), None), h5_folder(root, part), labelled_file(root)))


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
