"""`distill calibrate`: a student's depth brought to the metres of a few measured images, where that helps."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from distill.assembly.datasets import choose_protocol, has_test_half, open_dataset
from distill.commands.arguments import add_data, check_folder, model_folders, positive
from distill.commands.evaluate import data_config
from distill.config import DataConfig, run_of
from distill.console import display, inform, progress_bar
from distill.data import DepthDataset, check_truth, readable
from distill.data.survey import evenly
from distill.errors import DONE, UserError
from distill.evaluation import METRICS, Protocol
from distill.evaluation.scores import mean_of
from distill.inference.calibrating import (
    FEWEST_IMAGES,
    FOLDS,
    METRIC,
    RELATIVE,
    Fit,
    MeasuredImage,
    Scores,
    choose_fit,
    cross_validate,
    gain,
    look_at_images,
    scores_of,
)
from distill.inference.models import open_model, refuse_canonical, trained_size, user_error
from distill.inference.network import Network
from distill.method.conversion import FEWEST
from distill.report.tables import Row, results_table
from students import Student, save_student
from students.student import CARD, CONFIG, WEIGHTS


def options(parser: argparse.ArgumentParser) -> None:
    """Declare what `distill calibrate` takes."""
    parser.add_argument("model", metavar="MODEL", help="a run folder, or a student/ folder")
    add_data(parser, "train")
    parser.add_argument(
        "--images", type=positive, default=100, help="how many of them, evenly spaced (default: %(default)s)"
    )
    parser.add_argument("--metric", choices=METRICS, default="abs_rel", help="what decides (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder of the new student (default: MODEL-calibrated)"
    )


@dataclass(frozen=True)
class Look:
    """Images that were looked at: those that count, by which protocol, and how many there were."""

    images: list[MeasuredImage]
    protocol: Protocol
    count: int


@dataclass(frozen=True)
class Comparison:
    """Scores before and after a calibration, by which protocol, and of which images in words."""

    before: Scores
    after: Scores
    protocol: Protocol
    measured_on: str


def run(args: argparse.Namespace) -> int:
    """Carry out `distill calibrate`."""
    trained = None if args.data else run_of(args.model)
    data, output = data_config(args, trained), args.output or Path(f"{args.model.rstrip('/')}-calibrated")
    # A few embedded scenes are rendered when they are looked at, not all of them before.
    data = data.model_copy(update={"scenes": data.scenes.model_copy(update={"keep": False})})
    read = [*model_folders(args.model), *([args.root] if args.root else [])]
    check_folder(output, "--output", read, [output / name for name in (WEIGHTS, CONFIG, CARD)])
    student = open_student(args.model)
    dataset = open_dataset(data, "train", split=args.split)
    if dataset.contents is not None and dataset.contents.images_only:
        raise UserError(f"{dataset.contents.source} has no depth to calibrate by: add its depth maps")
    check_truth(dataset)

    chosen = evenly(range(len(dataset)), args.images)
    look = look_at(args, student, data, dataset, chosen)
    report(look)
    fits = RELATIVE if student.output == "relative" else METRIC
    scores = cross_validate(look.images, fits, look.protocol)
    first, best = next(iter(fits)), choose_shown(args, scores, look.protocol)
    fit = fits[best](look.images)
    unseen = look_at(args, student, data, *images_beside(data, dataset, chosen, args.images))
    if len(unseen.images) < FEWEST_IMAGES:
        where = f"{len(look.images)} images, each by a fit to others"
        result = Comparison(scores[first], scores[best], look.protocol, where)
    else:
        before, after = (scores_of(unseen.images, one, unseen.protocol) for one in (fits[first](look.images), fit))
        where = f"{len(unseen.images)} images that the calibration was not fitted on"
        result = Comparison(before, after, unseen.protocol, where)
        check_unseen(args, result, best)
    facts = {"fit": best, "images": len(look.images), "data": data.name, "metric": args.metric, "before_is": first}
    write(output, student, fit, look.protocol.max_depth, result, facts)
    return DONE


def open_student(name: str) -> Student:
    """MODEL, which has to be a student: nothing else is written as a folder again."""
    model = open_model(name)
    if not isinstance(model, Student):
        raise UserError(f"{name} is no student, and only those can be calibrated; give a run folder or a student/ one")
    refuse_canonical(name, model)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def look_at(
    args: argparse.Namespace, student: Student, data: DataConfig, dataset: DepthDataset, indices: Sequence[int]
) -> Look:
    """The student's depth of some samples of a half, beside what was measured."""
    cap = data.max_depth or dataset.max_depth
    protocol = choose_protocol(data, None, "none", cap, dataset)
    protocol = protocol if args.max_depth is None else protocol.with_(max_depth=args.max_depth)
    network = Network(student, protocol, next(student.parameters()).device, trained_size(args.model))
    with progress_bar("looking at images", len(indices)) as update:
        samples = readable(dataset, indices)
        images = look_at_images(network, student, samples, protocol, lambda: update(advance=1))
    return Look(images, protocol, len(indices))


