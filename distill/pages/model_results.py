"""A model's results on a run's test half, beside what it costs; what tables and pages show of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from distill.assembly.datasets import RunData
from distill.config import Config
from distill.data import readable
from distill.deploy.costs import count_gflops
from distill.deploy.latency import Call, measure
from distill.evaluation import Evaluation, error_bounds
from distill.evaluation.segmentation import Segmentation
from distill.inference.evaluating import GhostModel
from distill.inference.measuring import Measured, scorer_of
from distill.report.charts import error_chart
from distill.report.page import PageSection, errors_section
from distill.report.tables import ABSENT, SHORT, Row, html_lines, metric_text
from students import count_parameters
from students.fused import optimise
from teachers import DepthModel

WORST = 3  # images with the largest abs_rel that a page shows


@dataclass(frozen=True)
class ModelResult:
    """A model's results, and what it costs.

    Attributes:
        role: "teacher", "student", or "ghost", which is no network of its own and so has no costs.
        costs: Parameters, GFLOPs and milliseconds for one image.
        names: Of every test sample, in their order.
    """

    role: str
    name: str
    results: Measured
    costs: dict[str, float]
    names: tuple[str, ...]

    def row(self) -> Row:
        """The line of a table."""
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

    def worst_images(self) -> list[int]:
        """Indices of the worst test images, by abs_rel or pixel accuracy, worst first."""
        return [self.names.index(image.name) for image in self.results.worst(WORST)]


def evaluate_models(
    models: Sequence[tuple[str, str, DepthModel]], config: Config, data: RunData, device: torch.device
) -> list[ModelResult]:
    """Results of models, each with its role and name, on the test half, and what they cost for one image of it."""
    assert data.test is not None
    results = [evaluate_model(*one, config, data, device) for one in models]
    first = next(sample for sample in readable(data.test) if not sample.faults)
    rows, columns = data.protocol.input_window(*first.depth.shape)
    size = config.data.size or (rows.stop - rows.start, columns.stop - columns.start)
    costs = model_costs({name: model for _, name, model in models if not isinstance(model, GhostModel)}, size, device)
    return [replace(result, costs=costs.get(result.name, {})) for result in results]


def evaluate_model(
    role: str, name: str, model: DepthModel, config: Config, data: RunData, device: torch.device
) -> ModelResult:
    """Results of a model on the test half, without what it costs."""
    assert data.test is not None
    names: list[str] = []
    scorer = scorer_of(data.protocol, device, config.data.size)
    results = scorer.alone(model, readable(data.test), names.append, data.test.without_truth)
    return ModelResult(role, name, results, {}, tuple(names))


def model_costs(
    models: Mapping[str, DepthModel], size: tuple[int, int], device: torch.device
) -> dict[str, dict[str, float]]:
    """What each model costs for one image of that size, in the form in which it is used; latencies in one run."""
    image = torch.rand(1, 3, *size, device=device)
    calls = {}
    for name, model in models.items():
        used = optimise(model) if device.type == "cpu" else model.to(memory_format=torch.channels_last)
        calls[name] = Call(partial(used, image), on_gpu=device.type == "cuda")
    with torch.inference_mode():
        latencies = measure(calls)
    return {
        name: {
            "parameters": count_parameters(model),
            "gflops": count_gflops(model, size),
            "latency_ms": latencies[name].median_ms,
        }
        for name, model in models.items()
    }


def breakdown_lines(results: Evaluation) -> list[list[str]]:
    """The lines of a table of errors by distance and at depth edges, its heads first."""
    lines = [["Truth", "images", "pixels", *SHORT]]
    for name, part in results.breakdown.items():
        metrics = [metric_text(part["metrics"][one]) if one in part["metrics"] else ABSENT for one in SHORT]
        lines.append([name, str(part["images"]), str(part["pixels"]), *metrics])
    return lines


def where_errors_are(results: Measured, name: str) -> PageSection:
    """The part of a page that shows where the errors of a model of this name are."""
    if isinstance(results, Segmentation):
        rows = [["Class", "IoU"], *([one, f"{iou:.4g}"] for one, iou in results.ious.items())]
        return PageSection(f"IoU of {name} by class", html_lines(rows))
    chart = error_chart(error_bounds(), results.errors, f"Relative error of {name}, pixels of all images")
    return errors_section(breakdown_lines(results), chart)
