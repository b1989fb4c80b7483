"""The command: from sources to files, one broken file at a time."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from distill.data import DecodeError
from distill.engine.tracking import StepProgress, console
from distill.errors import UserError
from distill.judging import trained_size
from distill.predict.cloud import USUAL_ANGLE
from distill.predict.frames import Frame, batches, expected_frames, read_frames
from distill.predict.inputs import Source, check_names, find_sources
from distill.predict.network import Predictor
from distill.predict.truth import TruthFolder
from distill.predict.writing import Predicted, Writer


def predict_command(args: argparse.Namespace) -> list[str]:
    """Carry out `distill predict` and return one line for each input that could not be read.

    Raises:
        UserError: If there is no such model or input, a camera does not open, or the output cannot be written.
    """
    sources = find_sources(args.inputs, args.output)
    writer = make_writer(args)
    check_names(sources, args.output, writer.suffixes)
    truth = TruthFolder(args.truth, args.depth_scale) if args.truth else None
    if truth:
        truth.check(sources)
    total = expected_frames(sources, args.frames)
    check_output(args.output)
    student = Predictor(args.model, args.size)
    # A teacher that says nothing of its size saw what its student sees.
    teacher = Predictor(args.teacher, trained_size(args.teacher) or student.size) if args.teacher else None
    broken: list[str] = []
    frames = readable_frames(sources, args.frames, broken)
    started, done = time.perf_counter(), 0
    with StepProgress(total, 0, "predicting") as progress:
        try:
            for batch in batches(frames, args.batch):
                for one in predict(student, teacher, truth, batch, broken):
                    write(writer, one)
                done += len(batch)
                progress.update(done, f"{done / (time.perf_counter() - started):.3g} frames/s")
        finally:
            writer.close()
    say(sources, broken, done, time.perf_counter() - started, args.output)
    return broken


def make_writer(args: argparse.Namespace) -> Writer:
    """What is to be written, by the command's options.

    Raises:
        UserError: If one of them needs another.
    """
    camera = tuple(args.intrinsics) if args.intrinsics else None
    if camera and not args.ply:
        raise UserError("--intrinsics is for point clouds: give --ply as well")
    if args.depth_scale and not args.truth:
        raise UserError("--depth-scale is that of the ground truth: give --truth as well")
    if args.ply and not camera:
        console.print(
            f"point clouds: a camera that sees {USUAL_ANGLE:g} degrees across is assumed; --intrinsics gives your own",
            highlight=False,
        )
    return Writer(args.output, args.npy, args.ply, bool(args.teacher or args.truth), camera)


def check_output(folder: Path) -> None:
    """Refuse a folder that cannot be written before anything is loaded for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); choose another --output") from error


def readable_frames(sources: Sequence[Source], limit: int | None, broken: list[str]) -> Iterator[Frame]:
    """Every frame of every source; one that cannot be read is named, and the next one follows."""
    for source in sources:
        try:
            yield from read_frames(source, limit)
        except DecodeError as error:
            skip(error, broken)


def skip(error: DecodeError, broken: list[str]) -> None:
    broken.append(str(error))
    console.print(f"skipped: {error}", highlight=False, markup=False)


def predict(
    student: Predictor, teacher: Predictor | None, truth: TruthFolder | None, batch: Sequence[Frame], broken: list[str]
) -> Iterator[Predicted]:
    """What is known of a batch of frames; one whose ground truth cannot be read has none, and is named."""
    images = [frame.image for frame in batch]
    depths = student(images)
    others = teacher(images) if teacher else [None] * len(batch)
    for frame, depth, other in zip(batch, depths, others, strict=True):
        measured = None
        try:
            measured = truth.read(frame) if truth else None
        except DecodeError as error:
            skip(error, broken)
        yield Predicted(frame, depth, student.limits(depth), other, measured)


def write(writer: Writer, one: Predicted) -> None:
    try:
        writer(one)
    except OSError as error:
        raise UserError(
            f"files of {one.frame.source} cannot be written to {writer.output} ({error.strerror}); make room, or "
            "choose another --output"
        ) from error


def say(sources: Sequence[Source], broken: Sequence[str], frames: int, seconds: float, output: Path) -> None:
    """The last line: how many, how fast, where to."""
    speed = f"{frames / seconds:.3g} frames/s, " if frames else ""
    fine = f"{len(sources)} inputs" if not broken else f"{len(sources)} inputs, {len(broken)} of them with faults"
    console.print(f"{fine}: {frames} frames in {seconds:.1f} s, {speed}written to {output}", highlight=False)
