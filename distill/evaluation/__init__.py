"""How good a depth map is: the metrics of one image, the named protocols that decide what counts, and their mean."""

from distill.evaluation.breakdown import error_bounds
from distill.evaluation.evaluator import Network, Outcome, Prediction, eval_mode, evaluate, gather, interleave, judge
from distill.evaluation.metrics import LOWER_IS_BETTER, MEASURES, METRICS, depth_metrics, mean_absolute_error
from distill.evaluation.paired import paired_bootstrap
from distill.evaluation.protocols import PROTOCOLS, Protocol, SizeError
from distill.evaluation.results import Results, common_images, image_values, read_results
from distill.evaluation.scores import Evaluation, ImageScore

__all__ = [
    "LOWER_IS_BETTER",
    "MEASURES",
    "METRICS",
    "PROTOCOLS",
    "Evaluation",
    "ImageScore",
    "Network",
    "Outcome",
    "Prediction",
    "Protocol",
    "Results",
    "SizeError",
    "common_images",
    "depth_metrics",
    "error_bounds",
    "eval_mode",
    "evaluate",
    "gather",
    "image_values",
    "interleave",
    "judge",
    "mean_absolute_error",
    "paired_bootstrap",
    "read_results",
]
