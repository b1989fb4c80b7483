"""What the command line takes: sizes, numbers, and mistakes in one line."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import NoReturn

from distill.errors import UserError


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, as every other mistake is told."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def size(text: str) -> tuple[int, int]:
    """'352x1216' as (352, 1216)."""
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 352x1216, got {text!r}") from None
    if min(height, width) < 32:
        raise argparse.ArgumentTypeError(f"expected at least 32x32, got {text}")
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


def predict_options(parser: argparse.ArgumentParser) -> None:
    """What `distill predict` takes."""
    parser.add_argument("model", metavar="MODEL", help="a run folder, a student/ folder, or teacher-name:checkpoint.pt")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image, folder, glob, video, or a camera's number")
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder (default: %(default)s)")
    parser.add_argument("--size", type=size, metavar="HxW", help="resize images for the model, and depth back")
    parser.add_argument(
        "--batch", type=positive, default=1, metavar="N", help="images of one size at a time (default: 1)"
    )
    parser.add_argument("--frames", type=positive, metavar="N", help="of a video or camera, no more than these")
    parser.add_argument("--npy", action="store_true", help="write float32 metres as well")
    parser.add_argument("--ply", action="store_true", help="write coloured point clouds as well")
    parser.add_argument(
        "--intrinsics",
        type=factor,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="the camera of point clouds, in pixels of the images (default: one that sees 60 degrees across)",
    )
    parser.add_argument("--teacher", metavar="MODEL", help="write its depth beside the student's")
    parser.add_argument(
        "--truth", type=Path, metavar="DIR", help="depth maps called like the images: write them and the error beside"
    )
    parser.add_argument(
        "--depth-scale", type=factor, help="units per metre of --truth (default: as a file says, or 1000 in pictures)"
    )
