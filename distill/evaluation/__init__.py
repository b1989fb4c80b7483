"""How good a depth map is: the metrics of one image, the named protocols that decide what counts, and their mean."""

from importlib import import_module

from distill.evaluation.aligning import ALIGNMENTS
from distill.evaluation.breakdown import error_bounds
from distill.evaluation.metrics import LOWER_IS_BETTER, MEASURES, METRICS, depth_metrics, mean_absolute_error
from distill.evaluation.named import PROTOCOLS
from distill.evaluation.protocols import Protocol, SizeError
from distill.evaluation.results import (
    Results,
    bootstrap_over_sets,
    common_images,
    image_values,
    paired_bootstrap,
    read_results,
    student_result,
)
from distill.evaluation.scores import Evaluation, ImageScore
from distill.evaluation.scoring import Outcome, Predict, Prediction, gather, interleave, score_samples

__all__ = [
    "ALIGNMENTS",
    "LOWER_IS_BETTER",
    "MEASURES",
    "METRICS",
    "PROTOCOLS",
    "Evaluation",
    "ImageScore",
    "Outcome",
    "Predict",
    "Prediction",
    "Protocol",
    "Results",
    "SizeError",
    "bootstrap_over_sets",
    "common_images",
    "depth_metrics",
    "error_bounds",
    "gather",
    "image_values",
    "interleave",
    "mean_absolute_error",
    "paired_bootstrap",
    "read_results",
    "score_samples",
    "student_result",
]

# Names that 0.1.0 had here, for code outside that imports them: where they live now.
MOVED = {
    "Network": "distill.inference.network:Network",
    "eval_mode": "distill.inference.network:eval_mode",
    "evaluate": "distill.inference.evaluating:evaluate",
    "judge": "distill.evaluation.scoring:score_samples",
}


def __getattr__(name: str) -> object:
    if name not in MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, current = MOVED[name].partition(":")
    return getattr(import_module(module), current)
