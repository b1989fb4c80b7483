"""`distill predict`: from images, videos and cameras to files, one broken file at a time."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from distill.commands.arguments import FILE, MODEL, check_folder, factor, image_size, model_folders, positive
from distill.console import StepProgress, inform, warn
from distill.data import DecodeError
from distill.data.files.intrinsics import matrix_of, misfit
from distill.data.files.png import is_written_depth
from distill.errors import DONE, MISTAKE, UserError
from distill.evaluation.scores import Size
from distill.files import write_json
from distill.inference.agreement import agreement_protocol, in_truths_place
from distill.inference.models import check_uncertainty, for_inference, input_size, open_model
from distill.inference.network import Network, protocols_for
from distill.inference.stored import ABOUT, find_maps, read_about
from distill.predict.frames import Frame, TruthFolder, batches, expected_frames, read_frames
from distill.predict.inputs import Input, check_names, find_inputs
from distill.predict.writing import KINDS, OWN_FAULTS, USUAL_ANGLE, Predicted, Writer, colour_range, meaning_of
from teachers.model import RELATIVE, is_relative

FARTHEST = 1000.0  # metres of a teacher's depth that count


def options(parser: argparse.ArgumentParser) -> None:
    """Declare what `distill predict` takes."""
    parser.add_argument("model", metavar="MODEL", help=f"{MODEL}, or {FILE}")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image, folder, glob, video, or a camera's number")
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder (default: %(default)s)")
    parser.add_argument("--size", type=image_size, metavar="HxW", help="resize images for the model, and depth back")
    parser.add_argument(
        "--batch", type=positive, default=1, metavar="N", help="images of one size at a time (default: 1)"
    )
    parser.add_argument("--frames", type=positive, metavar="N", help="of a video or camera, no more than these")
    parser.add_argument("--npy", action="store_true", help="write float32 metres as well")
    parser.add_argument("--ply", action="store_true", help="write coloured point clouds as well")
    parser.add_argument(
        "--confidence", action="store_true", help="write the depth's standard deviation too, of a CNN student"
    )
    parser.add_argument(
        "--intrinsics",
        type=factor,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="the camera, in pixels of the images: of point clouds (default: one that sees 60 degrees across), and of "
        "students of data.focal=canonical",
    )
    parser.add_argument("--teacher", metavar="MODEL", help="write its depth beside the student's")
    parser.add_argument(
        "--truth", type=Path, metavar="DIR", help="depth maps called like the images: write them and the error beside"
    )
    parser.add_argument(
        "--depth-scale", type=factor, help="units per metre of --truth (default: as a file says, or 1000 in pictures)"
    )


def run(args: argparse.Namespace) -> int:
    """Carry out `distill predict`."""
    return MISTAKE if predict_inputs(args) else DONE


def predict_inputs(args: argparse.Namespace) -> list[str]:
    """Predict every input and return one line for each that could not be read.

    Raises:
        UserError: If there is no such model or input, a camera does not open, or the output cannot be written.
    """
    inputs = find_inputs(args.inputs, args.output)
    writer = make_writer(args)
    check_names(inputs, args.output, writer.suffixes)
    truth = TruthFolder(args.truth, args.depth_scale) if args.truth else None
    if truth:
        truth.check(inputs)
    total = expected_frames(inputs, args.frames)
    check_output(args, inputs, writer)
    student = open_network(args.model, args.size, classes=True, confidence=args.confidence)
    settle_camera(args, student)
    # A teacher that says nothing of its size saw what its student sees.
    teacher = open_network(args.teacher, None, student.size) if args.teacher else None
    if teacher and teacher.canonical_focal is not None:
        raise UserError(f"--teacher {args.teacher} gives metres only with a focal length: name one of a single camera")
    settle_meaning(args, inputs, writer, student, teacher)
    tally = Tally(args.teacher, teacher, student) if teacher else None
    broken: list[str] = []
    frames = readable_frames(inputs, args.frames, broken)
    started, done, holed = time.perf_counter(), 0, 0
    with StepProgress(total, 0, "predicting") as progress:
        try:
            for batch in batches(frames, args.batch):
                if student.intrinsics is not None:
                    height, width = batch[0].image.shape[:2]
                    if why := misfit(student.intrinsics, None, (height, width), batch[0].name):
                        raise UserError(why)
                for one in predict(student, tally, truth, batch, broken):
                    done += write(writer, one, broken)
                    holed += not np.isfinite(one.depth).all()
                progress.update(done, f"{done / (time.perf_counter() - started):.3g} frames/s")
        finally:
            writer.close()
    report_end(inputs, broken, done, time.perf_counter() - started, args.output)
    if holed:
        warn(f"{args.model} gives values that are not finite in {holed} of {done} frames: no depth is written there")
    if tally and tally.scores:
        inform(f"agreement with {args.teacher}: {tally} on {len(tally.scores)} frames")
    return broken


def open_network(
    name: str, wanted: Size | None, usual: Size | None = None, *, classes: bool = False, confidence: bool = False
) -> Network:
    """MODEL as a network that takes images of any size; `usual` is that of one that states none."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = for_inference(open_model(name, classes=classes)).to(device).eval()
    if confidence:
        check_uncertainty(name, model)
    return Network(model, None, device, input_size(name, model, wanted) or usual, confidence=confidence)


