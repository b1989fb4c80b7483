"""The plainest set of images with depth: a folder of images beside one of depth, or a list of pairs."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distill.data.files.disk import Finder, check_root, walk, wrong_layout
from distill.data.files.list_files import Camera, Part, SplitLine, default_split, read_split
from distill.data.files.pairs import Contents, Pair, PictureReader, name_under
from distill.data.files.probing import DEPTH_SUFFIXES, IMAGE_SUFFIXES
from distill.data.sample import PairDataset
from distill.errors import UserError

IMAGE_FOLDERS, DEPTH_FOLDERS = ("image", "images", "rgb"), ("depth", "depths")
HALVES: dict[Part, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val")}
SIGNS = tuple(f"{folder}/" for folder in IMAGE_FOLDERS)
DEFAULT_MAX_DEPTH = 80.0  # metres


class FolderDataset(PairDataset):
    """RGB images with depth maps of the same name: `image/a/7.jpg` belongs to `depth/a/7.png`.

    The image folder may also be called `images` or `rgb`, the depth folder `depths`; depth maps are 16-bit PNG or TIFF,
    or floating-point TIFF or NumPy files. Images without a depth map are left out and named in `without_truth`. Without
    a depth folder, every image of the image folder, or of the root, is a sample whose depth is 0 and valid nowhere:
    enough to distil from a teacher alone.

    Args:
        root: The folder that holds both.
        max_depth: Cap of the ground truth in metres.
        depth_scale: Units of the depth maps per metre; None is 1000, and 1 for floating-point files. At less than 128
            a metre, 8-bit maps are taken as well.
        split_file: List of `rgb depth` paths relative to the root, or a CSV file, instead of pairing by name.
        camera: Focal lengths and centre (fx, fy, cx, cy) in pixels of every image whose list names no others.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        max_depth: float = DEFAULT_MAX_DEPTH,
        depth_scale: float | None = None,
        split_file: str | os.PathLike[str] | None = None,
        camera: Camera | None = None,
    ):
        split = None if split_file is None else Path(split_file)
        super().__init__(find_folder(Path(root), max_depth, depth_scale, split, camera))


def find_folder(
    root: Path,
    max_depth: float = DEFAULT_MAX_DEPTH,
    depth_scale: float | None = None,
    split_file: Path | None = None,
    camera: Camera | None = None,
) -> Contents:
    """The pairs of a folder, by name or by a list."""
    check_root(root, f"the RGB-depth folder that holds {' or '.join(SIGNS)}")
    for label, value in (("max_depth", max_depth), ("depth_scale", depth_scale or 1)):
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"{label} of {root} is {value}, expected a positive number")
    byte_scale = depth_scale if depth_scale is not None and depth_scale < 128 else None
    if split_file is None:
        image_folder, depth_folder = _subfolder(root, IMAGE_FOLDERS), _subfolder(root, DEPTH_FOLDERS)
        if depth_folder is None:
            return find_photographs(image_folder or root, root, max_depth)
        lines = _pair_by_name(root, image_folder, depth_folder)
    else:
        lines = read_split(split_file)
    images, depths = Finder(root, [""]), Finder(root, [""])
    pairs: list[Pair] = []
    missing: list[str] = []
    for line in lines:
        image, depth = images.find([line.image]), depths.find([line.depth]) if line.depth else None
        intrinsics = None
        if known := line.camera or camera:
            fx, fy, cx, cy = known
            intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64)
        if image is None or (line.depth and depth is None):
            missing.append(str(line.depth) if image else line.image)
        else:
            pairs.append(Pair(line.image, image, depth, intrinsics))
    if lines and not images.hits:
        raise wrong_layout(root, "RGB-depth", SIGNS, f"; none of the {len(lines)} images of {split_file} is in it")
    return Contents(
        root=root,
        source=str(split_file or root),
        layout="pairs of the same name" if split_file is None else "pairs of a list",
        truth="depth maps",
        max_depth=max_depth,
        pairs=tuple(pairs),
        missing=tuple(missing),
        read=PictureReader(depth_scale, byte_scale),
    )


def find_photographs(folder: Path, root: Path | None = None, max_depth: float = DEFAULT_MAX_DEPTH) -> Contents:
    """Every image in and below a folder, without depth. Names are relative to `root`, by default the folder."""
    root = root or folder
    check_root(folder, "a folder of photographs")
    paths = _files(folder, IMAGE_SUFFIXES)
    return Contents(
        root=root,
        source=str(folder),
        layout="images alone",
        truth="none",
        max_depth=max_depth,
        pairs=tuple(Pair(name_under(root, path), path, None) for path in paths),
        read=PictureReader(None),
        images_only=True,
    )


def usual_folder_split(root: Path, part: Part) -> tuple[Path, Path | None]:
    """Where a half of a folder lies, and the list to take: a file of the root, else train/ and test/ (or val/)."""
    listed = default_split(root, part)
    inner = next((root / name for name in HALVES[part] if (root / name).is_dir()), root)
    return (root, listed) if listed.is_file() else (inner, None)


def _pair_by_name(root: Path, image_folder: Path | None, depth_folder: Path) -> list[SplitLine]:
    if image_folder is None:
        raise wrong_layout(root, "RGB-depth", SIGNS)
    images, depths = _by_stem(image_folder, IMAGE_SUFFIXES), _by_stem(depth_folder, DEPTH_SUFFIXES)
    if not images.keys() & depths.keys():
        some = next(iter(depths.values()))
        raise UserError(
            f"no image of {image_folder} has a depth map of its name: {next(iter(images))}.png is expected in "
            f"{depth_folder}, which holds {some}; give both the same names"
        )
    stems = {stem: depths.get(stem) for stem in images}
    return [SplitLine(name_under(root, images[s]), name_under(root, d) if d else None) for s, d in stems.items()]


def _subfolder(root: Path, names: Sequence[str]) -> Path | None:
    there = [root / name for name in names if (root / name).is_dir()]
    if len(there) > 1:
        raise UserError(f"{root} holds {' and '.join(f'{path.name}/' for path in there)}, expected one: remove one")
    return there[0] if there else None


def _files(folder: Path, suffixes: set[str]) -> list[str]:
    """Every file of these kinds in and below a folder."""
    files = [str(path) for path in walk(folder) if path.suffix.lower() in suffixes]
    if not files:
        what = "images" if suffixes == IMAGE_SUFFIXES else "depth maps"
        raise UserError(f"no {what} in {folder}, expected files of the kinds {' '.join(sorted(suffixes))}")
    return files


def _by_stem(folder: Path, suffixes: set[str]) -> dict[str, str]:
    """The files of a folder by their relative paths without the suffix."""
    files: dict[str, str] = {}
    for path in _files(folder, suffixes):
        stem = Path(path).relative_to(folder).with_suffix("").as_posix()
        if stem in files:
            raise UserError(f"{files[stem]} and {path} have one name, expected one file per name: rename one")
        files[stem] = path
    return files
