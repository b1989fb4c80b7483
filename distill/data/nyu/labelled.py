"""NYU Depth V2 as HDF5: the labelled `.mat` file, also written as pictures, and fast-depth's one file a frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import cv2
import numpy as np

from distill.data.files.disk import walk
from distill.data.files.known_lists import UNKNOWN, name_list
from distill.data.files.list_files import LIST_NAMES, Part
from distill.data.files.pairs import Contents, Pair, name_under
from distill.data.files.reading import DecodeError
from distill.data.nyu.recordings import (
    COLOURED,
    DEPTH_SCALE,
    FRAME,
    INTRINSICS,
    LABELLED,
    MAX_DEPTH,
    TEST_FOLDER,
    nyu_labelled_split,
    room,
)
from distill.errors import UserError

LabelledDepth = Literal["raw", "filled"]

LABELLED_FILES = ("nyu_depth_v2_labeled.mat", "labeled/nyu_depth_v2_labeled.mat")
SPLIT_FILES = ("splits.mat", "official_splits/splits.mat")
H5_FOLDERS = {"train": ("train", "nyudepthv2/train"), "test": ("val", "nyudepthv2/val", "test")}
PICTURE_FOLDERS: dict[Part, str] = {"train": "sync", "test": TEST_FOLDER}
DEPTHS = {"raw": "rawDepths", "filled": "depths"}


def extra(module: str) -> ModuleType:
    """A library that only these files need."""
    try:
        return __import__(module, fromlist=["*"])
    except ImportError:
        package = module.partition(".")[0]
        raise UserError(f"NYU's .mat and .h5 files need {package}: pip install '.[nyu]'") from None


@lru_cache(maxsize=4)
def _kept_open(path: str, process: int) -> Mapping[Any, np.ndarray]:
    """An open file of this process, by names and references: an HDF5 handle does not survive a fork."""
    return extra("h5py").File(path, "r")


# ------------------------------------------------------------------------------------------------------- labelled file


def labelled_file(root: Path) -> Path | None:
    """The labelled file of a root."""
    return next((root / name for name in LABELLED_FILES if (root / name).is_file()), None)


def find_labelled(path: Path, part: Part, depth: LabelledDepth = "raw") -> Contents:
    """The frames of a half of the labelled file, named by kind of room and number."""
    try:
        file = _kept_open(str(path), os.getpid())
    except OSError as error:
        raise UserError(f"{path} is not a whole HDF5 file ({error}): get it again") from None
    lacking = [name for name in ("images", DEPTHS[depth]) if name not in file]
    if lacking:
        raise UserError(f"{path} has no {' and no '.join(lacking)}, expected NYU's labelled file: get it again")
    numbers, list_name = labelled_numbers(path, len(file["images"]), part)
    labels = []
    for key in ("sceneTypes", "scenes"):  # MATLAB's cell arrays of strings, which a file may lack
        cells = np.asarray(file[key]).ravel() if key in file else None
        texts = [() if cells is None else np.asarray(file[cells[number]]).ravel() for number in numbers]
        labels.append(["".join(map(chr, text)) for text in texts])
    pairs = [
        Pair(f"{kind} {number:05d}", str(path), str(path), INTRINSICS, room(f"{scene}/image"), number)
        for number, kind, scene in zip(numbers, *labels, strict=True)
    ]
    return Contents(
        root=path.parent,
        source=f"the {part} half of {path}",
        list_name=list_name,
        layout=f"NYU's labelled file {path.name}",
        truth=f"{depth} depth",
        max_depth=MAX_DEPTH,
        pairs=tuple(pairs),
        read=LabelledReader(DEPTHS[depth]),
    )


def labelled_numbers(path: Path, count: int, part: Part) -> tuple[list[int], str]:
    """The numbers of a half's frames, counted from 0, by `splits.mat` where it lies near, and what the list is."""
    official = nyu_labelled_split(part)
    listed = next((path.parent / name for name in SPLIT_FILES if (path.parent / name).is_file()), None)
    if listed is None and count != LABELLED:
        raise UserError(f"{path} holds {count} frames, expected {LABELLED}: put its splits.mat beside it")
    if listed is None:
        return official, name_list(map(str, official))
    key = f"{part}Ndxs"
    try:
        content = extra("scipy.io").loadmat(listed, variable_names=[key])
        numbers = sorted(int(number) - 1 for number in content[key].ravel())
    except UserError:
        raise
    except Exception:  # scipy raises many kinds
        raise UserError(f"{listed} has no '{key}', expected NYU's splits.mat: get it again, or remove it") from None
    if not numbers or not 0 <= numbers[0] <= numbers[-1] < count:
        raise UserError(f"{listed} numbers frames up to {numbers[-1] + 1 if numbers else 0}, but {path} has {count}")
    return numbers, name_list(map(str, numbers))


