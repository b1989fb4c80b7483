"""How far a student agrees with its teacher on images that nobody measured: the teacher's depth in the truth's place.

A relative map has no unit. The teacher's is brought to between `NEAR` and `FAR` metres, each image's whole span of
inverse depth, and the student's scale and shift are fitted to it: neither counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from distill.data import DepthDataset, Sample, TrainingPart
from distill.data.survey import evenly
from distill.evaluation import Prediction, Protocol
from distill.evaluation.arrays import as_array
from distill.inference.network import Network
from distill.inference.panels import depth_panel
from distill.report.pictures import Panel
from teachers.model import is_relative

NEAR, FAR = 1.0, 10.0
NAME = "agreement"  # of the protocol
SPAN = f"the span of each image taken for {NEAR:g} to {FAR:g} m"


def agreement_protocol(teacher: str, relative: bool, max_depth: float) -> Protocol:
    """The rules by which a student is compared with this teacher, whose name is in their fingerprint."""
    truth = f"depth of {teacher}"
    if not relative:
        return Protocol(NAME, "folder", truth, max_depth=max_depth)
    return Protocol(NAME, "folder", f"{truth}, {SPAN}", max_depth=2 * FAR).affine()


def in_truths_place(values: np.ndarray, relative: bool) -> np.ndarray:
    """A teacher's map (H, W) as truth, float32: metres, 0 where it says nothing."""
    known = np.isfinite(values) & (relative | (values > 0))
    if relative:
        low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 0.0)
        share = (np.where(known, values, low) - low) / max(high - low, 1e-12)
        values, known = 1 / (1 / FAR + share * (1 / NEAR - 1 / FAR)), known & (high > low)
    return np.where(known, values, 0).astype(np.float32)


class TaughtSamples(DepthDataset):
    """Some images of training parts, as they are made ready but not varied, with their teacher's depth as truth.

    Args:
        parts: Images without truth of their own.
        teacher: Who is asked; None where each image has a label.
        count: Of images at most, evenly chosen.
    """

    def __init__(self, parts: Sequence[TrainingPart], teacher: Network | None, count: int, max_depth: float) -> None:
        places = [(part, index) for part in parts for index in range(len(part.dataset))]
        self.places, self.teacher, self.max_depth = evenly(places, count), teacher, max_depth

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        part, place = self.places[index]
        sample = part.dataset[place]
        for step in part.prepare:
            sample = step(sample)
        if self.teacher is not None:
            values, relative = self.teacher.images([sample.image])[0], is_relative(self.teacher.model)
        else:
            assert sample.label is not None
            relative = sample.relative  # metres are a canonical camera's where depth was brought to one
            values = sample.label if relative else sample.label / (sample.canonical or 1.0)
        depth = in_truths_place(values, relative)
        return replace(sample, depth=depth, valid=depth > 0)


def agreement_panel(taught: Sample, prediction: Prediction, protocol: Protocol) -> Panel:
    """Image, teacher and student on one scale of colours, and where they differ; aligned as the protocol does it."""
    pixels = protocol.pixels(prediction.depth, taught.depth, view=prediction.view, relative=prediction.relative)
    student = np.zeros(taught.depth.size, np.float32)
    student[as_array(pixels.places)] = as_array(pixels.pred)
    depths = {"student": student.reshape(taught.depth.shape)}
    panel = depth_panel(taught.name, taught, depths, protocol.max_depth, truth="teacher")
    if SPAN not in protocol.ground_truth:
        return panel
    depth, *others = panel.scales
    unit = f"Depth (no unit: the teacher's span is taken for {NEAR:g} to {FAR:g})"
    return replace(panel, scales=(replace(depth, label=unit), *others))
