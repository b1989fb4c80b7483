"""Pictures of what a run's networks see and predict, ready for a page or TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from distill.data import DecodeError, DepthDataset, Sample, resize, to_tensor
from distill.data.focal import metres_of
from distill.evaluation import Protocol
from distill.evaluation.segmentation import ClassProtocol
from distill.inference.network import Model, eval_mode
from distill.method import Method
from distill.method.conversion import convert
from distill.report.pictures import (
    Panel,
    class_blend,
    colour_limits,
    colourise,
    colourise_error,
    colourise_weight,
    depth_scale,
    error_scale,
    palette,
    resize_to,
    weight_scale,
)
from teachers import DepthModel
from teachers.model import is_relative, relative_inverse

ERROR_LIMIT = 0.4  # relative error at the end of the error map's colours
TRUTH = "ground truth"
SPARSE = 0.3  # share of measured pixels below which they are drawn larger than they are


def network_input(sample: Sample, protocol: Protocol, size: tuple[int, int] | None) -> Sample:
    """What a network is shown of a sample: the protocol's part of the image, at the run's size."""
    rows, columns = protocol.input_window(*sample.depth.shape)
    image, depth, valid = (
        np.ascontiguousarray(one[rows, columns]) for one in (sample.image, sample.depth, sample.valid)
    )
    shown = Sample(image, depth, valid, sample.name, sample.intrinsics)
    return shown if size is None else resize(shown, size)


def pick(dataset: Sized, count: int) -> list[int]:
    """Indices of `count` evenly spaced samples."""
    total = len(dataset)
    return sorted({round(i * (total - 1) / max(count - 1, 1)) for i in range(min(count, total))})


def as_map(depth: Tensor) -> np.ndarray:
    """(1, 1, H, W) on any device -> float32 (H, W)."""
    return depth[0, 0].detach().float().cpu().numpy()


def depth_panel(name: str, shown: Sample, depths: dict[str, np.ndarray], max_depth: float, truth: str = TRUTH) -> Panel:
    """Image, truth, every network's depth on one colour scale, and the error of the last one.

    The first network's depth (the teacher's), the last one's and the truth lie under one slider.
    """
    valid = shown.valid & (shown.depth < max_depth)
    near, far = colour_limits(np.where(valid, shown.depth, 0) if valid.any() else next(iter(depths.values())))
    radius = 1 if valid.mean() < SPARSE else 0
    pictures = {"image": shown.image}
    if valid.any():
        pictures[truth] = colourise(shown.depth, near, far, radius=radius)
    pictures |= {label: colourise(depth, near, far) for label, depth in depths.items()}
    scales = [depth_scale(near, far)]
    if valid.any():
        label, depth = list(depths.items())[-1]
        compared = f"error of {label}" if truth == TRUTH else f"{label} against {truth}"
        pictures[compared] = colourise_error(depth, shown.depth, valid, ERROR_LIMIT, radius=radius)
        scales.append(error_scale(ERROR_LIMIT))
    models = list(depths)
    compare = [*dict.fromkeys((models[0], models[-1])), *([truth] if valid.any() else [])]
    return Panel(name, pictures, scales=tuple(scales), compare=tuple(compare))


@torch.no_grad()
def method_panel(
    method: Method, teacher: DepthModel | None, shown: Sample, max_depth: float, others: Mapping[str, Model]
) -> Panel:
    """One image as the teacher, the ghost, others and the student see it, the student's error and the LAM map."""
    device = next(method.parameters()).device
    image = to_tensor(shown.image)[None].to(device)
    with eval_mode(method):
        guide = method.consult(teacher, image, torch.ones_like(image[:, :1], dtype=torch.bool))
        maps = method.explain(image, guide)
    height, width = shown.image.shape[:2]
    metres = metres_of(method.student.canonical_focal, shown, (height, width))
    depths = (
        {} if teacher is None or not method.explained_by(teacher) else teacher_depth(teacher, image, shown, max_depth)
    )
    depths |= {"ghost": metres * as_map(maps["ghost"])} if "ghost" in maps else {}
    depths |= {label: metres * as_map(model(image)) for label, model in others.items()}
    depths["student"] = metres * as_map(maps["student"])
    panel = depth_panel(shown.name, shown, depths, max_depth)
    if "attention" in maps:
        picture = colourise_weight(as_map(maps["attention"]))
        panel.pictures["importance (LAM)"] = resize_to(picture, (shown.image.shape[0], shown.image.shape[1]))
        panel = replace(panel, scales=(*panel.scales, weight_scale()))
    return panel


