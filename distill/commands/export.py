"""`distill export`: a model becomes a file that runs without this package, and is checked at once."""

from __future__ import annotations

import argparse
import copy
import mmap
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.onnx import OnnxExporterError

from distill.commands.arguments import MODEL, check_outputs, image_size, positive
from distill.console import display
from distill.deploy.costs import MEBI
from distill.deploy.eight_bits import CALIBRATED, write_int8
from distill.deploy.graph import OPSETS, finish, write_onnx, write_program
from distill.deploy.runtime import TOLERANCE, Deviation, deviation
from distill.deploy.subject import CHECKED, Subject, choose_size, facts_of, images_of, open_subject
from distill.errors import DONE, FAILURE, UserError
from distill.files import is_special
from distill.inference.exported import SUFFIXES, OnnxModel, first_line, need
from teachers import DPT

OWN = re.compile(rb"software.{1,200}distill ", re.DOTALL)  # in the facts of what this command writes


def options(parser: argparse.ArgumentParser) -> None:
    """Declare what `distill export` takes."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help="FILE.onnx, or FILE.pt2 for torch.export"
    )
    parser.add_argument("--size", type=image_size, metavar="HxW", help="of the image (default: as it was trained)")
    parser.add_argument("--dynamic", action="store_true", help="leave batch, height and width free; ONNX only")
    parser.add_argument("--opset", type=positive, default=18, help="version of ONNX's operators (default: %(default)s)")
    parser.add_argument("--int8", action="store_true", help="8-bit weights and activations, calibrated; ONNX only")
    parser.add_argument(
        "--images",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="images or folders to check, and to calibrate, by (default: the run's own training images, else scenes)",
    )
    parser.add_argument("--licence", help="of the weights, for the file's metadata (default: as the training data's)")


def run(args: argparse.Namespace) -> int:
    """Carry out `distill export` and return the exit code: 1 where the file would not give the model's depth.

    Raises:
        UserError: If a model, an option or an image is wrong.
    """
    check_options(args)
    subject = open_subject(args.model)
    check_sizes(subject, args)
    if args.int8 and subject.run is None and not args.images:
        raise UserError(
            f"--int8 calibrates on images, and no run with data of its own lies beside {args.model}: give --images"
        )
    size = choose_size(subject, args.size)
    images, origin = images_of(subject, size, args.images, CHECKED)
    target = Path(os.path.realpath(args.output))
    with (
        tempfile.TemporaryDirectory(prefix=f".{target.name[:40]}-", dir=target.parent) as folder,
        explaining_lack(folder, args.output),
    ):
        part = Path(folder) / target.name
        exported = write(subject, args, size, part)
        measured = compare(exported, subject, images, args.dynamic)
        runtime = "ONNX Runtime" if args.output.suffix == ".onnx" else "PyTorch"
        display(f"checked by {runtime} on images {origin}: {measured}")
        if not measured.acceptable:
            display(f"more than {TOLERANCE:g} is a failure: {args.output} was not written")
            return FAILURE
        if args.int8:
            calibrating, _ = images_of(subject, size, args.images, CALIBRATED)
            exact, part = part, part.with_name("int8.onnx")
            if not write_int8(subject, size, exact, part, calibrating):
                display(f"{args.output} was not written")
                return FAILURE
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, target)
    display(f"{args.output}: {args.output.stat().st_size / MEBI:.1f} MiB, {'any size' if args.dynamic else size}")
    return DONE


@contextmanager
def explaining_lack(folder: str, output: Path) -> Iterator[None]:
    """Say that the disk is full, of which the libraries that write into the folder only tell that something failed."""
    try:
        try:
            yield
        except (OSError, UserError):
            raise
        except Exception:
            size = sum(path.stat().st_size for path in Path(folder).rglob("*"))
            Path(folder, "room").write_bytes(bytes(2 * size))  # if there is none, this fails
            raise
    except OSError as error:
        if error.filename is None or str(error.filename).startswith(folder):
            error.filename = str(output)
        raise


def check_options(args: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is opened."""
    kind = args.output.suffix
    if kind not in SUFFIXES:
        raise UserError(f"--output {args.output} is of no known kind, expected a name that ends with .onnx or .pt2")
    if args.opset not in OPSETS:
        raise UserError(
            f"--opset {args.opset} cannot be written, expected one from {OPSETS[0]} to {OPSETS[-1]}; runtimes of older "
            "ones lack what these networks consist of"
        )
    if kind == ".pt2" and args.dynamic:
        raise UserError("--dynamic is for ONNX; a .pt2 takes one size: give --size HxW")
    if kind == ".pt2" and args.int8:
        raise UserError("--int8 is for ONNX: give an --output that ends with .onnx")
    for name in ("onnx", "onnxruntime") if kind == ".onnx" else ():
        need(name)
    check_outputs(args, output=was_exported)
    if is_special(args.output):
        raise UserError(f"--output {args.output} is a device or FIFO, expected a name for a file")


def was_exported(path: Path) -> bool:
    """Whether a file was written by this command."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return OWN.search(content) is not None


def check_sizes(subject: Subject, args: argparse.Namespace) -> None:
    """Refuse free sizes for a network whose graph depends on the size."""
    scale = subject.model.config.resolution_scale if isinstance(subject.model, DPT) else 1
    if args.dynamic and scale != 1:
        raise UserError(
            f"{subject.name} works on an image of {scale:g} of the size, which a graph holds for one size only: "
            "leave --dynamic out and give --size HxW"
        )


def write(subject: Subject, args: argparse.Namespace, size: tuple[int, int], path: Path) -> nn.Module:
    """Write the file and open it again, as others will."""
    facts = facts_of(subject, None if args.dynamic else size, args.licence)
    if path.suffix == ".pt2":
        write_program(subject.model, path, size, facts)
        return torch.export.load(path).module()
    traced = path.with_name("traced.onnx")
    try:
        write_onnx(subject.model, traced, None if args.dynamic else size, args.opset)
    except OnnxExporterError as error:
        raise UserError(
            f"{subject.name} holds what ONNX has not ({first_line(error)}); give an --output .pt2"
        ) from error
    finish(traced, path, facts)
    return OnnxModel(path)


def compare(exported: nn.Module, subject: Subject, images: Sequence[Tensor], dynamic: bool) -> Deviation:
    """The difference on the images and, where sizes are free, on the first one at others.

    The model computes in float64, so that the file answers for its own rounding alone: that of DPT-Hybrid in float32 is
    larger than what is allowed where depth is 1 / (scale * output + shift).

    Raises:
        UserError: If the file does not work at one of the other sizes.
    """
    model = copy.deepcopy(subject.model).double()

    def exact(image: Tensor) -> Tensor:
        return model(image.double())

    for size in other_sizes(images[0]) if dynamic else ():
        other = torch.cat([F.interpolate(image, size=size, mode="bilinear") for image in (images[0], images[-1])])
        with suppress(UserError):  # of a graph that cannot be computed
            if deviation(exported, exact, [other]).acceptable:
                continue
        raise UserError(
            f"{subject.name} cannot have free sizes: its graph does not give its depth at {size[0]}x{size[1]}; leave "
            "--dynamic out and give --size HxW"
        )
    return deviation(exported, exact, images)


def other_sizes(image: Tensor) -> list[tuple[int, int]]:
    """Sizes that no graph was traced at: the least, odd ones, upright and lying, below and above the image's own."""
    height, width = image.shape[-2:]
    smaller = (max(32, height * 3 // 4), max(32, width - 1))
    return [(32, 32), (33, 95), (95, 33), (64, 160), (159, 65), smaller, (height + 5, width + 37)]
