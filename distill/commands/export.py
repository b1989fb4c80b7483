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
from torch import Tensor

from distill.commands.arguments import MODEL, check_outputs, factor, image_size, positive
from distill.console import display, warn
from distill.deploy.costs import MEBI
from distill.deploy.eight_bits import CALIBRATED, write_int8
from distill.deploy.rounding import accuracy_of_half
from distill.deploy.runtime import HALF_TOLERANCE, TOLERANCE, Deviation
from distill.deploy.subject import CHECKED, Subject, choose_size, facts_of, images_of, open_subject
from distill.deploy.targets import TARGETS, Cargo, Target
from distill.deploy.targets.onnx_files import decoder_of, is_decoder
from distill.errors import DONE, FAILURE, UserError
from distill.files import is_special
from distill.inference.exported import UNCERTAINTY, ExportedModel, first_line
from distill.inference.models import check_uncertainty
from students import CNNStudent
from teachers import DPT

TENSORRT = (
    "--target tensorrt: an engine is made by the GPU that runs it; give --target onnx-portable here, and there run "
    "trtexec --onnx=FILE.onnx --saveEngine=FILE.engine --fp16"
)
OWN = re.compile(rb"software.{1,200}distill ", re.DOTALL)  # in the facts of what this command writes


def options(parser: argparse.ArgumentParser) -> None:
    """Declare what `distill export` takes."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="its name ends as its target's does")
    parser.add_argument(
        "--target", choices=[*TARGETS, "tensorrt"], help="what the file is for (default: by the end of its name)"
    )
    parser.add_argument("--size", type=image_size, metavar="HxW", help="of the image (default: as it was trained)")
    parser.add_argument("--dynamic", action="store_true", help="leave batch, height and width free; onnx only")
    parser.add_argument("--opset", type=positive, help="version of ONNX's operators (default: 18, onnx-portable's 16)")
    parser.add_argument("--logits", action="store_true", help="end at the scores of the bins; onnx-portable only")
    parser.add_argument(
        "--fp16",
        action="store_true",
        help="weights in 16 bits, half of the file; for onnx, openvino, litert and coreml",
    )
    parser.add_argument(
        "--int8", action="store_true", help="8-bit weights and activations, calibrated; onnx and openvino"
    )
    parser.add_argument(
        "--confidence", action="store_true", help="a second output, the depth's standard deviation, of a CNN student"
    )
    parser.add_argument(
        "--images",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="images or folders to check, and to calibrate, by (default: the run's own training images, else scenes)",
    )
    parser.add_argument(
        "--focal-px",
        type=factor,
        metavar="F",
        help="of a student of data.focal=canonical: the focal length of the file's images, in their pixels",
    )
    parser.add_argument("--licence", help="of the weights, for the file's metadata (default: as the training data's)")


def run(args: argparse.Namespace) -> int:
    """Carry out `distill export` and return the exit code: 1 where the file would not give what the model does.

    Raises:
        UserError: If a model, an option or an image is wrong.
    """
    kind = choose_target(args)
    check_options(args, kind)
    subject = open_subject(args.model, args.focal_px)
    check_subject(subject, args)
    if args.confidence:
        check_uncertainty(args.model, subject.model)
    if args.int8 and subject.run is None and not args.images:
        raise UserError(
            f"--int8 calibrates on images, and no run with data of its own lies beside {args.model}: give --images"
        )
    size = choose_size(subject, args.size)
    images, origin = images_of(subject, size, args.images, CHECKED)
    facts = facts_of(subject, None if args.dynamic else size, args.licence, logits=args.logits)
    opset = args.opset or next(iter(kind.opsets), 0)
    if args.confidence:
        facts["uncertainty"] = "uncertainty: float32, as depth: its standard deviation under the bins' probabilities"
    cargo = Cargo(subject.model, None if args.dynamic else size, facts, opset, args.logits, args.confidence, args.fp16)
    tolerance = HALF_TOLERANCE if args.fp16 else TOLERANCE
    target = Path(os.path.realpath(args.output))
    with (
        tempfile.TemporaryDirectory(prefix=f".{target.name[:40]}-", dir=target.parent) as folder,
        explaining_lack(folder, args.output),
    ):
        part = Path(folder) / target.name
        write(kind, cargo, part, subject.name)
        if kind.open is None:
            display(f"{kind.runtime} runs on its maker's machines only: operators were compared, what it gives was not")
            if args.fp16:
                warn("in float16 Core ML has lost up to 6 % of a range's RMSE: evaluate it where it runs")
        else:
            opened = kind.model(part, cargo)
            for number, output in enumerate([subject.output.name, *([UNCERTAINTY] if args.confidence else [])]):
                measured = compare(opened, subject, images, args.dynamic, number, tolerance)
                display(f"{output} checked by {kind.runtime} on images {origin}: {measured}")
                if not measured.within(tolerance):
                    display(f"more than {tolerance:g} is a failure: {args.output} was not written")
                    return FAILURE
            if args.fp16:
                held, stated = accuracy_of_half(subject, size, opened, images)
                if not held:
                    display(f"that is more: {args.output} was not written; leave --fp16 out")
                    return FAILURE
                if stated:
                    assert kind.state is not None
                    kind.state(part, {"accuracy": stated})
        if args.int8:
            calibrating, _ = images_of(subject, size, args.images, CALIBRATED)
            rounded = Path(folder) / "int8" / target.name
            rounded.parent.mkdir()
            if not write_int8(kind, cargo, subject, size, part, rounded, calibrating):
                display(f"{args.output} was not written")
                return FAILURE
            for file in rounded.parent.iterdir():
                os.replace(file, part.with_name(file.name))
            rounded.parent.rmdir()
        written = publish(Path(folder), target)
    if kind.suffix == target.suffix == ".onnx" and not args.logits:
        remove_decoder(decoder_of(target))
    display(f"{args.output}: {written / MEBI:.1f} MiB, {'any size' if args.dynamic else size}")
    return DONE


def publish(folder: Path, target: Path) -> int:
    """Give what was written its place, on the disk and beside each other; the file itself comes last.

    Returns:
        The bytes of all of it.
    """
    size = 0
    for part in sorted(folder.iterdir(), key=lambda path: path.name == target.name):
        for path in part.rglob("*") if part.is_dir() else [part]:
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
                    size += os.stat(file.fileno()).st_size
        os.replace(part, target.with_name(part.name))
    return size


def remove_decoder(path: Path) -> None:
    """Remove the decoder of an earlier file, which this one has no use for; one that was edited stays."""
    if is_decoder(path):
        path.unlink()
    elif path.exists():
        warn(f"{path} is not as this command writes it and stays; it is not for this file, which gives depth itself")


@contextmanager
def explaining_lack(folder: str, output: Path) -> Iterator[None]:
    """Say that the disk is full, of which the libraries that write into the folder only tell that something failed."""
    try:
        try:
            yield
        except (OSError, UserError):
            raise
        except Exception:
            check_room(Path(folder))
            raise
    except OSError as error:
        if error.filename is None or str(error.filename).startswith(folder):
            error.filename = str(output)
        raise


def check_room(folder: Path) -> None:
    """Fail if there is no room for twice of what lies in a folder."""
    size = sum(path.stat().st_size for path in folder.rglob("*"))
    (folder / "room").write_bytes(bytes(2 * size))
    (folder / "room").unlink()


def choose_target(args: argparse.Namespace) -> Target:
    """The target of --target, else the first whose files end like --output.

    Raises:
        UserError: If the name does not fit, or it is TensorRT's.
    """
    suffix = args.output.suffix
    if args.target == "tensorrt" or suffix == ".engine":
        raise UserError(TENSORRT)
    names = [args.target] if args.target else [name for name, one in TARGETS.items() if one.suffix == suffix]
    if not names:
        known = ", ".join(dict.fromkeys(one.suffix for one in TARGETS.values()))
        raise UserError(f"--output {args.output} is of no known kind, expected a name that ends with one of {known}")
    kind = TARGETS[names[0]]
    if suffix != kind.suffix:
        raise UserError(f"--output {args.output}: a file for {names[0]} has a name that ends with {kind.suffix}")
    return kind


def check_options(args: argparse.Namespace, kind: Target) -> None:
    """Refuse what cannot work before anything is opened."""
    if args.opset and args.opset not in kind.opsets:
        known = ", ".join(
            f"--target {name}: {' '.join(map(str, one.opsets))}" for name, one in TARGETS.items() if one.opsets
        )
        raise UserError(f"--opset {args.opset} cannot be written here, expected one of these: {known}")
    if args.dynamic and not kind.any_size:
        raise UserError("--dynamic is for --target onnx; the others take one size: give --size HxW")
    if args.int8 and kind.quantiser is None:
        raise UserError("--int8 is for --target onnx or openvino, and an --output that ends with .onnx or .xml")
    if args.fp16 and not kind.half:
        known = ", ".join(name for name, one in TARGETS.items() if one.half)
        raise UserError(f"--fp16 is for --target {known}: give one of these, or leave --fp16 out")
    if args.fp16 and args.int8:
        raise UserError("--fp16 and --int8 exclude each other: leave one of them out")
    if args.logits and kind is not TARGETS["onnx-portable"]:
        raise UserError("--logits is for --target onnx-portable")
    if args.confidence and (args.logits or not kind.two_outputs):
        known = ", ".join(name for name, one in TARGETS.items() if one.two_outputs)
        raise UserError(f"--confidence is for --target {known}, without --logits: leave one of them out")
    if args.confidence and args.int8:
        raise UserError("--confidence is not checked in 8 bits: leave --int8 or --confidence out")
    kind.require()
    check_outputs(args, output=was_exported)
    for end in kind.beside:
        other = args.output.with_name(args.output.stem + end)
        if other.exists() and not args.output.exists():
            raise UserError(f"{other} is there without {args.output}, and would be replaced; give another --output")
    decoder = decoder_of(Path(os.path.realpath(args.output)))
    if args.logits and decoder.exists() and not is_decoder(decoder):
        raise UserError(f"{decoder} is not as this command writes it, and would be replaced; give another --output")
    if is_special(args.output):
        raise UserError(f"--output {args.output} is a device or FIFO, expected a name for a file")


def was_exported(path: Path) -> bool:
    """Whether a file was written by this command."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return OWN.search(content) is not None