@torch.no_grad()
def class_panel(
    method: Method, teacher: DepthModel | None, shown: Sample, names: Sequence[str], others: Mapping[str, Model]
) -> Panel:
    """One image in the colours of its classes: the truth's, the teacher's, the ghost's, others' and the student's."""
    image = to_tensor(shown.image)[None].to(next(method.parameters()).device)
    with eval_mode(method):
        guide = method.consult(teacher, image, torch.ones_like(image[:, :1], dtype=torch.bool))
        maps = method.explain(image, guide)
    taught = {"teacher": teacher} if teacher is not None and method.explained_by(teacher) else {}
    logits = {label: model(image) for label, model in taught.items()}
    logits |= {"ghost": maps["ghost"]} if "ghost" in maps else {}
    logits |= {label: model(image) for label, model in others.items()} | {"student": maps["student"]}
    numbers = {label: one[0].argmax(0).cpu().numpy() for label, one in logits.items()}
    truth = np.where(shown.valid, shown.depth - 1, len(names)).astype(np.int64)
    known, maps_of_numbers = (*names, "no class"), {TRUTH: truth, **numbers}
    pictures = {label: class_blend(shown.image, one, len(known)) for label, one in maps_of_numbers.items()}
    if "attention" in maps:
        size = shown.image.shape[0], shown.image.shape[1]
        pictures["importance (LAM)"] = resize_to(colourise_weight(as_map(maps["attention"])), size)
    scales, colours = ((weight_scale(),) if "attention" in maps else ()), palette(len(known))
    legend = {known[number]: colours[number] for number in np.unique(list(maps_of_numbers.values()))}
    return Panel(shown.name, {"image": shown.image, **pictures}, "", scales, (TRUTH, "student"), legend)


def teacher_depth(teacher: DepthModel, image: Tensor, shown: Sample, max_depth: float) -> dict[str, np.ndarray]:
    """The teacher's depth by its label; a relative one's in metres by the truth, and none where that is not enough."""
    depth = teacher(image)
    if not is_relative(teacher):
        return {"teacher": as_map(depth)}
    truth = torch.from_numpy(shown.depth)[None, None].to(depth)
    made = convert(relative_inverse(teacher, depth), truth, (truth > 0) & (truth < max_depth), max_depth)
    return {"teacher, fitted to the truth": as_map(made.depth)} if made.good.all() else {}


PANELS: dict[type[Protocol], Callable[..., Panel]] = {
    Protocol: lambda method, teacher, shown, protocol, others: method_panel(
        method, teacher, shown, protocol.max_depth, others
    ),
    ClassProtocol: lambda method, teacher, shown, protocol, others: class_panel(
        method, teacher, shown, protocol.classes, others
    ),
}


def method_panels(
    method: Method,
    teacher: DepthModel | None,
    dataset: DepthDataset,
    protocol: Protocol,
    size: tuple[int, int] | None,
    indices: Sequence[int],
    others: Mapping[str, Model] | None = None,
) -> list[Panel]:
    """Panels of some images, with the depths of other models by label; unreadable images are left out."""
    panels = []
    for index in indices:
        try:
            shown = network_input(dataset[index], protocol, size)
        except DecodeError:
            continue
        panels.append(PANELS[type(protocol)](method, teacher, shown, protocol, others or {}))
    return panels
