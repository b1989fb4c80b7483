"""What a run shows of itself: a header at its start; results, `report.html` and a summary when it is finished."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from distill.assembly.run import Run
from distill.config import dump_config
from distill.console import inform, warn
from distill.deploy.costs import count_gflops
from distill.deploy.latency import device_name, environment
from distill.evaluation import Evaluation
from distill.evaluation.results import NAME, measures_of
from distill.files import write_json
from distill.inference.evaluating import GhostModel, training_images
from distill.inference.network import Model
from distill.inference.panels import method_panels, pick
from distill.method import DisDepth
from distill.pages.advice import what_next, where_it_fails
from distill.pages.model_results import ModelResult, evaluate_models, where_errors_are
from distill.pages.worth import Agreement, decisive, measure_agreement, verdict
from distill.report.curves import read_metrics, run_charts
from distill.report.page import (
    chart_section,
    origin_sections,
    pictures_section,
    results_section,
    table_section,
    write_page,
)
from distill.report.tables import HIGHER_IS_BETTER, short_text
from students import DPTStudent, count_parameters, load_student
from teachers import DepthModel
from teachers.model import is_relative

AGREEMENT = "Agreement with the teacher"
NON_COMMERCIAL = {"nc", "amlr", "research"}  # words in the names of licences


def report_inheritance(folder: Path, student: DepthModel) -> None:
    """Print, and keep, which weights a DPT student took from its parent; others took none."""
    if isinstance(student, DPTStudent) and student.inheritance is not None:
        inform(student.inheritance)
        write_json(folder / "inheritance.json", asdict(student.inheritance))


def warn_of_licence(licence: str) -> None:
    """Say it where a teacher's weights are not for commercial use."""
    if set(re.split(r"\W+", licence)) & NON_COMMERCIAL:
        warn(f"the teacher's weights are under {licence}: not for commercial use, and so may be what they teach")


def show_header(run: Run) -> None:
    """Where the run computes, what it trains on which images, for how long, and where it writes."""
    config, accelerator = run.config, run.accelerator
    sample = run.data.train[(0, 0)]
    height, width = sample.depth.shape
    student = run.method.student
    costs = f"{count_parameters(student) / 1e6:.2f} M parameters, {count_gflops(student, (height, width)):.3g} GFLOPs"
    teacher, licence = (f", {run.facts}", run.facts.licence) if run.facts else ("", "")
    warn_of_licence(licence)
    processes = f", {accelerator.num_processes} processes" if accelerator.num_processes > 1 else ""
    validated = f"{len(run.data.test)} to validate on" if run.data.test is not None else "none to validate on"
    begins = f" from step {run.state.step}" if run.state.step else ""
    lines = {
        "device": f"{device_name(accelerator.device)}{processes}, precision {accelerator.mixed_precision}",
        "student": f"{config.student.backbone}, {costs} at {height}x{width}",
        "method": f"{config.method.name}{teacher}",
        "data": f"{trained_on(run)}, {len(run.data.train)} training images of {height}x{width}, {validated}",
        "read as": read_as(run),
        "steps": f"{run.settings.steps}{begins}, {config.train.batch_size} images each",
        "folder": str(run.folder.path),
    }
    for name, text in lines.items():
        if text:
            inform(f"{name:8} {text}")


def read_as(run: Run) -> str:
    """What the files of each source were taken for; nothing of what is rendered."""
    texts = []
    for part in run.data.train.parts:
        if (contents := part.dataset.contents) is not None:
            units, floats = contents.units
            texts.append(contents.layout + ("" if floats or contents.images_only else f", {units:g} units a metre"))
    return "; ".join(texts)


def trained_on(run: Run) -> str:
    """The data sets of a run, of several with their images and weights."""
    data, train = run.config.data, run.data.train
    each = zip(data.sources, train.counts, strict=False) if len(train.counts) >= len(data.sources) else ()
    return " + ".join(f"{one.name} ({count}, weight {one.weight:g})" for one, count in each) or data.name


def summarise(run: Run) -> list[ModelResult]:
    """Evaluate teacher and best student, write `results.json`, and gather everything in `report.html`.

    On photographs without depth the two are compared with each other.
    """
    config, data, method, device = run.config, run.data, run.method, run.accelerator.device
    models: list[tuple[str, str, DepthModel]] = []
    results: list[ModelResult] = []
    others: dict[str, Model] = {}
    student = load_student(run.folder.student).to(device)
    if data.test is not None:
        if run.teacher is not None and is_relative(run.teacher) != is_relative(method.student):
            inform("the teacher is relative and the student is not: their errors do not compare, so it is not measured")
        elif run.teacher is not None and not method.explained_by(run.teacher):
            inform("the teacher's output is of another kind than the student's, so it is not measured")
        elif run.teacher is not None:
            models.append(("teacher", f"teacher {Path(config.teacher.name).name}", run.teacher))
        models.append(("student", f"student {config.student.backbone}", student))
        if isinstance(method, DisDepth) and run.teacher is not None and not is_relative(method.student):
            # FAM and LAM of the last step belong to the decoder of the last step.
            ghost = GhostModel(method, run.teacher, training_images(data.train, config.train.batch_size, device))
            others["ghost"] = ghost
            models.append(("ghost", "ghost", ghost))
        results = evaluate_models(models, config, data, device)
    method.student.load_state_dict(student.state_dict())
    agreement = measure_agreement(run)
    everything = [*results, *([agreement.result] if agreement else [])]
    write_json(run.folder.path / NAME, [one.as_dict() for one in everything])
    write_report(run, results, others, agreement)
    return everything


