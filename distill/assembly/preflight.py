"""What is checked of a run's data before its first step: every file, every size, and what the halves share."""

from __future__ import annotations

from distill.console import progress_bar, warn
from distill.data import DepthDataset, TrainingSet
from distill.data.survey import Survey, check_apart, check_files, check_once
from distill.data.truth import evenly
from distill.errors import UserError
from teachers.model import MIN_SIDE

MOST_SIZES = 16  # of which one image each is made ready for training
FEW = 3  # names that a message lists


def preflight(training: TrainingSet, test: DepthDataset | None, max_faults: float) -> None:
    """Refuse data that would stop a run later or make its results worthless.

    Args:
        max_faults: Share of the images that may be unreadable; these are reported.

    Raises:
        UserError: If more are, a depth map is none, images cannot form a batch, or the halves share images.
    """
    survey = look_at("training", training.dataset, max_faults)
    parts = [training.dataset]
    if training.photographs:
        look_at("unlabelled", training.photographs, max_faults)
        parts.append(training.photographs)
    check_shapes(training, survey)
    if test is not None:
        check_once(test)
        look_at("test", test, max_faults)
        for part in parts:
            check_apart(part, test)


def look_at(half: str, dataset: DepthDataset, max_faults: float) -> Survey | None:
    """Look at every file of a half, with a bar that tells how far it is."""
    with progress_bar(f"looking at the {half} files") as update:
        survey = check_files(dataset, max_faults, lambda done, total: update(completed=done, total=total))
    if survey and survey.faults:
        some = "; ".join(f"{path} ({why})" for path, why in sorted(survey.faults.items())[:FEW])
        warn(f"{len(survey.faults)} of {survey.files} {half} files cannot be read and are passed over: {some}")
    return survey


def check_shapes(training: TrainingSet, survey: Survey | None) -> None:
    """Refuse images that no network takes or that cannot form a batch, by one of each size, ready for training."""
    examples = sorted(survey.examples.items()) if survey else []
    shapes: dict[tuple[int, int], str] = {}
    for index in [0, *(index for _, index in evenly(examples, MOST_SIZES))]:
        sample = training[(0, index)]
        height, width = sample.depth.shape
        shapes.setdefault((height, width), sample.name)
        if min(height, width) < MIN_SIDE:
            seen = f"{sample.name} is {height}x{width} (height x width)"
            raise UserError(f"{seen}, expected at least {MIN_SIDE} both ways; enlarge the images with data.size")
    if len(shapes) > 1:
        some = ", ".join(f"{name} is {height}x{width}" for (height, width), name in list(shapes.items())[:2])
        raise UserError(f"images of several sizes cannot form a batch: {some}; set data.size or data.crop")
