"""KITTI: raw frames of both colour cameras, with the official annotated depth or the lidar's single scans."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from distill.data.augment import Window
from distill.data.files.disk import Finder, check_root, wrong_layout
from distill.data.files.known_lists import KITTI_FRAME, check_belongs, frame_key, name_images
from distill.data.files.list_files import SplitLine, refuse_masks
from distill.data.files.pairs import Contents, Pair, PictureReader, name_under
from distill.data.files.reading import Units
from distill.data.kitti.lidar import ScanReader, camera_matrix, listed_matrix
from distill.data.kitti.listing import DATES, EIGEN, SIGNS, kitti_lines
from distill.data.sample import PairDataset, Sample
from distill.errors import UserError

Truth = Literal["annotated", "velodyne"]

DEPTH_SCALE = 256.0  # units per metre
MAX_DEPTH = 80.0  # metres
KB_CROP = (352, 1216)  # height, width: the window that every frame of every drive contains
# The folders that hold the drives of depth maps. The official archive sorts drives into train/ and val/, BTS' lists
# leave that level out, and NeWCRFs keeps drives inside their date.
DRIVES = tuple(
    f"{base}/{level}".strip("/")
    for base in ("data_depth_annotated", "gts", "gt_depth", *DATES, "data_depth_velodyne")
    for level in ("", "train", "val", "{date}")
)
TRUTHS = {"annotated": "official annotated depth", "velodyne": "single Velodyne scans"}
DEPTH_FILE = re.compile(r"(?P<drive>[^/]+_sync)/proj_depth/\w+/image_(?P<camera>0\d)/(?P<number>\d+)\.png$")
SELECTED = re.compile(r"(?<![^/])image/([^/]+_sync)_image_([^/]+)$")  # a file of depth_selection/val_selection_cropped/


class KittiDataset(PairDataset):
    """The frames of a list.

    Frames of the left colour camera are named `2011_09_26/2011_09_26_drive_0001_sync 0000000005`, all others by their
    path. Intrinsics come from `calib_cam_to_cam.txt` of the date, or beside the selected images, where they are there.

    Args:
        root: The folder that holds the dates, such as `2011_09_26/`, or `raw/`, `raw_data/` or `input/` with them.
        split: A list file, or the name of a list: one of `listing.EIGEN` or `listing.SELECTION`.
        truth: "annotated" or "velodyne". By default annotated depth, and the scans where a list leaves it open and
            there is no annotated depth at all.
    """

    def __init__(
        self, root: str | os.PathLike[str], split: str | os.PathLike[str] = "eigen_train", truth: Truth | None = None
    ):
        super().__init__(find_kitti(Path(root), split, truth))


def find_kitti(root: Path, split: str | os.PathLike[str], truth: Truth | None = None) -> Contents:
    """The files of every line of a list."""
    check_root(root, f"the KITTI folder that holds {' or '.join(SIGNS)}")
    lines, source = kitti_lines(root, split)
    refuse_masks(lines, source)
    check_belongs("kitti", [line.image for line in lines], source)
    files = _Frames(root, truth or "annotated")
    pairs = [files.find(line) for line in lines]
    open_to_scans = truth is None and (str(split) in EIGEN or any(line.silent for line in lines))
    if open_to_scans and not files.depths.hits:
        scans = _Frames(root, "velodyne")
        with_scans = [scans.find(line) for line in lines]
        if scans.depths.hits:
            files, pairs = scans, with_scans
    if lines and not files.images.hits:
        raise wrong_layout(root, "KITTI", SIGNS, f"; none of the {len(lines)} images of {source} is in it")
    return Contents(
        root=root,
        source=source,
        list_name=name_images(line.image for line in lines),
        layout=f"KITTI frames in {files.images}, {'scans' if files.truth == 'velodyne' else 'depth'} in {files.depths}",
        truth=TRUTHS[files.truth],
        max_depth=MAX_DEPTH,
        pairs=tuple(pair for pair in pairs if isinstance(pair, Pair)),
        missing=tuple(name for name in pairs if isinstance(name, str)),
        read=PictureReader(Units(usual=DEPTH_SCALE)) if files.truth == "annotated" else ScanReader(),
        images_only=split == "selection_test",
    )


class _Frames:
    """Finds what belongs to a line of a list."""

    def __init__(self, root: Path, truth: Truth):
        self.root, self.truth = root, truth
        self.images = Finder(root, DATES)
        self.depths = Finder(root, DRIVES if truth == "annotated" else DATES)

    def find(self, line: SplitLine) -> Pair | str:
        """The pair of a line, or the name of the file that is missing. What is to be left out may be missing."""
        frame = KITTI_FRAME.search(line.image)
        # monodepth2's users keep the frames as JPEG.
        image = self.images.find([f"{frame[0]}.png", f"{frame[0]}.jpg"] if frame else [line.image])
        depth = self.find_depth(line, frame)
        if image is None and (depth or line.depth or line.silent):
            return line.image
        if depth is None and line.depth and self.truth == "annotated":
            return line.depth
        name, camera = name_under(self.root, image) if image else line.image, None
        if frame and frame["camera"] == "02":  # the right camera has frames of the same number
            name = str(frame_key(line.image))
        if image and frame:
            camera = camera_matrix(Path(image).parents[3], frame["camera"])
        elif image:
            camera = listed_matrix(Path(image).parents[1] / "intrinsics" / (Path(image).stem + ".txt"))
        return Pair(name, image or line.image, depth, camera, frame["scene"] if frame else "")

    def find_depth(self, line: SplitLine, frame: re.Match[str] | None) -> str | None:
        """The depth map that a line names, or else the one that belongs to its image by the archives' own names."""
        date, _, drive = frame["scene"].partition("/") if frame else ("", "", "")
        if self.truth == "velodyne":
            scan = [f"{frame['scene']}/velodyne_points/data/{frame['number']}.bin"] if frame else []
            return self.depths.find(scan)
        truth = ""  # of an image of the selection
        if selected := SELECTED.search(line.image):
            truth = f"groundtruth_depth/{selected[1]}_groundtruth_depth_{selected[2]}"
        if line.depth:
            named = DEPTH_FILE.search(line.depth)
            of_another = named and frame and named.groups() != (drive, frame["camera"], frame["number"])
            if of_another or (selected and "groundtruth_depth/" in line.depth and not line.depth.endswith(truth)):
                raise UserError(
                    f"'{line.image} {line.depth}': image and depth are of different frames; correct the list"
                )
            return self.depths.find([named[0] if named else line.depth], date=date)
        names = []
        if line.silent and frame:
            names = [f"{drive}/proj_depth/groundtruth/image_{frame['camera']}/{frame['number']}.png"]
        elif line.silent and selected:
            names = [f"{line.image[: selected.start()]}{truth}"]
        return self.depths.find(names, date=date)


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