def the_student(results: Sequence[ModelResult]) -> ModelResult:
    """The student's among a run's results."""
    return next(one for one in results if one.role == "student")


def write_report(
    run: Run, results: Sequence[ModelResult], others: Mapping[str, Model], agreement: Agreement | None
) -> None:
    """Write `report.html`, with pictures of evenly chosen test images and of the worst."""
    config, data, folder = run.config, run.data, run.folder.path
    protocol = data.protocol.name if results else "none: nothing was validated"
    fails = where_it_fails(the_student(results).results) if results else []
    advice = what_next(results, run.state, folder, any_camera=bool(config.data.focal))
    notes = [*notes_on(results), *(f"{line}." for line in (*fails, *advice))]
    sections = [results_section([one.row() for one in results], protocol, notes)]
    if results:
        sections.append(where_errors_are(the_student(results).results, "the student"))
    shown = run.teacher is not None or run.facts is None or run.facts.labels  # and not divided among processes
    if data.test is not None and config.eval.pictures and shown:
        options = run.method, run.teacher, data.test, data.protocol, config.data.size
        chosen, worst = pick(data.test, config.eval.pictures), the_student(results).worst_images()
        sections.append(pictures_section("Pictures", method_panels(*options, chosen, others)))
        sections.append(pictures_section("Worst images", method_panels(*options, worst, others)))
    if agreement is not None:
        one = agreement.result
        sections.append(table_section(AGREEMENT, [one.row()], [f"{one.results.protocol.describe()}."]))
        sections.append(pictures_section("Teacher and student on photographs", agreement.panels))
    metrics = folder / "metrics.jsonl"  # of a training that is over they may be lost: then there are no curves
    again = f"distill train {folder / 'config.yaml'} --output {folder}-again"
    sections.append(chart_section("Curves", run_charts(read_metrics(metrics) if metrics.is_file() else [])))
    sections += origin_sections(environment(run.accelerator.device), again, dump_config(config))
    title = f"{config.method.name}: {config.student.backbone} on {trained_on(run)}"
    teacher = f", {run.facts}" if run.facts else ""
    taken = f" Read as {read_as(run)}." if read_as(run) else ""
    lead = f"{len(data.train)} training images, method {config.method.name}{teacher}, seed {config.seed}.{taken}"
    write_page(folder / "report.html", title, lead, sections)


def notes_on(results: Sequence[ModelResult]) -> list[str]:
    """What a reader of the page should know of its figures."""
    notes = [note] if (note := verdict(results)) else []
    if any(one.role == "ghost" for one in results):
        notes.append("Ghost: the teacher's features through FAM, LAM and the student's decoder, all of the last step.")
        notes.append("Pictures show the best student; ghost and importance are those of the last step.")
    student = the_student(results).results if results else None
    if student and student.skipped:
        notes.append(f"{len(student.skipped)} test images have no ground truth in range and were skipped.")
    if isinstance(student, Evaluation) and student.repaired:
        notes.append(f"{student.repaired} predicted pixels were not finite; they count as the nearest depth.")
    return notes


def show_outcome(run: Run, results: Sequence[ModelResult]) -> None:
    """Teacher and student in a line each; which step was kept, and why."""
    for one in results:
        inform(f"{one.name}: {summary_of(one)} by {one.results.protocol.name}")
    if note := verdict(results):
        warn(note)
    state, validated, metric = run.state, run.data.test is not None, decisive(measures_of(run.data.protocol.name))
    if validated and state.best_step:
        figure = f"{metric} was the lowest ({state.best:.4g})"
        if metric in HIGHER_IS_BETTER:
            figure = f"{metric} was the highest ({1 - state.best:.4g})"
        kept = f"step {state.best_step} of {state.step}, whose {figure}"
    else:
        why = f"no validation gave a finite {metric}" if validated else "nothing was validated"
        kept = f"the last step, {state.step}, as {why}"
    inform(f"kept: the student of {kept}")
    for line in conclusions(run, results):
        inform(line)


def conclusions(run: Run, results: Sequence[ModelResult]) -> list[str]:
    """Where the student fails, as far as it was validated, and what to do next."""
    scored = [one for one in results if one.role != "agreement"]
    fails = where_it_fails(the_student(scored).results) if scored else []
    return [
        *(f"its {line}" for line in fails),
        *(
            f"next: {line}"
            for line in what_next(scored, run.state, run.folder.path, any_camera=bool(run.config.data.focal))
        ),
    ]


def summary_of(one: ModelResult) -> str:
    """The most important metrics; of an agreement those that have no unit."""
    metrics = one.results.metrics
    return short_text({name: metrics[name] for name in ("abs_rel", "d1")} if one.role == "agreement" else metrics)
