"""What several verbs take: sizes, numbers, overrides, files to write; mistakes are one line."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

from distill.errors import UserError

MODEL = "a run folder, a student/ folder, or teacher-name:checkpoint.pt"
FILE = "an exported FILE.onnx or FILE.pt2"
DATA_SETS = ("kitti", "nyu", "folder", "scenes")
TRUTHS = ("annotated", "velodyne", "raw", "filled")


def image_size(text: str) -> tuple[int, int]:
    """'352x1216' as (352, 1216)."""
    from teachers.model import MIN_SIDE

    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 352x1216, got {text!r}") from None
    if min(height, width) < MIN_SIDE:
        raise argparse.ArgumentTypeError(f"expected at least {MIN_SIDE}x{MIN_SIDE}, got {text}")
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


def add_overrides(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Let a verb take `section.key=value` anywhere among its options."""
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help=meaning)


def check_writable(path: Path, option: str) -> None:
    """Refuse, before an hour of work rather than after it, a file that cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        usable = not path.is_dir() and os.access(path.parent, os.W_OK)
    except OSError:
        usable = False
    if not usable:
        raise UserError(f"{option} {path} cannot be written; give a file in a folder that can")
