"""What is checked of a run before its first step: its files, sizes and halves; and advice on what works anyway."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from distill.assembly.networks import is_folder
from distill.config import Config, StudentConfig, TrainConfig
from distill.console import progress_bar, warn
from distill.data import DepthDataset, TrainingSet, readable
from distill.data.survey import Survey, check_apart, check_files, check_once, copies, evenly, unit_remarks
from distill.engine.processes import cores, processes_here
from distill.errors import UserError
from distill.evaluation import Protocol
from distill.inference.network import eval_mode
from distill.method import METHODS
from teachers.model import MIN_SIDE, DepthModel

MOST_SIZES = 16  # of which one image each is made ready for training
MANY_PASSES = 1000  # through the training images
FEW = 3  # names that a message lists


def preflight(
    training: TrainingSet,
    test: DepthDataset | None,
    max_faults: float,
    protocol: Protocol,
    size: tuple[int, int] | None = None,
) -> dict[str, str]:
    """Refuse data that would stop a run later or make its results worthless; digests of what there is.

    Args:
        max_faults: Share of the images that may be unreadable; these are reported.
        protocol: By which the test half is evaluated.
        size: To which its images are resized for the student; None leaves them as they are.

    Raises:
        UserError: If more are, a depth map is none, images cannot form a batch, the halves share images, or those of
            the test half do not suit the protocol or the student.
    """
    surveys = {part.name: look_at(part.name, part.dataset, max_faults) for part in training.parts}
    check_shapes(training, list(surveys.values()))
    if test is not None:
        surveys["test"] = check_test(test, max_faults)
        for part in training.parts:
            check_apart(part.dataset, test)
        check_protocol(test, surveys["test"], protocol, size)
        if (seen_test := surveys["test"]) and (copied := copies(filter(None, list(surveys.values())[:-1]), seen_test)):
            warn(f"{len(copied)} test images have a copy in training, of which results say too much: {copied[0]}")
    seen = [(half, one) for half, one in surveys.items() if one]
    return {f"{half} {what}": digest for half, one in seen for what, digest in one.prints.items()}


def check_test(test: DepthDataset, max_faults: float) -> Survey | None:
    """Refuse to evaluate on what `distill data check` refuses, and on images that come twice or have no depth."""
    if test.contents is not None and test.contents.images_only:
        raise UserError(f"{test.contents.source} has no depth to evaluate on: add its depth maps, or name another half")
    check_once(test)
    return look_at("test", test, max_faults)


def look_at(half: str, dataset: DepthDataset, max_faults: float) -> Survey | None:
    """Look at every file of a half, with a bar that tells how far it is."""
    with progress_bar(f"looking at the {half} files") as update:
        survey = check_files(dataset, max_faults, lambda done, total: update(completed=done, total=total))
    if dataset.contents and survey:
        for remark in (*dataset.contents.remarks, *unit_remarks(survey, dataset.contents)):
            warn(f"{half}: {remark}")
    if survey and survey.faults:
        some = "; ".join(f"{path} ({why})" for path, why in sorted(survey.faults.items())[:FEW])
        warn(f"{len(survey.faults)} of {survey.files} {half} files cannot be read and are passed over: {some}")
    return survey


def check_protocol(test: DepthDataset, survey: Survey | None, protocol: Protocol, size: tuple[int, int] | None) -> None:
    """Refuse test images that the protocol or the student cannot take, or of which none has truth that counts.

    One of each size is looked at, and a few others.
    """
    examples = evenly(sorted(survey.examples.items()), MOST_SIZES) if survey else []
    counting, looked_at = 0, {index for _, index in examples} | set(evenly(range(len(test)), MOST_SIZES))
    for sample in readable(test, sorted(looked_at)):
        if sample.faults:
            continue
        height, width = sample.depth.shape
        try:
            counting += len(protocol.places(sample.depth))
        except UserError as error:
            raise UserError(f"{sample.name}: {error}") from error
        rows, columns = protocol.input_window(height, width)
        if size is None and min(rows.stop - rows.start, columns.stop - columns.start) < MIN_SIDE:
            seen = f"{sample.name} of the test half is {height}x{width} (height x width)"
            raise UserError(f"{seen}, expected at least {MIN_SIDE} both ways; enlarge the images with data.size")
    if not counting:
        raise UserError(
            f"no valid ground truth in {len(looked_at)} of {len(test)} test images looked at: {protocol.name} counts "
            f"{protocol.counted}"
        )


def check_shapes(training: TrainingSet, surveys: Sequence[Survey | None]) -> None:
    """Refuse images that no network takes or that cannot form a batch, by one of each size, ready for training."""
    shapes: dict[tuple[int, int], str] = {}
    firsts = [0, *itertools.accumulate(training.counts)]
    for index in [first + place for first, seen in zip(firsts, surveys, strict=False) for place in examples(seen)]:
        sample = training[(0, index)]
        height, width = sample.depth.shape
        shapes.setdefault((height, width), sample.name)
        if min(height, width) < MIN_SIDE:
            seen = f"{sample.name} is {height}x{width} (height x width)"
            raise UserError(f"{seen}, expected at least {MIN_SIDE} both ways; enlarge the images with data.size")
    if len(shapes) > 1:
        some = ", ".join(f"{name} is {height}x{width}" for (height, width), name in list(shapes.items())[:2])
        raise UserError(f"images of several sizes cannot form a batch: {some}; set data.size or data.crop")


def examples(survey: Survey | None) -> list[int]:
    """Indices of the first image, of the narrowest, of the lowest, and of one of each of some other sizes."""
    by_size = sorted(survey.examples.items()) if survey else []
    narrowest = min(by_size, key=lambda example: example[0][1], default=((0, 0), 0))  # the first is the lowest
    return [0, narrowest[1], *(index for _, index in evenly(by_size, MOST_SIZES))]


def check_norms(student: DepthModel, train: TrainConfig, training: TrainingSet) -> None:
    """Refuse forward passes in which a BatchNorm would see one value of a channel, of which there is no deviation."""
    key = "micro_batch" if train.micro_batch else "batch_size"
    norms = [part for part in student.modules() if isinstance(part, _BatchNorm) and part.training]
    if (train.micro_batch or train.batch_size) > 1 or not norms:
        return
    counts: list[int] = []
    hooks = [norm.register_forward_pre_hook(lambda _, inputs: counts.append(inputs[0][:, 0].numel())) for norm in norms]
    height, width = training[(0, 0)].depth.shape
    with eval_mode(student), torch.no_grad():
        student(torch.zeros(1, 3, height, width))
    for hook in hooks:
        hook.remove()
    if min(counts, default=2) < 2:
        larger = f", or data.size to {2 * MIN_SIDE}" if max(height, width) <= MIN_SIDE else ""
        raise UserError(
            f"one image of {height}x{width} in a forward pass (train.{key}=1) leaves BatchNorm one value of a channel; "
            f"raise train.{key} to 2{larger}"
        )


# ------------------------------------------------------------------------------------------------------------- advice


def advise_workers(workers: int | None) -> list[str]:
    """On processes that load images: `workers` for each process of the run on this machine."""
    processes, available = processes_here(), cores()
    if workers is None or workers * processes <= available:
        return []
    each = f" for each of {processes} processes" if processes > 1 else ""
    return [f"data.workers={workers}{each} on {available} cores: they will wait for each other"]


def advise_schedule(train: TrainConfig, images: int, steps: int) -> list[str]:
    """On how often each training image is seen."""
    advice = []
    if train.batch_size > images:
        advice.append(f"train.batch_size={train.batch_size} exceeds the {images} training images: steps repeat some")
    passes = steps * train.batch_size / images
    if passes > MANY_PASSES:
        advice.append(
            f"{steps} steps of {train.batch_size} images go {passes:.0f} times through {images} training images; "
            "lower train.steps or train.epochs if that is not meant"
        )
    return advice


def advise_networks(config: Config) -> list[str]:
    """On keys that have values and that no network of this run reads."""
    taught, student, advice = METHODS[config.method.name].needs_teacher, config.student, list[str]()
    if taught and is_folder(config.teacher.name):
        of_names = config.teacher.model_dump(include={"checkpoint", "scale", "shift", "invert", "readout"})
        unread = [f"teacher.{key}" for key, value in of_names.items() if value is not None]
        advice += [f"{', '.join(unread)}: not read, as the folder {config.teacher.name} says it all"] if unread else []
    if student.lg_scope != StudentConfig.model_fields["lg_scope"].default and not student.lg_conv:
        advice.append("student.lg_scope: not read, as student.lg_conv is not true")
    return advice
