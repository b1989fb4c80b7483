"""What a teacher is worth: its error, whether its student is better; on photographs without depth, their agreement."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from distill.assembly.datasets import HELD_OUT
from distill.assembly.run import Run
from distill.console import inform, warn
from distill.data import readable
from distill.data.survey import evenly
from distill.errors import UserError
from distill.evaluation import Protocol
from distill.evaluation.results import cost_of, measures_of
from distill.inference.agreement import TaughtSamples, agreement_panel, agreement_protocol
from distill.inference.evaluating import evaluate
from distill.inference.measuring import Measured, scorer_of
from distill.inference.network import Network, eval_mode
from distill.pages.model_results import ModelResult
from distill.report.pictures import Panel
from distill.report.tables import short_names
from teachers import DepthModel
from teachers.model import is_relative

FEW = 8  # validation images that take seconds
MOST = 32  # photographs on which teacher and student are compared
ADVICE = "it can teach little: name a better one, or set method.name=supervised"


def show_teacher(run: Run) -> None:
    """The teacher's error on a few validation images before the first step, beside that of a student with a past.

    Nothing of the run is changed by it, so that one that goes on stays the same to the last bit.
    """
    student, metric = run.validation.student, decisive(measures_of(run.data.protocol.name))
    if not run.method.needs_teacher:
        return
    if run.teacher is None:
        why = "the processes share it" if run.config.teacher.shard else "its labels alone are here"
        inform(f"worth    of the teacher: not measured, as {why}")
        return
    if not run.method.explained_by(run.teacher):
        inform("worth    of the teacher: its maps alone, as its output is of another kind than the student's")
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
    if own and cost_of(own.metrics) < cost_of(teacher.metrics):
        figures = f"{metric} {error:.4g}, {own.metrics[metric]:.4g}"
        warn(f"the teacher is worse than the student is already ({figures}): {ADVICE}")


def measured(run: Run, model: DepthModel) -> Measured:
    """A model's results on a few validation images."""
    assert run.data.test is not None
    samples = readable(run.data.test, evenly(range(len(run.data.test)), FEW))
    scorer = scorer_of(run.data.protocol, run.accelerator.device, run.config.data.size)
    return scorer.alone(model, samples, lambda name: None)


def verdict(results: Sequence[ModelResult]) -> str | None:
    """Of a finished run that its teacher is worse than its student, in words; None where it is not."""
    known = {one.role: one.results.metrics for one in results}
    if "teacher" not in known or not cost_of(known["student"]) < cost_of(known["teacher"]):
        return None
    metric = decisive(known["student"])
    teacher, student = (known[role][metric] for role in ("teacher", "student"))
    return f"The teacher is worse than the student that it taught ({metric} {teacher:.4g}, {student:.4g}): {ADVICE}."


def decisive(metrics: Collection[str]) -> str:
    """The metric of some by which models are compared and the best is kept."""
    return short_names(metrics)[0]


@dataclass(frozen=True)
class Agreement:
    """How a finished run's student agrees with its teacher on photographs, and pictures of both."""

    result: ModelResult
    panels: list[Panel]


def measure_agreement(run: Run) -> Agreement | None:
    """The agreement on a run's photographs without depth; None where there are none, or nobody says their depth."""
    parts, student, device = run.data.photographs, run.method.student, run.accelerator.device
    if not parts or run.facts is None or (run.teacher is None and not run.facts.labels):
        return None
    teacher, relative = None, is_relative(run.teacher)
    if run.teacher is not None:
        teacher = Network(run.teacher, None, device, None)
    else:  # labels of two meanings are no one truth
        contents = [part.dataset.contents for part in parts]
        meanings = [one.labels.output for one in contents if one is not None and one.labels is not None]
        parts = tuple(part for part, meaning in zip(parts, meanings, strict=True) if meaning == meanings[0])
        relative = meanings[0] == "relative"
    cap = run.data.protocol.max_depth  # of the run's own cameras, also where it learns a canonical one's depth
    taught = TaughtSamples(parts, teacher, MOST, cap)
    protocol = agreement_protocol(f"{run.facts.name} ({run.facts.fingerprint[:12]})", relative, cap)
    try:
        results = evaluate(student, readable(taught), protocol, device=device)
    except UserError as refusal:
        inform(f"agreement of teacher and student: not measured: {refusal}")
        return None
    which = HELD_OUT if parts[0].name == HELD_OUT else "trained on"
    name = f"student against its teacher on {len(results.images)} photographs {which}"
    one = ModelResult("agreement", name, results, {}, tuple(image.name for image in results.images))
    return Agreement(one, agreement_panels(run, taught, results.protocol))


def agreement_panels(run: Run, taught: TaughtSamples, protocol: Protocol) -> list[Panel]:
    """Pictures of teacher and student, of as many photographs as the run shows."""
    student = Network(run.method.student, protocol, run.accelerator.device, None)
    chosen = readable(taught, evenly(range(len(taught)), run.config.eval.pictures))
    with eval_mode(run.method.student):
        return [agreement_panel(one, student(one), protocol) for one in chosen if len(protocol.places(one.depth))]
