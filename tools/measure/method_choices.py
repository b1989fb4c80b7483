"""Measures what the papers leave open: `distill ablate`, with rows that change the code and not a key.

    python tools/measure/method_choices.py train.steps=600 --jobs 2

takes the words of `distill ablate` after its preset, which is tools/measure/method_choices.yaml.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.ablation.plan import PlannedRun
from distill.cli import main as distill
from distill.method import METHODS, DisDepth, LossAttention, features
from distill.method.acclimation import FeatureAcclimation
from students import lg_conv

PRESET = Path(__file__).with_suffix(".yaml")
ROW = "--row"  # a run of one row, in a process of its own


class SharedScore(LossAttention):
    """Scores with the part that all positions share."""

    def scores(self, z: Tensor) -> Tensor:
        query = self.query(z.mean(dim=(2, 3))).float()[:, :, None, None]
        return (query * F.normalize(self.key(z).float(), dim=1, eps=1e-6)).sum(dim=1, keepdim=True)


class PlainSigmoid(SharedScore):
    """A = sigmoid(score): between 0 and 1, of any mean."""

    def importance(self, scores: Tensor) -> Tensor:
        return torch.sigmoid(scores)


class Softmax(SharedScore):
    """A = N softmax(score) over N positions: of mean 1, without a limit."""

    def importance(self, scores: Tensor) -> Tensor:
        return scores[0, 0].numel() * scores.flatten(2).softmax(dim=2).view_as(scores)


class IdentityStart(FeatureAcclimation):
    """Residual branches begin at zero: Z is the projected map at first."""

    def __init__(self, *channels: int, **options: Any) -> None:
        super().__init__(*channels, zero_init=True, **options)


class Ramp(DisDepth):
    """Distillation grows evenly from the first step to twice the warm-up: the same in sum as all at once."""

    def __init__(self, *args: Any, warmup_steps: int = 0, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ramp_steps = max(1, 2 * warmup_steps)

    def pull(self, step: int) -> float:
        return self.kd_weight * min(1.0, step / self.ramp_steps)


def replace(place: Any, name: str, by: object) -> Callable[[], None]:
    return lambda: setattr(place, name, by)


CHANGES: dict[str, Callable[[], None]] = {
    "lam=shared_score": replace(features, "LossAttention", SharedScore),
    "lam=sigmoid": replace(features, "LossAttention", PlainSigmoid),
    "lam=softmax": replace(features, "LossAttention", Softmax),
    "fam=identity_start": replace(features, "FeatureAcclimation", IdentityStart),
    "ramp": lambda: METHODS.update(disdepth=Ramp),
    "lg_start=0.1": replace(lg_conv, "GLOBAL_SCALE", 0.1),
    "lg_start=1": replace(lg_conv, "GLOBAL_SCALE", 1.0),
}


def command(run: PlannedRun) -> list[str]:
    """What carries out a run: this tool, which knows what the row changes."""
    return [sys.executable, str(Path(__file__).resolve()), ROW, run.row, *run.words]


def main(words: list[str]) -> int:
    if words[:1] == [ROW]:
        CHANGES.get(words[1], lambda: None)()
        return distill(words[2:])
    if "--reuse" in words:
        raise SystemExit("--reuse knows runs by their configurations, which are alike for rows that change the code")
    replace(PlannedRun, "command", command)()
    return distill(["ablate", str(PRESET), *words])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
