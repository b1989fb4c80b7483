"""Signs that distillation goes astray: numbers to log, and what they mean in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

FOCUSED = 0.2  # LAM's coverage below which it has collapsed: few positions have all that its limit lets them have
ALIKE = 0.99999  # normalised entropy of LAM above which it has
FLAT = 0.01  # relative spread of a predicted depth map below which it is one plane
OVERWHELMING = 100.0  # times the task's gradient
FAINT = 0.05  # times the task's gradient, below which distillation changes nothing
LOST = 2.0  # times the student's loss: a ghost worse than that has nothing to teach
NOTHING = 1e-3  # a loss of which multiples mean nothing


def normalised_entropy(attention: Tensor) -> Tensor:
    """Mean entropy of A over positions, from 0 (one position) to 1 (all alike); A is (B, 1, H, W), not negative."""
    share = attention.flatten(1).float()
    share = share / share.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return torch.special.entr(share).sum(dim=1).mean() / max(math.log(share.shape[1]), 1e-12)


@torch.no_grad()
def describe_attention(attention: Tensor) -> dict[str, Tensor]:
    """Of A (B, 1, H, W): its normalised entropy, and the share of positions that count at least half the mean."""
    return {"lam_entropy": normalised_entropy(attention), "lam_coverage": (attention >= 0.5).float().mean()}


@torch.no_grad()
def describe_depth(depth: Tensor) -> dict[str, Tensor]:
    """Of a prediction (B, 1, H, W): the mean over images of its deviation, relative to its mean."""
    flat = depth.flatten(1).float()
    mean = flat.mean(dim=1, keepdim=True)
    deviation = (flat - mean).square().mean(dim=1).sqrt()  # on a CPU `std` costs ten times as much
    return {"spread": (deviation / mean[:, 0].clamp(min=1e-6)).mean()}


@torch.no_grad()
def describe_classes(logits: Tensor) -> dict[str, Tensor]:
    """Of logits (B, classes, H, W): the mean over images of the share of pixels that are not of the commonest class."""
    number = logits.argmax(dim=1).flatten(1)
    counts = torch.zeros(len(number), logits.shape[1], device=logits.device)
    counts.scatter_add_(1, number, torch.ones_like(number, dtype=counts.dtype))
    return {"variety": 1 - (counts.amax(dim=1) / number.shape[1]).mean()}


@torch.no_grad()
def describe_lost(*taught: Tensor) -> dict[str, Tensor]:
    """The largest share, of what a teacher gave, that is not finite: nothing is learnt from that."""
    return {"teacher_lost": torch.stack([1 - one.isfinite().float().mean() for one in taught]).max()}


@torch.no_grad()
def relative_change(changed: Tensor, original: Tensor) -> Tensor:
    """How far one map is from another, relative to the other's length."""
    return (changed - original).float().norm() / original.float().norm().clamp(min=1e-12)


class GradientProbe:
    """Compares what the task and what distillation ask of the same maps, during backward and without a pass of its own.

    Each map becomes two branches, one for either loss. `logs` receives, for every map, `kd_ratio_<name>`, the length of
    distillation's gradient over the task's, and `kd_cosine_<name>`, the cosine between the two.
    """

    def __init__(self, logs: dict[str, Tensor]) -> None:
        self.logs = logs

    def split(self, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """The same map for the task and for distillation."""
        task, kd = x.view_as(x), x.view_as(x)
        arrived: dict[str, Tensor] = {}

        def receive(branch: str, grad: Tensor) -> None:
            arrived[branch] = grad.detach().float().flatten()
            if len(arrived) == 2:
                ours, theirs = arrived.pop("task"), arrived.pop("kd")
                self.logs[f"kd_ratio_{name}"] = theirs.norm() / ours.norm().clamp(min=1e-20)
                self.logs[f"kd_cosine_{name}"] = F.cosine_similarity(ours, theirs, dim=0, eps=1e-20)

        if x.requires_grad:
            task.register_hook(lambda grad: receive("task", grad))
            kd.register_hook(lambda grad: receive("kd", grad))
        return task, kd


def symptoms(logs: Mapping[str, float]) -> dict[str, str]:
    """What is wrong with a run, by name, as one step's logs show it; empty where nothing is."""
    signs = {}
    for key, value in logs.items():
        kind, _, stride = key.rpartition("_")
        if kind == "lam_coverage" and value < FOCUSED:
            signs[key] = f"the loss attention at stride {stride} looks at almost nothing ({value:.0%} of the map)"
        if kind == "lam_entropy" and value > ALIKE and "kd" in logs:  # before distillation it may still be learning
            signs[key] = f"the loss attention at stride {stride} weighs all positions alike: it does nothing"
        if kind == "kd_ratio" and value > OVERWHELMING:
            signs[key] = (
                f"distillation pulls {value:.0f} times as hard as the task at stride {stride}; lower method.kd_weight"
            )
    ratios = [value for key, value in logs.items() if key.startswith("kd_ratio_")]
    if ratios and max(ratios) < FAINT:
        signs["kd_ratio"] = (
            f"distillation pulls at most {max(ratios):.1%} as hard as the task at any stride: it changes nothing; "
            "raise method.kd_weight, or compare standardised maps (method.kd_normalise)"
        )
    # Before distillation FAM may still be learning.
    if "kd" in logs and logs.get("ghost", 0.0) > LOST * max(logs["task"], NOTHING):
        losses = f"loss {logs['ghost']:.1f} against {logs['task']:.1f}"
        signs["ghost"] = (
            f"the teacher's maps give the student's decoder less than the student's own ({losses}): FAM has diverged; "
            "lower optim.fam_lr_share or set train.clip"
        )
    if (lost := logs.get("teacher_lost", 0.0)) > 0:
        signs["teacher_lost"] = (
            f"{lost:.1%} of what the teacher, or FAM, gives is not finite and teaches nothing; use train.precision=no, "
            "or another teacher"
        )
    if logs.get("spread", 1.0) < FLAT:
        signs["spread"] = "the student predicts one depth for the whole image; lower optim.lr or set train.clip"
    if logs.get("variety", 1.0) < FLAT:
        signs["variety"] = "the student predicts one class for the whole image; lower optim.lr or set train.clip"
    return signs