def settle_camera(args: argparse.Namespace, student: Network) -> None:
    """Give a student of a canonical camera that of the images.

    Raises:
        UserError: If it needs one and there is none, or nothing needs the one that there is.
    """
    if student.canonical_focal is None:
        if args.intrinsics and not args.ply:
            raise UserError("--intrinsics is for point clouds: give --ply as well")
        return
    if not args.intrinsics:
        raise UserError(f"{args.model} gives metres only with a focal length: give --intrinsics FX FY CX CY")
    if args.teacher:
        raise UserError(f"--teacher is shown beside students of one camera, {args.model} is for any: leave it out")
    student.intrinsics = matrix_of(args.intrinsics)


def make_writer(args: argparse.Namespace) -> Writer:
    """What is to be written, by the command's options.

    Raises:
        UserError: If one of them needs another.
    """
    camera = tuple(args.intrinsics) if args.intrinsics else None
    if args.depth_scale and not args.truth:
        raise UserError("--depth-scale is that of the ground truth: give --truth as well")
    if args.ply and not camera:
        inform(
            f"point clouds: a camera that sees {USUAL_ANGLE:g} degrees across is assumed; --intrinsics gives your own"
        )
    compare = bool(args.teacher or args.truth)
    return Writer(args.output, args.npy, args.ply, compare, camera, confidence=args.confidence)


def settle_meaning(
    args: argparse.Namespace, inputs: Sequence[Input], writer: Writer, student: Network, teacher: Network | None
) -> None:
    """Let the files say no more than the values: relative depth and classes have no metres, and no folder holds both.

    Raises:
        UserError: If metres are needed, or the output holds values of another meaning already.
    """
    meaning, names = meaning_of(student.model)
    relative = [args.model] if is_relative(student.model) else []
    relative += [args.teacher] if teacher and is_relative(teacher.model) else []
    if relative and args.truth:
        raise UserError(f"--truth is metres, and {relative[0]} gives {RELATIVE}: leave it out")
    if meaning == "classes" and (writer.arrays or writer.clouds or writer.compare):
        raise UserError(
            f"--npy, --ply, --teacher and --truth are for depth, {args.model} gives classes: leave them out"
        )
    held = read_about(args.output).output
    some = held != "metric" or any(is_written_depth(path) for path in find_maps(args.output).values())
    if some and held != meaning:
        raise UserError(f"{args.output} holds {KINDS[held]} of an earlier call: choose another --output")
    if meaning == "metric":
        return
    writer.meaning = meaning
    check_output(args, inputs, writer)
    write_json(args.output / ABOUT, {"output": meaning, "model": args.model} | ({"classes": names} if names else {}))
    if meaning == "classes":
        inform(f"{args.model}: NAME.png has the class of each pixel, from 0; {args.output / ABOUT} has their names")
    else:
        without = "no 16-bit PNG in metres and no point cloud" if args.ply else "no 16-bit PNG in metres"
        warn(f"{args.model}: {RELATIVE}; NAME.npy holds it, {without} can be written")


