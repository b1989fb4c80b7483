"""One evaluation by several processes: every sample once, whatever their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol as Shape

from accelerate.utils import gather_object

from distill.data import DepthDataset, readable
from distill.evaluation import Outcome, Protocol, interleave, judge
from distill.evaluation.evaluator import Predict


class Processes(Shape):
    """What an `Accelerator` and a `PartialState` tell of this process's place among all."""

    process_index: int
    num_processes: int


def judge_shared(
    predict: Predict,
    dataset: DepthDataset,
    protocols: Sequence[Protocol],
    processes: Processes,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    progress: Callable[[], object] = lambda: None,
) -> list[Outcome] | None:
    """The outcome of every sample, in their order, on every process; None where one was interrupted before its end.

    Process r of n takes the samples r, r + n, r + 2n ...
    """
    outcomes = []
    mine = range(processes.process_index, len(dataset), processes.num_processes)
    for outcome in judge(predict, readable(dataset, mine), protocols):
        outcomes.append(outcome)
        progress()
        if interrupted():
            break
    whole = interleave(gather_object([outcomes]))
    return whole if len(whole) == len(dataset) else None
