"""How good a depth map is: the metrics of one image, the named protocols that decide what counts, and their mean."""

from distill.evaluation.evaluator import Evaluation, ImageScore, evaluate
from distill.evaluation.metrics import LOWER_IS_BETTER, METRICS, depth_metrics, mean_absolute_error
from distill.evaluation.protocols import PROTOCOLS, Protocol, SizeError

__all__ = [
    "LOWER_IS_BETTER",
    "METRICS",
    "PROTOCOLS",
    "Evaluation",
    "ImageScore",
    "Protocol",
    "SizeError",
    "depth_metrics",
    "evaluate",
    "mean_absolute_error",
]
