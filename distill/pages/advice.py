"""What a finished run says beside its figures: where its student fails, and what to do next."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path

from distill.engine.state import TrainState
from distill.evaluation.breakdown import EDGES, ELSEWHERE
from distill.evaluation.results import cost_of
from distill.evaluation.segmentation import Segmentation
from distill.inference.measuring import Measured
from distill.pages.model_results import WORST, ModelResult

METRIC = "abs_rel"
MUCH = 2.0  # times another error
BETTER = 1.25  # times the teacher's error
EARLY = 0.5  # share of the steps


def where_it_fails(results: Measured) -> list[str]:
    """The student's abs_rel by distance, at edges and of its worst images, in a line each; or its worst classes."""
    if isinstance(results, Segmentation):
        ious = sorted((iou, name) for name, iou in results.ious.items() if iou == iou)
        return [f"IoU of the worst classes: {', '.join(f'{name} {iou:.3g}' for iou, name in ious[:WORST])}"]
    parts = {name: part["metrics"][METRIC] for name, part in results.breakdown.items() if METRIC in part["metrics"]}
    distances = [f"{name} {error:.3g}" for name, error in parts.items() if name not in (EDGES, ELSEWHERE)]
    edges = [f"{name} {parts[name]:.3g}" for name in (EDGES, ELSEWHERE) if name in parts]
    worst = [f"{image.name} {image.metrics[METRIC]:.3g}" for image in results.worst(WORST)]
    median = statistics.median(image.metrics[METRIC] for image in results.images)
    lines = [f"by distance: {', '.join(distances)}", ", ".join(edges)]
    return [
        f"{METRIC} {line}" for line in (*lines, f"of the worst images: {', '.join(worst)}; the median {median:.3g}")
    ]


def what_next(
    results: Sequence[ModelResult], state: TrainState, folder: Path, *, any_camera: bool = False
) -> list[str]:
    """What may make the student better, as far as the figures show it, and the commands that use it.

    Args:
        any_camera: Whether it gives a canonical camera's depth, so that its user must name the focal length.
    """
    errors = {one.role: cost_of(one.results.metrics) for one in results}
    advice = []
    if not results:
        advice.append("nothing was validated: data.hold_out=0.1 keeps a tenth for that, or add a test half")
    elif state.best_step == state.step:
        advice.append("the last step was the best: more train.epochs (or train.steps) may help")
    elif 0 < state.best_step < EARLY * state.step:
        advice.append(
            f"the best was step {state.best_step} of {state.step}, afterwards it learnt by heart: more images help"
        )
    if errors.get("teacher", float("inf")) * BETTER < errors.get("student", 0):
        advice.append("its teacher is much better: a larger student.backbone, or more steps, has room")
    for one in results:
        if one.role == "student":
            advice += advice_by_parts(one.results)
    predict, export = (f"distill {verb} {shlex.quote(str(folder))}" for verb in ("predict", "export"))
    camera, focal = (" --intrinsics FX FY CX CY", " --focal-px FX") if any_camera else ("", "")
    uses = [f"{predict} IMAGES{camera}"]
    if not any(isinstance(one.results, Segmentation) for one in results):
        uses.append(f"{export} --output student.onnx{focal}")
    return [*advice, f"use it: {', '.join(uses)}"]


def advice_by_parts(results: Measured) -> list[str]:
    """What may help where some pixels are much worse than others."""
    if isinstance(results, Segmentation):
        return []
    parts = {name: part["metrics"].get(METRIC, 0.0) for name, part in results.breakdown.items()}
    distances = [error for name, error in parts.items() if name not in (EDGES, ELSEWHERE)]
    advice = []
    if distances and distances[-1] > MUCH * distances[0] > 0:
        advice.append("what is far is the worst: record more of it, or lower data.max_depth if nobody needs it")
    if parts.get(EDGES, 0.0) > MUCH * parts.get(ELSEWHERE, float("inf")):
        advice.append("depth edges are the worst: a larger data.size shows them finer")
    return advice
