"""What passes from the teacher to the student: losses, acclimation, attention, ghost, and the step that joins them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from distill.method.acclimation import FeatureAcclimation, LossAttention
from distill.method.affine import Alignment, average_alignment, fit_affine
from distill.method.base import Method, StepResult, consult, within
from distill.method.depth_pull import DepthPull
from distill.method.disdepth import DisDepth, FixedGhost, ghost_decode
from distill.method.features import FeatureDistillation
from distill.method.guide import Guide
from distill.method.health import normalised_entropy, symptoms
from distill.method.losses import attentive_kd_loss, silog_loss
from distill.method.outputs import FillDistillation, OutputDistillation, Supervised
from distill.method.relative import ssi_loss, ssi_trim_loss

__all__ = [
    "LOSSES",
    "METHODS",
    "RELATIVE_LOSSES",
    "Alignment",
    "DepthPull",
    "DisDepth",
    "FeatureAcclimation",
    "FixedGhost",
    "Guide",
    "LossAttention",
    "Method",
    "StepResult",
    "attentive_kd_loss",
    "average_alignment",
    "consult",
    "fit_affine",
    "ghost_decode",
    "normalised_entropy",
    "silog_loss",
    "ssi_loss",
    "ssi_trim_loss",
    "symptoms",
    "within",
]

# Depth losses by name: (pred, target, valid) -> scalar. "eigen" is the form without a square root (the DPT thesis).
# The last three forgive each image a scale and a shift of its inverse depth; only "midas" wants dense truth.
LOSSES: dict[str, Callable[..., Tensor]] = {
    "silog": silog_loss,
    "eigen": partial(silog_loss, alpha=1.0, lam=0.5, sqrt=False),
    "ssi": ssi_loss,
    "ssi_trim": ssi_trim_loss,
    "midas": partial(ssi_trim_loss, gradient_weight=0.5),
}

RELATIVE_LOSSES = {"ssi", "ssi_trim", "midas"}

METHODS: dict[str, type[Method]] = {
    "supervised": Supervised,
    "output": OutputDistillation,
    "fill": FillDistillation,
    "feature": FeatureDistillation,
    "disdepth": DisDepth,
}
