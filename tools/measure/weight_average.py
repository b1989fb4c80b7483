"""Measures what a moving average of the student's weights is worth, beside the weights of the same run.

    python tools/measure/weight_average.py train configs/scenes.yaml method.name=feature

takes the words of `distill`, and trains as it does, bit for bit. At every validation the averages are evaluated as
well; their results are lines of `metrics.jsonl`, as `average_0.99` and so on. Of one that grows, `growing_0.998`,
the decay at step n is at most (1 + n) / (10 + n): it is over the last tenth of a run, or the last 500 steps.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from distill.assembly.validation import Validation
from distill.cli import main as distill
from distill.data import Batch
from distill.engine import loop
from distill.engine.step import Learner, Moved, run_step
from distill.inference.measuring import Measured, scorer_of
from teachers import DepthModel

averages: dict[str, AveragedModel] = {}
evaluate_weights = Validation.evaluate


def growing(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """The rule of an average that is short at first."""

    @torch.no_grad()
    def move(averaged: list[Tensor], current: list[Tensor], number: Tensor) -> None:
        n = int(number)
        share = 1 - min(decay, (1 + n) / (10 + n))
        for mine, theirs in zip(averaged, current, strict=True):
            mine.lerp_(theirs, share) if mine.is_floating_point() else mine.copy_(theirs)

    return move


RULES = {f"average_{decay}": get_ema_multi_avg_fn(decay) for decay in (0.98, 0.99)}
RULES |= {f"growing_{decay}": growing(decay) for decay in (0.99, 0.998)}


def step_and_average(learner: Learner, micro_batches: list[Batch], step: int) -> tuple[dict[str, Tensor], Moved]:
    """`run_step`; weights and BatchNorm's statistics are averaged behind it."""
    student = learner.method.student
    for name, rule in RULES.items() if not averages else ():
        averages[name] = AveragedModel(student, multi_avg_fn=rule, use_buffers=True)
    outcome = run_step(learner, micro_batches, step)
    for average in averages.values():
        average.update_parameters(student)
    return outcome


def evaluate_all(validation: Validation, interrupted: Callable[[], bool]) -> Measured | None:
    """The results of the weights, which count; those of the averages are logged."""
    test, protocol = validation.data.test, validation.data.protocol
    assert test is not None
    scorer = scorer_of(protocol, validation.accelerator.device, validation.config.data.size)
    for name, average in averages.items():
        assert isinstance(average.module, DepthModel)
        results = scorer.shared(average.module, test, validation.accelerator, lambda: False)
        assert results is not None
        validation.tracker.log(name, validation.state.step, results.metrics)
    return evaluate_weights(validation, interrupted)


if __name__ == "__main__":
    loop.run_step = step_and_average  # type: ignore[assignment]
    Validation.evaluate = evaluate_all  # type: ignore[method-assign,assignment]
    sys.exit(distill(sys.argv[1:]))
