"""What several verbs take: sizes, numbers, overrides, files to write; mistakes are one line."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from distill.errors import UserError
from distill.files import descriptor_of, is_special

MODEL = "a run folder, a student/ folder, or teacher-name:checkpoint.pt"
FILE = "an exported FILE (.onnx .pt2 .xml .pte .tflite)"
ZERO_SHOT = (
    "ibims1",
    "diode_indoor",
    "diode_outdoor",
    "eth3d",
    "scannet",
    "sunrgbd",
    "tum",
    "vkitti2",
    "hypersim",
    "ddad",
)
DATA_SETS = ("kitti", "nyu", "folder", *ZERO_SHOT, "scenes")
TRUTHS = ("annotated", "velodyne", "raw", "filled")


def image_size(text: str) -> tuple[int, int]:
    """'352x1216' as (352, 1216)."""
    from teachers.model import MAX_SIDE, MIN_SIDE

    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 352x1216, got {text!r}") from None
    if min(height, width) < MIN_SIDE:
        raise argparse.ArgumentTypeError(f"expected at least {MIN_SIDE}x{MIN_SIDE}, got {text}")
    if max(height, width) > MAX_SIDE:
        raise argparse.ArgumentTypeError(f"expected at most {MAX_SIDE}x{MAX_SIDE}, got {text}")
    return height, width


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def factor(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def count(text: str) -> int:
    """A whole number that is not negative."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, got {text!r}")
    return int(text)


def add_data(parser: argparse.ArgumentParser, half: str, *others: str) -> None:
    """Let a verb take a data set: which, where, of which half by default, and how its depth is meant.

    `others` are further kinds of data that the verb takes.
    """
    parser.add_argument(
        "--data",
        choices=[*DATA_SETS, *others],
        help="which data set; folder is one of your own (default: that of the model's run)",
    )
    parser.add_argument("--root", type=Path, help="where the data set lies (not for scenes)")
    parser.add_argument("--split", type=Path, help=f"list file (default: {half}_files_with_gt.txt in the root)")
    parser.add_argument("--truth", choices=TRUTHS, help="which depth, where there are several")
    parser.add_argument("--scenes", choices=["road", "room"], help="kind of embedded scenes (default: road)")
    parser.add_argument("--max-depth", type=float, help="cap in metres (default: the protocol's)")
    parser.add_argument("--depth-scale", type=float, help="depth units per metre of a folder (default: 1000)")


def add_overrides(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Let a verb take `section.key=value` anywhere among its options."""
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help=meaning)


# --------------------------------------------------------------------------------------------------- what is written

Known = Callable[[Path], bool]  # whether a file is of the kind that an option writes


def json_with(*keys: str) -> Known:
    """Knows JSON of which the first or only entry has these keys."""

    def known(path: Path) -> bool:
        try:
            content = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return False
        first = content[0] if isinstance(content, list) and content else content
        return isinstance(first, dict) and set(keys) <= first.keys()

    return known


def beginning_with(text: str) -> Known:
    """Knows files that begin so."""

    def known(path: Path) -> bool:
        with path.open("rb") as file:
            return file.read(len(text)) == text.encode()

    return known


def page_of(verb: str) -> Known:
    """Knows the pages that a command writes."""

    def known(path: Path) -> bool:
        with path.open("rb") as file:
            return f'name="generator" content="distill {verb}"'.encode() in file.read(4096)

    return known


def check_outputs(args: argparse.Namespace, **kinds: Known) -> None:
    """Refuse files that cannot be written, or would replace what no earlier call wrote, before an hour of work.

    Args:
        kinds: How to know what an option wrote, by the option's name. An empty file is nobody's.

    Raises:
        UserError: If there is such a file, or two options name one.
    """
    options: dict[str, str] = {}
    for name, known in kinds.items():
        path, option = getattr(args, name), f"--{name}"
        if path is None:
            continue
        if not is_writable(path):
            raise UserError(f"{option} {path} cannot be written; give a file in a folder that can")
        if is_special(path):
            if descriptor_of(path) == 1:  # as in --json /dev/stdout | jq: nothing else goes there
                sys.stdout = sys.stderr
            continue
        if path.is_file() and path.stat().st_size and not known(path):
            raise UserError(f"{option} {path} would replace a file that no such command wrote; give another name")
        other = options.setdefault(os.path.realpath(path), option)
        if other != option:
            raise UserError(f"{other} and {option} are both {path}; give each a file of its own")


def is_writable(path: Path) -> bool:
    """Whether a file of that name can be made, with the folder that it lies in, or a device or FIFO written into."""
    try:
        if path.is_dir() or path.is_block_device():
            return False
        if is_special(path):
            return os.access(path, os.W_OK)
        folder = Path(os.path.realpath(path)).parent
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def model_folders(model: str | None) -> list[Path]:
    """Folders that MODEL is read from, if it is one."""
    return [Path(model), Path(model) / "student"] if model else []


def check_folder(folder: Path, option: str, read: Iterable[Path], written: Iterable[Path]) -> None:
    """Refuse a folder of results that cannot be written, that the command reads, or in which it would replace files.

    Args:
        read: Folders that the command reads.
        written: Files that it will write, unless they are known to be its own.
    """
    if not is_writable(folder / "any"):
        raise UserError(f"{option} {folder} cannot be written; choose another")
    if any(os.path.realpath(one) == os.path.realpath(folder) for one in read):
        raise UserError(f"{option} {folder} is a folder that is read; choose another, or a new one in it")
    for file in written:
        if os.path.exists(file):
            raise UserError(f"{option} {folder}: {file} is there already and no result of this command; choose another")