@dataclass(frozen=True)
class LabelledReader:
    """Reads one frame of the labelled file, which holds everything transposed. `key` names the depth."""

    key: str

    def __call__(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        try:
            file = _kept_open(pair.image, os.getpid())
            image = np.ascontiguousarray(file["images"][pair.index].transpose(2, 1, 0))
            depth = np.ascontiguousarray(file[self.key][pair.index].T, dtype=np.float32)
        except (OSError, KeyError) as error:
            raise DecodeError(pair.image, " ".join(str(error).split())) from None
        if image.shape[:2] == FRAME:  # the black border of BTS' copies, which all published results were made with
            bordered = np.zeros_like(image)
            bordered[COLOURED] = image[COLOURED]
            return bordered, depth
        return image, depth


def write_pictures(
    contents: Contents, part: Part, output: Path, *, progress: Callable[[], object] = lambda: None
) -> Path:
    """Write the pairs of the labelled file as JPEG and 16-bit PNG, and their list last; returns the list.

    Millimetres are cut, not rounded, and images get a black border and quality 95, as in BTS' copies of the test half.
    """
    lines = []
    for pair in contents.usable:
        image, depth = contents.read(pair)
        kind, _, number = pair.name.rpartition(" ")
        # The recording where it is known, for the test half the kind of room as in its list.
        scene = (pair.scene if part == "train" else "") or kind or "scene"
        names = f"{scene}/rgb_{number}.jpg", f"{scene}/sync_depth_{number}.png"
        folder = output / PICTURE_FOLDERS[part]
        (folder / scene).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / names[0]), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        cv2.imwrite(str(folder / names[1]), (depth * np.float32(DEPTH_SCALE)).astype(np.uint16))
        lines.append(f"{names[0]} {names[1]} {INTRINSICS[0, 0]}\n")
        progress()
    listed = output / LIST_NAMES[0].format(part=part)
    listed.write_text("".join(lines), encoding="utf-8")
    return listed


# -------------------------------------------------------------------------------------------------- fast-depth's files


def h5_folder(root: Path, part: Part) -> Path | None:
    """Where a half of fast-depth's files lies."""
    folders = [root / name for name in H5_FOLDERS[part]]
    return next((folder for folder in folders if any(folder.glob("*/*.h5"))), None)


def find_h5(root: Path, folder: Path) -> Contents:
    """Every file of a half, named by its path."""
    extra("h5py")  # before any worker starts
    files = [str(path) for path in walk(folder) if path.suffix == ".h5"]
    names = [name_under(root, path) for path in files]
    pairs = [Pair(name, path, path, INTRINSICS, room(name)) for path, name in zip(files, names, strict=True)]
    return Contents(
        root=root,
        source=f"every frame of {folder}",
        list_name=UNKNOWN,
        layout="NYU as fast-depth's .h5 files",
        truth="depth as stored",
        max_depth=MAX_DEPTH,
        pairs=tuple(pairs),
        read=read_h5,
    )


def read_h5(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """The image and depth of one of fast-depth's files."""
    try:
        with extra("h5py").File(pair.image, "r") as file:
            image = np.ascontiguousarray(np.asarray(file["rgb"]).transpose(1, 2, 0))
            return image, np.asarray(file["depth"], dtype=np.float32)
    except (OSError, KeyError) as error:
        raise DecodeError(pair.image, " ".join(str(error).split())) from None
