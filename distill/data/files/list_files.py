"""List files: which images belong to the halves of a data set, in every form that goes round."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from distill.data.files.known_lists import KITTI_DRIVE
from distill.errors import UserError
from distill.files import read_whole

Part = Literal["train", "test"]
Camera = tuple[float, float, float, float]  # fx, fy, cx, cy in pixels

SPLIT_FORM = (
    "'rgb_path depth_path [focal_px]', depth_path 'None' where there is no ground truth, 'rgb_path', or "
    "'date/drive frame l|r'"
)
# What toolkits call their lists; the first is what this project writes.
LIST_NAMES = (
    "{part}_files_with_gt.txt",
    "kitti_eigen_{part}_files_with_gt.txt",  # AdaBins
    "eigen_{part}_files_with_gt.txt",  # BTS, NeWCRFs
    "nyudepthv2_{part}_files_with_gt.txt",
    "nyudepthv2_{part}_files_with_gt_dense.txt",
    "kitti_eigen_{part}.txt",  # MDE-Toolbox, iDisc
    "nyu_{part}.txt",
    "{part}_list.txt",  # GLPDepth
    "nyu2_{part}.csv",  # DenseDepth
    "data/nyu2_{part}.csv",
    "{part}_files.txt",  # monodepth2
    "{part}.txt",
    "{part}.csv",
)
DRIVE_FRAME = re.compile(rf"({KITTI_DRIVE})\s+(\d{{1,10}})(?:\s+([lr]))?")
CAMERAS = {"l": "02", "r": "03"}
LIKE_DEPTH = re.compile("depth|truth", re.IGNORECASE)
LIKE_IMAGE = re.compile(r"rgb|colou?r|\.jpe?g$|/data/\d|(^|/)images?/", re.IGNORECASE)
COMMAS = re.compile(r"[^,]+\.[a-z]+,", re.IGNORECASE)  # of a table: behind a suffix
SPACED = re.compile(r".+\.[a-z]+\s+.+\.[a-z]+", re.IGNORECASE)  # two files, one of a name with spaces
DENSE_FILE = re.compile(r"\.[a-z]+$", re.IGNORECASE)
CSV_COLUMNS = ("image", "depth", "fx", "fy", "cx", "cy")
LIKE_MASK = re.compile(r"mask|(?<!in)valid[^/]*$", re.IGNORECASE)
TURNED_MASK = re.compile("invalid|ignore|sky|hole|occlu|dynamic|moving", re.IGNORECASE)  # marks what does not count


@dataclass(frozen=True, slots=True)
class SplitLine:
    """An image and its depth map, as paths below the root.

    `depth` is None where the list says that there is no ground truth, or says nothing of it: then `silent` is set, and
    a data set that knows where depth maps lie may look for one. Depth counts where `mask` is not 0.
    """

    image: str
    depth: str | None
    silent: bool = False
    camera: Camera | None = None
    mask: str | None = None


def default_split(root: str | os.PathLike[str], part: str) -> Path:
    """The list file that a data set is looked up by when none is named: the first of the usual names that exists."""
    candidates = [Path(root) / name.format(part=part) for name in LIST_NAMES]
    return next((path for path in candidates if os.path.lexists(path)), candidates[0])


def usual_list(root: Path, *halves: str) -> Path | None:
    """That file of the first of these halves that has one, and if it is a link that leads nowhere."""
    return next((path for half in halves if os.path.lexists(path := default_split(root, half))), None)


def read_split(path: str | os.PathLike[str]) -> list[SplitLine]:
    """The lines of a list file. Leading slashes go; blank lines and comments, from a # on, are ignored.

    The forms are those of BTS and AdaBins (`rgb depth focal`), GLPDepth (`rgb depth`), NeWCRFs (`rgb depth dense`, of
    which the first depth counts, and `rgb` alone), DIODE (`rgb depth mask`), monodepth2 (`date/drive frame l|r`), and
    CSV (`rgb,depth`, with or without a header that may also name mask, fx, fy, cx and cy).

    Raises:
        UserError: If a line has none of these forms, a column has no meaning, or a file lies outside of the root.
    """
    try:
        text = read_whole(path).decode("utf-8-sig")
        if "\0" in text:
            raise UnicodeError
    except FileNotFoundError:
        raise UserError(f"list file {path} does not exist, expected lines of {SPLIT_FORM}") from None
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UserError(f"list file {path} is not readable text ({why}), expected lines of {SPLIT_FORM}") from None
    if Path(path).suffix.lower() == ".csv":
        return _read_csv(text, path)
    numbered = enumerate(text.splitlines(), start=1)
    kept = ((number, line) for number, line in numbered if line.strip() and not line.lstrip().startswith("#"))
    return [_parse_line(line.strip(), f"{path}:{number}") for number, line in kept]


def why_missing(name: str, root: Path) -> str:
    """Where an image of a list was looked for, and what in its name may be why it is not there."""
    signs = {
        "\\": "it has backslashes: write forward slashes",
        '"': "it is in quotes, which only a .csv list has: remove them",
        "'": "it is in quotes: remove them",
        ";": "it has semicolons between the columns: write commas into a .csv list",
        "\t": "it has tabs inside of a .csv list: write commas",
    }
    causes = [why for sign, why in signs.items() if sign in name]
    if Path("/", name).exists() or name.startswith(f"{os.path.abspath(root).lstrip('/')}/"):
        causes = [f"the list has absolute paths: write them relative to {root}"]
    return f"{root / name} was looked for" + "".join(f"; {why}" for why in causes[:1])


def drive_frame(drive: str, number: int, camera: str = "02", *, truth: bool | None = None) -> SplitLine:
    """The line of frame `number` of a KITTI `date/drive`. `truth` is None where nothing is known of its depth map."""
    image = f"{drive}/image_{camera}/data/{number:010d}.png"
    depth = f"{drive.rpartition('/')[2]}/proj_depth/groundtruth/image_{camera}/{number:010d}.png"
    return SplitLine(image, depth if truth else None, silent=truth is None)


def _parse_line(line: str, where: str) -> SplitLine:
    """A line of one to three columns: an image, its depth map, a focal length, another depth map or a mask."""
    if frame := DRIVE_FRAME.fullmatch(line):
        return drive_frame(frame[1], int(frame[2]), CAMERAS[frame[3] or "l"])
    image, *more = line.split()
    if COMMAS.match(image):
        raise UserError(f"{where}: '{line}' has commas between its columns: name the list .csv, or use spaces")
    if len(more) > 2 and SPACED.fullmatch(line):
        raise UserError(f"{where}: '{line}' has spaces in its names: write a .csv list, image,depth")
    third = more[1] if len(more) == 2 else ""
    third_fits = not third or (_number(third) or 0) > 0 or DENSE_FILE.search(third)
    if (
        len(more) > 2
        or image == "None"
        or not third_fits
        or any(_number(path) is not None for path in (image, *more[:1]))
    ):
        raise UserError(f"{where}: '{line}' is not a line of a list file, expected {SPLIT_FORM}")
    mask = third if is_mask(third) else ""
    is_depth = LIKE_DEPTH.search(third) and not LIKE_MASK.search(third) and not TURNED_MASK.search(third)
    if third and not mask and not is_depth and _number(third) is None:
        raise UserError(
            f"{where}: {third} is called neither a mask of what counts nor a depth map, expected one of these or a "
            "focal length as the third column: name it so (0 must mark what does not count), or remove it"
        )
    return _checked_line(image, more[0] if more else "", where, mask=mask)


def is_mask(name: str) -> bool:
    """Whether a file or column is called a mask that is 0 where depth does not count."""
    return bool(LIKE_MASK.search(name)) and not TURNED_MASK.search(name)


def _read_csv(text: str, path: str | os.PathLike[str]) -> list[SplitLine]:
    try:
        rows = [
            (number, row) for number, row in enumerate(csv.reader(text.splitlines(), strict=True), start=1) if any(row)
        ]
    except csv.Error as error:
        raise UserError(
            f"{path} is no table ({error}): a name with quotes inside or an opening quote is written in quotes, those "
            'inside twice, as "5"" disk.png"'
        ) from None
    header = [name.strip().lower() for name in rows[0][1]] if rows else []
    columns: tuple[str, ...] = CSV_COLUMNS
    if {"image", "rgb"} & {*header} or not any(map(DENSE_FILE.search, header)):
        names = {"rgb": "image", **{name: "mask" for name in header if is_mask(name)}}
        columns = tuple(names.get(name, name) for name in header)
        rows = rows[1:]
    unknown = [name for name in columns if name and (name not in (*CSV_COLUMNS, "mask") or columns.count(name) > 1)]
    if unknown:
        raise UserError(
            f"{path}: the column '{unknown[0]}' has no meaning here or comes twice, expected "
            f"{','.join(CSV_COLUMNS)} and mask: rename or remove it"
        )
    lines = []
    for number, row in rows:
        where, fields = f"{path}:{number}", {name: value.strip() for name, value in zip(columns, row, strict=False)}
        camera = [_number(fields[name]) for name in CSV_COLUMNS[2:] if fields.get(name)]
        wrong = None in camera or len(camera) not in (0, 4) or any((one or 0) <= 0 for one in camera[:2])
        if not fields.get("image") or wrong or len(row) > len(columns):
            listed = ",".join(row)
            raise UserError(
                f"{where}: '{listed}' is not a row of a list, expected the columns {','.join(CSV_COLUMNS)}; others, "
                "such as mask, are named in a header"
            )
        known = cast(Camera, tuple(camera)) if camera else None
        lines.append(_checked_line(fields["image"], fields.get("depth", ""), where, known, fields.get("mask", "")))
    return lines


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def refuse_masks(lines: Sequence[SplitLine], source: str) -> None:
    """Refuse the masks of a list for a data set that knows none."""
    if masked := next((line for line in lines if line.mask), None):
        raise UserError(
            f"{source} names masks, such as {masked.mask}, which are read of folders only: name the data set folder, "
            "or remove them"
        )


def _checked_line(image: str, depth: str, where: str, camera: Camera | None = None, mask: str = "") -> SplitLine:
    """A line whose paths stay below the root and stand in the right order."""
    for path in (image, depth, mask):
        if ".." in path.split("/"):
            raise UserError(f"{where}: {path} leaves the data root, expected a path below it: remove the '..'")
    if LIKE_DEPTH.search(image) and not LIKE_IMAGE.search(image) and LIKE_IMAGE.search(depth):
        raise UserError(f"{where}: '{image}' looks like the depth map and '{depth}' like its image: put rgb first")
    known = None if depth in ("", "None") else depth.lstrip("/")
    return SplitLine(image.lstrip("/"), known, depth == "", camera, mask.lstrip("/") or None)