def check_output(args: argparse.Namespace, inputs: Sequence[Input], writer: Writer) -> None:
    """Refuse a folder that cannot be written, or holds other things, before anything is loaded for it."""
    read = [*([args.truth] if args.truth else []), *model_folders(args.model), *model_folders(args.teacher)]
    check_folder(args.output, "--output", read, writer.strangers(inputs))


def readable_frames(inputs: Sequence[Input], limit: int | None, broken: list[str]) -> Iterator[Frame]:
    """Every frame of every source; one that cannot be read is named, and the next one follows."""
    for source in inputs:
        try:
            yield from read_frames(source, limit)
        except DecodeError as error:
            skip(error, broken)


def skip(error: DecodeError, broken: list[str]) -> None:
    broken.append(str(error))
    inform(f"skipped: {error}")


class Tally:
    """What a teacher says of every frame, and how far the student agrees."""

    def __init__(self, name: str, teacher: Network, student: Network) -> None:
        self.teacher, self.relative, self.scores = teacher, is_relative(teacher.model), list[dict[str, float]]()
        self.student_relative = is_relative(student.model)
        (self.protocol,) = protocols_for(student.model, [agreement_protocol(name, self.relative, FARTHEST)])

    def images(self, images: Sequence[np.ndarray], depths: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The teacher's depths in the truth's place, (H, W) each, after the student's have been scored by them."""
        truths = [in_truths_place(one, self.relative) for one in self.teacher.images(images)]
        for depth, truth in zip(depths, truths, strict=True):
            score = self.protocol.score(depth, truth, relative=self.student_relative)
            self.scores += [score] if score["pixels"] else []
        return truths

    def __str__(self) -> str:
        """For people: the mean over frames."""
        return ", ".join(f"{name} {fmean(one[name] for one in self.scores):.4g}" for name in ("abs_rel", "d1"))


def predict(
    student: Network, tally: Tally | None, truth: TruthFolder | None, batch: Sequence[Frame], broken: list[str]
) -> Iterator[Predicted]:
    """What is known of a batch of frames; one whose ground truth cannot be read has none, and is named."""
    images = [frame.image for frame in batch]
    known: Sequence[tuple[np.ndarray, np.ndarray | None]] = (
        student.with_uncertainty(images) if student.confidence else [(depth, None) for depth in student.images(images)]
    )
    depths = [depth for depth, _ in known]
    others: Sequence[np.ndarray | None] = tally.images(images, depths) if tally else [None] * len(batch)
    compared = tally.protocol if tally and tally.protocol.aligner.inverse else None
    for frame, (depth, uncertainty), other in zip(batch, known, others, strict=True):
        measured = None
        try:
            measured = truth.read(frame) if truth else None
        except DecodeError as error:
            skip(error, broken)
        limits, meaning = colour_range(student.model, depth), meaning_of(student.model)
        yield Predicted(frame, depth, limits, other, measured, *meaning, uncertainty, compared)


def write(writer: Writer, one: Predicted, broken: list[str]) -> bool:
    """Write the files of a frame, if the disk takes their names: one that it does not take is that frame's fault."""
    try:
        writer(one)
    except OSError as error:
        if error.errno in OWN_FAULTS:
            skip(DecodeError(str(one.frame.source), f"its files cannot be written: {error.strerror}"), broken)
            return False
        raise UserError(
            f"files of {one.frame.source} cannot be written to {writer.output} ({error.strerror}); make room, or "
            "choose another --output"
        ) from error
    return True


def report_end(inputs: Sequence[Input], broken: Sequence[str], frames: int, seconds: float, output: Path) -> None:
    """The last line: how many, how fast, where to."""
    speed = f"{frames / seconds:.3g} frames/s, " if frames else ""
    fine = f"{len(inputs)} inputs" if not broken else f"{len(inputs)} inputs, {len(broken)} of them with faults"
    inform(f"{fine}: {frames} frames in {seconds:.1f} s, {speed}written to {output}")
