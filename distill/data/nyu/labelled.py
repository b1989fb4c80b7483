"""Facts of NYU Depth V2, and its frames in files that hold many values: the labelled .mat, and fast-depth's .h5."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Literal, Protocol

import cv2
import numpy as np

from distill.data.files.disk import names_in
from distill.data.files.known_lists import name_list
from distill.data.files.list_files import LIST_NAMES, Part
from distill.data.files.pairs import Contents, Pair, check_size, name_under
from distill.data.files.reading import DecodeError, NotDepth
from distill.errors import UserError
from distill.files import write_atomically

LabelledDepth = Literal["raw", "filled"]

FRAME = (480, 640)  # height, width
MAX_DEPTH = 10.0  # metres
DEPTH_SCALE = 1000.0  # units per metre of 16-bit depth maps
COLOURED = np.s_[7:474, 7:632]  # what of the colour frame is left in BTS' copies; a black border is around it
# Of the colour camera, from the data set's toolbox.
INTRINSICS = np.array([[518.8579, 0, 325.58], [0, 519.4696, 253.74], [0, 0, 1]])

LABELLED = 1449
# Frames of the test half, counted from 0, as runs; all others are for training.
TEST_RUNS = """
0-1 8 13-17 20 27-42 45-46 55-56 58-62 75-78 83-90 116-118 124-128 130-133 136 152-154 166-168 170-175 179-201 206-211
219-221 249 263 270-272 278-284 295-301 309-311 314-316 324-334 350-351 354-363 383-389 394-396 410-413 429-434
440-447 461-465 468-476 507-512 514-525 530-532 536-538 548-550 554-570 578-582 590-593 602-606 611-612 616-620
632-637 643-644 649-650 655-657 662-663 667-672 675-680 685-689 692-693 696-698 705-712 716-717 723-727 730-733
742-743 758-786 799-803 809-813 820-822 832-845 849-851 856-861 868-870 905-907 916-918 925-927 931-934 944-946
958-961 964-966 969-976 990-994 1000-1003 1009-1011 1020-1022 1031-1033 1037-1038 1047-1048 1051-1052 1056-1057
1074-1083 1087-1095 1097-1103 1105-1108 1116-1118 1122-1130 1134-1135 1143-1157 1161-1166 1169-1170 1173-1175
1178-1183 1191-1195 1200-1211 1215-1219 1225-1229 1232-1234 1246-1249 1253-1264 1274-1279 1284-1294 1296-1298
1301-1307 1313-1314 1328-1331 1334-1339 1346-1348 1352-1355 1363-1364 1367-1368 1383-1390 1393-1400 1406-1413
1420-1423 1429-1432 1440-1448
"""
ROOM = re.compile(r"(.+_\d{4})[a-z]*(?:_out)?$")  # kitchen_0028b is a part of the recording kitchen_0028
TEST_FOLDER = "official_splits/test"
LABELLED_FILES = ("nyu_depth_v2_labeled.mat", "labeled/nyu_depth_v2_labeled.mat")
SPLIT_FILES = ("splits.mat", "official_splits/splits.mat")
H5_FOLDERS = {"train": ("train", "nyudepthv2/train"), "test": ("val", "nyudepthv2/val", "test")}
PICTURE_FOLDERS: dict[Part, str] = {"train": "sync", "test": TEST_FOLDER}
ROOM_LETTERS = 100  # of a room's name
LARGEST_LIST = 2**20  # bytes of splits.mat, whose packed numbers could fill the memory
LARGEST = 2**28  # values of a frame, or of what is unpacked with it
DEPTHS = {"raw": "rawDepths", "filled": "depths"}


def room(name: str) -> str:
    """The recording that a frame is from, "" where only its kind of room is known."""
    folder = Path(name).parent.name
    numbered = ROOM.fullmatch(folder)
    return numbered[1] if numbered else ""


def nyu_labelled_split(name: str) -> list[int]:
    """Numbers of the labelled frames of a half, "train" (795) or "test" (654), counted from 0.

    Raises:
        ValueError: If the name is neither.
    """
    if name not in ("train", "test"):
        raise ValueError(f"unknown half {name!r} of NYU's labelled frames, known are train, test")
    runs = [[int(number) for number in run.split("-")] for run in TEST_RUNS.split()]
    test = {number for run in runs for number in range(run[0], run[-1] + 1)}
    return [number for number in range(LABELLED) if (number in test) == (name == "test")]


def extra(module: str) -> ModuleType:
    """A library that only these files need."""
    try:
        return __import__(module, fromlist=["*"])
    except ImportError:
        package = module.partition(".")[0]
        raise UserError(f"NYU's .mat and .h5 files need {package}: pip install '.[nyu]'") from None


class ArrayFile(Protocol):
    """What is used of an HDF5 file."""

    def __contains__(self, name: object) -> bool: ...
    def __getitem__(self, name: object) -> np.ndarray: ...
    def get(self, name: str, *, getlink: bool) -> object: ...


@lru_cache(maxsize=4)
def _kept_open(path: str, process: int) -> ArrayFile:
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
    lacking = [name for name in ("images", DEPTHS[depth]) if file.get(name, getlink=True) is None]
    if lacking:
        raise UserError(f"{path} has no {' and no '.join(lacking)}, expected NYU's labelled file: get it again")
    try:
        count = len(inner_colours(file, "images", 4))
        inner_array(file, DEPTHS[depth], 3, 1)
    except ValueError as error:
        raise UserError(f"{path}: {error}, expected NYU's labelled file: get it again") from None
    numbers, list_name = labelled_numbers(path, count, part)
    labels = [room_names(path, file, key, numbers) for key in ("sceneTypes", "scenes")]
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


def room_names(path: Path, file: ArrayFile, key: str, numbers: list[int]) -> list[str]:
    """Texts of MATLAB's cell array of strings, which a file may lack. They name folders, so each is one word.

    Raises:
        UserError: If one is anything else, and might lead elsewhere.
    """
    if key not in file:
        return [""] * len(numbers)
    names = []
    for number in numbers:
        try:
            cell = file[np.asarray(file[key]).ravel()[number]]
            text = "".join(map(chr, np.asarray(cell[:ROOM_LETTERS]).ravel())).strip("\0")
        except (OSError, KeyError, ValueError, TypeError, IndexError, OverflowError, AttributeError):
            raise UserError(f"{path} has no text in its {key}, expected NYU's labelled file: get it again") from None
        if not re.fullmatch(r"[\w-]*", text):
            raise UserError(f"{path} calls a room {text!r}, expected letters, digits, _ and -: get it again")
        names.append(text)
    return names


def inner_array(file: ArrayFile, name: str, axes: int, first: int = 0) -> np.ndarray:
    """An array of an HDF5 file that lies in the file itself, and whose frames, its axes from `first` on, fit in memory.

    Raises:
        ValueError: If there is another thing, or one that lies in another file.
    """
    h5py = extra("h5py")
    array = None if isinstance(file.get(name, getlink=True), h5py.ExternalLink) else file[name]
    if not isinstance(array, h5py.Dataset) or array.external or array.is_virtual:
        raise ValueError(f"{name} lies in another file, or is no array")
    if array.ndim != axes or max(math.prod(array.shape[first:]), math.prod(array.chunks or ())) > LARGEST:
        raise ValueError(f"{name} has the shape {array.shape}")
    return array


def inner_colours(file: ArrayFile, name: str, axes: int) -> np.ndarray:
    """An array as `inner_array` gives it, of images of bytes with their colours first."""
    array = inner_array(file, name, axes, axes - 3)
    if array.dtype != np.uint8 or array.shape[-3] != 3:
        raise ValueError(f"{name} is {array.dtype} of the shape {array.shape}, expected uint8 with 3 colours first")
    return array


def labelled_numbers(path: Path, count: int, part: Part) -> tuple[list[int], str]:
    """The numbers of a half's frames, counted from 0, by `splits.mat` where it lies near, and what the list is."""
    official = nyu_labelled_split(part)
    listed = next((path.parent / name for name in SPLIT_FILES if (path.parent / name).is_file()), None)
    if listed is None and count != LABELLED:
        raise UserError(f"{path} holds {count} frames, expected {LABELLED}: put its splits.mat beside it")
    if listed is None:
        return official, name_list(map(str, official))
    key = f"{part}Ndxs"
    if listed.stat().st_size > LARGEST_LIST:
        raise UserError(f"{listed} is {listed.stat().st_size} bytes, expected NYU's splits.mat: get it again")
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
        millimetres = (depth * np.float32(DEPTH_SCALE)).astype(np.uint16)
        for name, picture in zip(names, (image[..., ::-1], millimetres), strict=True):
            done, raw = cv2.imencode(Path(name).suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
            assert done
            write_atomically(folder / name, raw.tobytes())
        lines.append(f"{names[0]} {names[1]} {INTRINSICS[0, 0]}\n")
        progress()
    listed = output / LIST_NAMES[0].format(part=part)
    write_atomically(listed, "".join(lines))
    return listed


# -------------------------------------------------------------------------------------------------- fast-depth's files


def h5_folder(root: Path, part: Part) -> Path | None:
    """Where a half of fast-depth's files lies."""
    folders = [root / name for name in H5_FOLDERS[part]]
    return next((folder for folder in folders if any(folder.glob("*/*.h5"))), None)


def find_h5(root: Path, folder: Path) -> Contents:
    """Every file of a half, named by its path."""
    extra("h5py")  # before any worker starts
    files = [str(path) for path in names_in(folder) if path.suffix == ".h5"]
    names = [name_under(root, path) for path in files]
    pairs = [Pair(name, path, path, INTRINSICS, room(name)) for path, name in zip(files, names, strict=True)]
    return Contents(
        root=root,
        source=f"every frame of {folder}",
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
            image = np.ascontiguousarray(np.asarray(inner_colours(file, "rgb", 3)).transpose(1, 2, 0))
            depth = np.asarray(inner_array(file, "depth", 2), dtype=np.float32)
    except ValueError as error:
        raise NotDepth(pair.image, f"is no frame as fast-depth stores it: {error}") from None
    except (OSError, KeyError, AttributeError) as error:
        raise DecodeError(pair.image, " ".join(str(error).split())) from None
    check_size(pair.image, depth, pair.image, image)
    return image, depth
