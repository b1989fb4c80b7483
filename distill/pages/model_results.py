"""A model's results on a run's test half, beside what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from distill.assembly.datasets import RunData
from distill.config import Config
from distill.data import Sample, readable
from distill.deploy.costs import count_gflops
from distill.deploy.latency import median_latency_ms
from distill.evaluation import Evaluation, Protocol
from distill.inference.evaluating import evaluate
from distill.inference.ghost_model import GhostModel
from distill.report import Row
from students import count_parameters
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
    results: Evaluation
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
        """Indices of the test images with the largest abs_rel, worst first."""
        return [self.names.index(image.name) for image in self.results.worst(WORST)]


def evaluate_model(
    name: str,
    model: DepthModel | GhostModel,
    config: Config,
    data: RunData,
    device: torch.device,
    role: str = "student",
) -> ModelResult:
    """Results of a model on the test half, and what it costs for one image of that size."""
    assert data.test is not None
    names: list[str] = []
    results = evaluate(
        model,
        noting(readable(data.test), names),
        data.protocol,
        device=device,
        size=config.data.size,
        without_truth=data.test.without_truth,
    )
    size = config.data.size or shown_size(data.protocol, data)
    costs = {} if isinstance(model, GhostModel) else costs_of(model, size, device)
    return ModelResult(role, name, results, costs, tuple(names))


def costs_of(model: DepthModel, size: tuple[int, int], device: torch.device) -> dict[str, float]:
    """Parameters, GFLOPs and milliseconds for one image."""
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


def shown_size(protocol: Protocol, data: RunData) -> tuple[int, int]:
    """Height and width of what a network is shown of the first test image."""
    assert data.test is not None
    first = next(sample for sample in readable(data.test) if not sample.faults)
    rows, columns = protocol.input_window(*first.depth.shape)
    view = first.depth[rows, columns].shape
    return view[0], view[1]
