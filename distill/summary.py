"""What a run says of itself: `inheritance.json` at its start, `results.json` and `report.html` when it is finished."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from distill import build
from distill.config import MIN_SIDE, Config, dump_config
from distill.data import Sample, readable
from distill.deploy.costs import count_gflops
from distill.deploy.latency import median_latency_ms
from distill.engine.files import write_json
from distill.engine.tracking import console
from distill.evaluation import Evaluation, Protocol, error_bounds, evaluate
from distill.ghost import Ghost, training_images
from distill.machine import environment
from distill.method import DisDepth, Method
from distill.panels import method_panels, pick
from distill.report import Panel, Row, errors_section, read_metrics, run_charts, write_page
from students import count_parameters, load_student

WORST = 3  # images with the largest abs_rel that the report shows


@dataclass(frozen=True)
class Judged:
    """A model's results beside what it costs.

    Attributes:
        role: "teacher", "student", or "ghost", which is no network of its own and so has no costs.
        costs: Parameters, GFLOPs and milliseconds for one image.
        names: Of every test sample, in their order.
    """

    role: str
    name: str
    results: Evaluation
    costs: dict[str, float]
    names: tuple[str, ...]

    def row(self) -> Row:
        extra = {}
        if self.costs:
            extra = {
                "parameters": f"{self.costs['parameters'] / 1e6:.2f} M",
                "GFLOPs": f"{self.costs['gflops']:.3g}",
                "latency": f"{self.costs['latency_ms']:.1f} ms",
            }
        return Row(self.name, self.results.metrics, self.results.protocol.fingerprint, extra)

    def as_dict(self) -> dict[str, object]:
        """The results as `distill evaluate --json` writes them, with the model's role and costs."""
        return {"role": self.role, "name": self.name, **self.results.as_dict(), **self.costs}


def say_inheritance(folder: Path, student: nn.Module) -> None:
    """Print, and keep, which weights a DPT student took from its parent; others have none to tell of."""
    report = getattr(student, "inheritance", None)
    if report is not None:
        console.print(str(report), highlight=False)
        write_json(folder / "inheritance.json", asdict(report))


def judge(
    name: str, model: nn.Module, config: Config, data: build.Data, device: torch.device, role: str = "student"
) -> Judged:
    """Results of a model on the test half, and what it costs for one image of that size."""
    assert data.test is not None
    names: list[str] = []
    samples = noting(readable(data.test), names)
    results = evaluate(
        model,
        samples,
        data.protocol,
        device=device,
        size=config.data.size,
        min_side=MIN_SIDE,
        without_truth=getattr(data.test, "without_truth", ()),
    )
    size = config.data.size or shown_size(data.protocol, data)
    costs = {} if isinstance(model, Ghost) else costs_of(model, size, device)
    return Judged(role, name, results, costs, tuple(names))


def costs_of(model: nn.Module, size: tuple[int, int], device: torch.device) -> dict[str, float]:
    model.to(memory_format=torch.channels_last)
    return {
        "parameters": count_parameters(model),
        "gflops": count_gflops(model, size),
        "latency_ms": median_latency_ms(model, size, device=device),
    }


def noting(samples: Iterable[Sample], names: list[str]) -> Iterator[Sample]:
    """The samples as they are; their names are appended to `names`, so that nothing need be read again for them."""
    for sample in samples:
        names.append(sample.name)
        yield sample


def shown_size(protocol: Protocol, data: build.Data) -> tuple[int, int]:
    """Height and width of what a network is shown of the first test image."""
    assert data.test is not None
    first = next(sample for sample in readable(data.test) if not sample.faults)
    rows, columns = protocol.input_window(*first.depth.shape)
    view = first.depth[rows, columns].shape
    return view[0], view[1]


def worst_images(judged: Judged) -> list[int]:
    """Indices of the test images with the largest abs_rel, worst first."""
    return [judged.names.index(image.name) for image in judged.results.worst(WORST)]


def summarise(
    folder: Path, config: Config, data: build.Data, method: Method, teacher: nn.Module | None, device: torch.device
) -> None:
    """Judge teacher and best student, write `results.json`, and gather everything in `report.html`."""
    judged: list[Judged] = []
    others: dict[str, nn.Module] = {}
    if data.test is not None:
        given = config, data, device
        if teacher is not None:
            judged.append(judge(f"teacher {Path(config.teacher.name).name}", teacher, *given, role="teacher"))
        student = load_student(folder / "student").to(device)
        judged.append(judge(f"student {config.student.backbone}", student, *given))
        if (
            isinstance(method, DisDepth) and teacher is not None
        ):  # FAM and LAM of the last step belong to the decoder of the last step
            others["ghost"] = Ghost(method, teacher, training_images(data.train, config.train.batch_size, device))
            judged.append(judge("ghost", others["ghost"], *given, role="ghost"))
        method.student.load_state_dict(student.state_dict())
    write_json(folder / "results.json", [one.as_dict() for one in judged])
    write_report(folder, config, data, judged, *panels_of(config, data, method, teacher, judged, others), device)


def the_student(judged: list[Judged]) -> Judged:
    return next(one for one in judged if one.role == "student")


def panels_of(
    config: Config,
    data: build.Data,
    method: Method,
    teacher: nn.Module | None,
    judged: list[Judged],
    others: dict[str, nn.Module],
) -> tuple[list[Panel], list[Panel]]:
    """Panels of evenly chosen test images, and of the worst."""
    if data.test is None or not config.eval.pictures or (teacher is None and method.needs_teacher):
        return [], []
    chosen = pick(data.test, config.eval.pictures)
    panels = method_panels(method, teacher, data, config.data.size, chosen, others)
    worst = worst_images(the_student(judged))
    return panels, method_panels(method, teacher, data, config.data.size, worst, others)


def write_report(
    folder: Path,
    config: Config,
    data: build.Data,
    judged: list[Judged],
    panels: list[Panel],
    worst: list[Panel],
    device: torch.device,
) -> None:
    notes = []
    if any(one.role == "ghost" for one in judged):
        notes.append("Ghost: the teacher's features through FAM, LAM and the student's decoder, all of the last step.")
        notes.append("Pictures show the best student; ghost and importance are those of the last step.")
    results = the_student(judged).results if judged else None
    if results and results.skipped:
        notes.append(f"{len(results.skipped)} test images have no ground truth in range and were skipped.")
    if results and results.repaired:
        notes.append(f"{results.repaired} predicted pixels were not finite; they count as the nearest depth.")
    protocol = data.protocol.name if judged else "none: nothing was validated"
    write_page(
        folder / "report.html",
        title=f"{config.method.name}: {config.student.backbone} on {config.data.name}",
        lead=f"{len(data.train)} training images, method {config.method.name}, seed {config.seed}.",
        rows=[one.row() for one in judged],
        protocol=protocol,
        charts=run_charts(read_metrics(folder / "metrics.jsonl")),
        panels=panels,
        more=[errors_section(results.breakdown, error_bounds(), results.errors, "the student")] if results else [],
        worst=worst,
        config_text=dump_config(config),
        environment=environment(device),
        command=reproduce(folder),
        notes=notes,
    )


def reproduce(folder: Path) -> str:
    """The command that makes this run again, elsewhere."""
    return f"distill train {folder / 'config.yaml'} --output {folder}-again"
