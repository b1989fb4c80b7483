"""The page of `distill evaluate --report`: results, where the errors are, and the worst images as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from distill.data import DecodeError, DepthDataset
from distill.evaluation import Evaluation, error_bounds
from distill.evaluation.arrays import as_array
from distill.evaluation.evaluator import Predict
from distill.panels import depth_panel, network_input
from distill.report import Panel, Row, errors_section, write_page

WORST = 3  # images with the largest abs_rel that a page shows


def write_judged_page(
    path: Path, model: str, results: Sequence[Evaluation], dataset: DepthDataset, names: Sequence[str], predict: Predict
) -> None:
    """Write the page of one model; of several protocols, the first is shown. `names` are those of all samples."""
    first = results[0]
    write_page(
        path,
        title=f"{model} by {first.protocol.name}",
        lead=f"{len(first.images)} images. {first.protocol.describe()}.",
        rows=[Row(model, first.metrics, first.protocol.fingerprint)],
        protocol=first.protocol.name,
        charts=[],
        panels=[],
        more=[errors_section(first.breakdown, error_bounds(), first.errors, model)],
        worst=worst_panels(first, dataset, names, predict),
    )


def worst_panels(results: Evaluation, dataset: DepthDataset, names: Sequence[str], predict: Predict) -> list[Panel]:
    """Image, truth, prediction and error of the images that went worst, each read and predicted once more."""
    panels = []
    for image in results.worst(WORST):
        try:
            sample = dataset[names.index(image.name)]
        except DecodeError:
            continue
        shown, prediction = network_input(sample, results.protocol, None), predict(sample)
        depth = as_array(results.protocol.combined(prediction.depth, prediction.flipped, prediction.view)[0])
        if depth.shape == sample.depth.shape:
            depth = depth[results.protocol.input_window(*depth.shape)]
        caption = ", ".join(f"{name} {image.metrics[name]:.4g}" for name in ("abs_rel", "rmse", "d1"))
        panel = depth_panel(image.name, shown, {"prediction": depth}, results.protocol.max_depth)
        panels.append(replace(panel, caption=caption))
    return panels
