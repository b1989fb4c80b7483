"""`distill data prepare`: NYU's labelled file as the pictures that other toolkits read."""

from __future__ import annotations

import argparse

from rich.progress import Progress

from distill.data import Source
from distill.data.nyu_hdf5 import LABELLED_FILES, labelled_file
from distill.data.nyu_prepare import write_pictures
from distill.data.split_files import Part
from distill.engine.tracking import console
from distill.errors import UserError

PARTS: tuple[Part, ...] = ("train", "test")


def prepare_command(args: argparse.Namespace) -> None:
    """Carry out `distill data prepare`.

    Raises:
        UserError: If there is no labelled file, or the output holds something else.
    """
    if labelled_file(args.root) is None:
        raise UserError(f"{args.root} has no {LABELLED_FILES[0]}, expected NYU's labelled file: name its folder")
    if args.output.exists() and (not args.output.is_dir() or any(args.output.iterdir())):
        raise UserError(f"{args.output} already holds something, expected a new or empty folder: name another --output")
    source = Source("nyu", args.root, truth=args.truth or "raw")
    with Progress(console=console, disable=not console.is_terminal) as progress:
        for part in PARTS:
            contents = source.find(part)
            shown = progress.track(contents.usable, description=f"writing {part}")
            print(f"{len(contents.usable)} frames: {write_pictures(contents, shown, part, args.output)}")