def report(look: Look) -> None:
    """Say what counts, and refuse too little."""
    images = look.images
    without = look.count - len(images)
    left = f"; {without} others have fewer than {FEWEST} measured pixels, or cannot be read" if without else ""
    if len(images) < FEWEST_IMAGES:
        raise UserError(
            f"{len(images)} images have enough measured depth to calibrate by{left}: expected at least "
            f"{FEWEST_IMAGES}, measure more"
        )
    cut = 1 - sum(one.free.sum() for one in images) / sum(len(one.free) for one in images)
    at_limit = f"; {cut:.1%} of their pixels are at a limit of the student's and not fitted" if cut else ""
    inform(f"{len(images)} images to fit{left}{at_limit}")


def choose_shown(args: argparse.Namespace, scores: dict[str, Scores], protocol: Protocol) -> str:
    """The fit to take, shown beside the others.

    Raises:
        UserError: If that is the first: nothing helps.
    """
    first, count = next(iter(scores)), len(next(iter(scores.values())))
    better = {name: gain(scores[first], one, args.metric) for name, one in scores.items()}
    rows = [
        Row(name, mean_of(one), protocol.fingerprint, {f"{args.metric} gains": f"{mean:.4g} ± {error:.2g}"})
        for (name, one), (mean, error) in zip(scores.items(), better.values(), strict=True)
    ]
    display(results_table(rows, f"{protocol.name} · {count} images, each by a fit to others, in {FOLDS} folds"))
    best = choose_fit(scores, args.metric)
    if best == first:
        figures = ", ".join(f"{mean_of(one)[args.metric]:.4g} {name}" for name, one in scores.items())
        raise UserError(
            f"{args.model} is not calibrated, as that does not help: {args.metric} is {figures}, cross-validated on "
            f"{count} images; measure more (--images), or train on them"
        )
    return best


def images_beside(
    data: DataConfig, fitted: DepthDataset, chosen: Sequence[int], count: int
) -> tuple[DepthDataset, list[int]]:
    """The test half, and which of its images are not among those that a fit sees; none where there is no such half."""
    test = open_dataset(data, "test") if has_test_half(data) else fitted
    used = {file_of(fitted, index) for index in chosen} - {None}
    apart = test.contents is None or not test.contents.images_only
    return test, evenly([i for i in range(len(test)) if apart and file_of(test, i) not in used], count)


def file_of(dataset: DepthDataset, index: int) -> tuple[str, int] | None:
    """Where the image of a sample lies; None of one that is rendered."""
    pair = dataset.contents and dataset.contents.usable[index]
    return (pair.image, pair.index) if pair else None


def check_unseen(args: argparse.Namespace, result: Comparison, best: str) -> None:
    """Show before and after; refuse what helps only where it was fitted."""
    rows = [
        Row(name, mean_of(scores), result.protocol.fingerprint)
        for name, scores in (("before", result.before), ("calibrated", result.after))
    ]
    display(results_table(rows, f"{result.protocol.name} · {result.measured_on}"))
    if gain(result.before, result.after, args.metric)[0] <= 0:
        before, after = (mean_of(one)[args.metric] for one in (result.before, result.after))
        raise UserError(
            f"{args.model} is not calibrated: {best} helps where it is fitted, but {args.metric} of "
            f"{result.measured_on} is {before:.4g} before and {after:.4g} after; fit it to images like those"
        )


def write(output: Path, student: Student, fit: Fit, cap: float, result: Comparison, facts: dict[str, object]) -> None:
    """The calibrated student with its figures, in a folder of its own."""
    try:
        student.calibrate(*fit, cap=cap)
    except ValueError as error:
        raise user_error(error) from error
    before, after = mean_of(result.before), mean_of(result.after)
    facts |= {"measured_on": result.measured_on, "before": before}
    protocol = {"protocol": result.protocol.name, "fingerprint": result.protocol.fingerprint, "metrics": after}
    save_student(student, output, {**(student.metadata or {}), **protocol, "calibration": facts})
    scale, shift, (near, far) = *fit, student.limits
    inform(f"{facts['fit']}: depth = 1 / ({scale:.6g} / d + {shift:.6g}) m, {near:.3g} to {far:.3g} m")
    display(f"student: {output}")