def check_subject(subject: Subject, args: argparse.Namespace) -> None:
    """Refuse free sizes for a network whose graph depends on the size, and logits where there are none."""
    model = subject.model
    scale = model.config.resolution_scale if isinstance(model, DPT) else 1
    if args.dynamic and scale != 1:
        raise UserError(
            f"{subject.name} works on an image of {scale:g} of the size, which a graph holds for one size only: "
            "leave --dynamic out and give --size HxW"
        )
    if args.logits and not (isinstance(model, CNNStudent) and model.has_uncertainty and model.calibration is None):
        raise UserError(
            f"{subject.name} does not end with bins, as CNN students do that are not calibrated: leave --logits out"
        )


def write(kind: Target, cargo: Cargo, path: Path, name: str) -> None:
    """Write the file.

    Raises:
        UserError: If the target lacks what the network consists of.
    """
    try:
        kind.write(cargo, path)
    except (OSError, UserError):
        raise
    except Exception as error:  # those of the converters have no class in common
        check_room(path.parent)
        reason = f"{type(error).__name__}: {first_line(error)}"
        fix = "another --opset, or --target pt2" if kind.opsets else "--target onnx"
        raise UserError(f"{name} holds what files for {kind.runtime} have not ({reason}); give {fix}") from error


def compare(
    opened: ExportedModel,
    subject: Subject,
    images: Sequence[Tensor],
    dynamic: bool,
    number: int = 0,
    tolerance: float = TOLERANCE,
) -> Deviation:
    """The difference of an output on the images and, where sizes are free, on the first one at others.

    The model computes in float64, so that the file answers for its own rounding alone: that of DPT-Hybrid in float32 is
    larger than what is allowed where depth is 1 / (scale * output + shift).

    Raises:
        UserError: If the file does not work at one of the other sizes.
    """
    model = copy.deepcopy(subject.model).double()

    def exported(image: Tensor) -> Tensor:
        return opened.maps(image)[number]

    def exact(image: Tensor) -> Tensor:
        return model.with_uncertainty(image.double())[number] if number else model(image.double())

    for size in other_sizes(images[0]) if dynamic else ():
        other = torch.cat([F.interpolate(image, size=size, mode="bilinear") for image in (images[0], images[-1])])
        with suppress(UserError):  # of a graph that cannot be computed
            if subject.output.compare(exported, exact, [other]).within(tolerance):
                continue
        raise UserError(
            f"{subject.name} cannot have free sizes: its graph does not give the same at {size[0]}x{size[1]}; leave "
            "--dynamic out and give --size HxW"
        )
    return subject.output.compare(exported, exact, images)


def other_sizes(image: Tensor) -> list[tuple[int, int]]:
    """Sizes that no graph was traced at: the least, odd ones, upright and lying, below and above the image's own."""
    height, width = image.shape[-2:]
    smaller = (max(32, height * 3 // 4), max(32, width - 1))
    return [(32, 32), (33, 95), (95, 33), (64, 160), (159, 65), smaller, (height + 5, width + 37)]
