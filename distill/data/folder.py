"""Pairs of an image and a depth map on disk, and the plainest set of them: a folder of images beside one of depth."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distill.data.files import (
    DecodeError,
    Layout,
    ListedFiles,
    check_root,
    find_listed,
    read_image,
    read_pair,
    wrong_layout,
)
from distill.data.sample import DepthDataset, Sample
from distill.errors import UserError

MIN_DEPTH = 1e-3  # metres; what is not farther counts as not measured, in training and in evaluation
USUAL_SCALES = (100, 256, 1000, 5000, 10000)  # units per metre that depth PNGs come in
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
IMAGE_FOLDERS, DEPTH_FOLDERS = ("image", "images", "rgb"), ("depth", "depths")
LAYOUT = Layout("RGB-depth", images=("",), depths=("",), signs=("image/", "images/", "rgb/"))


@dataclass(frozen=True)
class Pair:
    """The files of one sample. `depth` is None where there is no ground truth; `intrinsics` is 3x3, in pixels."""

    name: str
    image: str
    depth: str | None
    intrinsics: np.ndarray | None = None


class PairDataset:
    """A `DepthDataset` of image and 16-bit depth files.

    Args:
        pairs: The files.
        depth_scale: Units of the depth maps per metre.
        max_depth: Cap of the ground truth in metres. It is not applied to the samples.
        without_truth: Names of the listed frames that have no ground truth, for information.
    """

    def __init__(
        self, pairs: Sequence[Pair], *, depth_scale: float, max_depth: float, without_truth: Sequence[str] = ()
    ):
        self.pairs = tuple(pairs)
        self.depth_scale, self.max_depth = depth_scale, max_depth
        self.without_truth = tuple(without_truth)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Read one pair.

        Raises:
            DecodeError: If one of its files cannot be read.
            UserError: If its depth map is not a depth map, or of another size.
        """
        pair = self.pairs[index]
        if pair.depth is None:
            image = read_image(pair.image)
            depth = np.zeros(image.shape[:2], np.float32)
        else:
            image, depth = read_pair(pair.image, pair.depth, self.depth_scale)
        return Sample(image, depth, valid=depth > 0, name=pair.name, intrinsics=pair.intrinsics)


def split_by_truth(pairs: Sequence[Pair], source: Path) -> tuple[list[Pair], list[str]]:
    """The pairs that have ground truth, and the names of those that have none."""
    known = [pair for pair in pairs if pair.depth is not None]
    if not known:
        raise UserError(
            f"no valid ground truth in the whole set: none of the {len(pairs)} frames of {source} has a depth map; "
            "check the list or folder"
        )
    return known, [pair.name for pair in pairs if pair.depth is None]


def name_under(root: Path, path: str) -> str:
    """The path of a file relative to its root, with forward slashes."""
    return Path(os.path.relpath(path, root)).as_posix()


