"""What a teacher is worth, in words: its own error, and whether the student is better already."""

from __future__ import annotations

from collections.abc import Sequence

from distill.assembly.run import Run
from distill.console import inform, warn
from distill.data import readable
from distill.data.survey import evenly
from distill.errors import UserError
from distill.evaluation import Evaluation
from distill.inference.evaluating import evaluate
from distill.pages.model_results import ModelResult
from teachers import DepthModel
from teachers.model import is_relative

FEW = 8  # validation images that take seconds
ADVICE = "it can teach little: name a better one, or set method.name=supervised"


def show_teacher(run: Run) -> None:
    """The teacher's error on a few validation images before the first step, beside that of a student with a past.

    Nothing of the run is changed by it, so that one that goes on stays the same to the last bit.
    """
    student, metric = run.method.student, "abs_rel"
    if not run.method.needs_teacher:
        return
    if run.teacher is None:
        why = "the processes share it" if run.config.teacher.shard else "its labels alone are here"
        inform(f"worth    of the teacher: not measured, as {why}")
        return
    if run.data.test is None:
        inform("worth    of the teacher: not known, as no image to validate on has depth")
        return
    try:
        teacher = measured(run, run.teacher)
        learnt = run.state.step > 0 or run.config.student.checkpoint is not None
        comparable = is_relative(run.teacher) == is_relative(student)
        own = measured(run, student) if learnt and comparable else None
    except UserError as refusal:  # what these lack the whole half may have
        inform(f"worth    of the teacher: not measured: {refusal}")
        return
    error, images = teacher.metrics[metric], f"{len(teacher.images)} validation images"
    fitted = ", the scale and shift of each fitted to its truth" if is_relative(run.teacher) else ""
    so_far = f"; the student so far: {own.metrics[metric]:.4g}" if own else ""
    inform(f"worth    of the teacher: {metric} {error:.4g} on {images}{fitted}{so_far}")
    if own and own.metrics[metric] < error:
        figures = f"{metric} {error:.4g}, {own.metrics[metric]:.4g}"
        warn(f"the teacher is worse than the student is already ({figures}): {ADVICE}")


def measured(run: Run, model: DepthModel) -> Evaluation:
    """A model's results on a few validation images."""
    assert run.data.test is not None
    samples = readable(run.data.test, evenly(range(len(run.data.test)), FEW))
    return evaluate(model, samples, run.data.protocol, device=run.accelerator.device, size=run.config.data.size)


def verdict(results: Sequence[ModelResult]) -> str | None:
    """Of a finished run that its teacher is worse than its student, in words; None where it is not."""
    errors = {one.role: one.results.metrics["abs_rel"] for one in results}
    if "teacher" not in errors or not errors["student"] < errors["teacher"]:
        return None
    return (
        f"The teacher is worse than the student that it taught (abs_rel {errors['teacher']:.4g}, "
        f"{errors['student']:.4g}): {ADVICE}."
    )
