"""Measures what a moving average of the student's weights is worth, beside the weights of the same run.

    python tools/measure/weight_average.py train configs/scenes.yaml method.name=feature

takes the words of `distill`, and trains as it does, bit for bit. At every validation the averages are evaluated as
well; their results are lines of `metrics.jsonl`: `average_0.98` of this decay at every step, `growing_0.999` as of
`train.ema=0.999`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from timm.utils import ModelEmaV3
from torch import Tensor

from distill.assembly.validation import Validation
from distill.cli import main as distill
from distill.data import Batch
from distill.engine import loop
from distill.engine.step import Counts, Learner, Moved, run_step
from distill.inference.measuring import Measured, scorer_of
from teachers import DepthModel

DECAYS = {"average_0.98": 0.98, "average_0.995": 0.995, "growing_0.999": 0.999}

averages: dict[str, ModelEmaV3] = {}
evaluate_weights = Validation.evaluate


def step_and_average(
    learner: Learner, micro_batches: list[Batch], step: int, counts: Counts
) -> tuple[dict[str, Tensor], Moved]:
    """`run_step`; weights and BatchNorm's statistics are averaged behind it."""
    student = learner.method.student
    for name, decay in DECAYS.items() if not averages else ():
        averages[name] = ModelEmaV3(student, decay=decay, use_warmup=name.startswith("growing")).train()
    outcome = run_step(learner, micro_batches, step, counts)
    for average in averages.values():
        average.update(student, step + 1)
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