class FolderDataset(PairDataset):
    """RGB images with depth maps of the same name: `image/a/7.jpg` belongs to `depth/a/7.png`.

    The image folder may also be called `images` or `rgb`, the depth folder `depths`. Images without a depth map are
    left out and named in `without_truth`. Without a depth folder, every image of the image folder, or of the root, is
    a sample whose depth is 0 and valid nowhere: enough to distil from a teacher alone.

    Args:
        root: The folder that holds both.
        max_depth: Cap of the ground truth in metres.
        depth_scale: Units of the 16-bit depth maps per metre.
        split_file: List of `rgb depth` paths relative to the root, instead of pairing by name.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        max_depth: float,
        depth_scale: float = 1000.0,
        split_file: str | os.PathLike[str] | None = None,
    ):
        root = Path(root)
        for label, value in (("max_depth", max_depth), ("depth_scale", depth_scale)):
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"{label} of {root} is {value}, expected a positive number")
        listed = find_listed(root, Path(split_file), LAYOUT) if split_file is not None else _find_by_name(root)
        pairs = [Pair(name_under(root, files.image), files.image, files.depth) for files in listed]
        without_truth: list[str] = []
        if split_file is not None or _subfolder(root, DEPTH_FOLDERS):
            pairs, without_truth = split_by_truth(pairs, Path(split_file) if split_file is not None else root)
        super().__init__(pairs, depth_scale=depth_scale, max_depth=max_depth, without_truth=without_truth)


def _find_by_name(root: Path) -> list[ListedFiles]:
    check_root(root, LAYOUT)
    image_folder, depth_folder = _subfolder(root, IMAGE_FOLDERS), _subfolder(root, DEPTH_FOLDERS)
    if depth_folder and not image_folder:
        raise wrong_layout(root, LAYOUT)
    images = _files_by_stem(image_folder or root, IMAGE_SUFFIXES)
    if not images:
        known = " ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(f"no images in {image_folder or root}, expected files of the kinds {known}")
    depths = _files_by_stem(depth_folder, {".png"}) if depth_folder else {}
    if depth_folder and not images.keys() & depths.keys():
        some = next(iter(depths.values()), "no PNG at all")
        raise UserError(
            f"no image of {image_folder} has a depth map of its name: {next(iter(images))}.png is expected in "
            f"{depth_folder}, which holds {some}; give both the same names"
        )
    return [ListedFiles(path, depths.get(stem)) for stem, path in images.items()]


def _subfolder(root: Path, names: Sequence[str]) -> Path | None:
    there = [root / name for name in names if (root / name).is_dir()]
    if len(there) > 1:
        raise UserError(f"{root} holds {' and '.join(f'{path.name}/' for path in there)}, expected one: remove one")
    return there[0] if there else None


def _files_by_stem(folder: Path, suffixes: set[str]) -> dict[str, str]:
    """Every file of these kinds in and below a folder, sorted, by its relative path without the suffix."""
    files: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in files:
            raise UserError(f"{files[stem]} and {path} have one name, expected one file per name: rename one")
        files[stem] = str(path)
    return files


def check_truth(dataset: DepthDataset, samples: int = 16) -> None:
    """Refuse a set whose ground truth cannot be used, by a look at a few evenly spaced samples.

    A wrong depth scale shows itself here: if every value lies beyond the cap, the refusal names the scale that fits.
    """
    looked_at = np.linspace(0, len(dataset) - 1, min(samples, len(dataset))).round().astype(int)
    values, unread = [], []
    for index in looked_at:
        try:
            sample = dataset[int(index)]
        except DecodeError as error:
            unread.append(str(error))
            continue
        depth = sample.depth[sample.valid]
        if ((depth > MIN_DEPTH) & (depth < dataset.max_depth)).any():
            return
        values.append(depth)
    seen = f"no valid ground truth in the whole set ({len(looked_at)} of {len(dataset)} depth maps looked at)"
    if len(unread) == len(looked_at):
        raise UserError(f"{seen}: {unread[0]}")
    raise UserError(f"{seen}: {_truth_fault(dataset, np.concatenate(values))}")


def _truth_fault(dataset: DepthDataset, depth: np.ndarray) -> str:
    """What is wrong with values (N,) in metres of which none lies between `MIN_DEPTH` and the cap."""
    expected = f"expected depth between {MIN_DEPTH:g} and {dataset.max_depth:g} m"
    if not (depth >= dataset.max_depth).any():
        return f"nothing is measured farther than {MIN_DEPTH:g} m, {expected}; check that these are depth maps"
    scale = getattr(dataset, "depth_scale", 1.0)
    needed = scale * float(np.percentile(depth, 99)) / dataset.max_depth
    fitting = next((usual for usual in USUAL_SCALES if usual > needed), math.ceil(needed))
    return (
        f"at {scale:g} units per metre it spans {depth.min():.4g} to {depth.max():.4g} m, {expected}; "
        f"{fitting:g} units per metre would fit"
    )
