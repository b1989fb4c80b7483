"""Times the metric part of evaluation beside per-image NumPy, as BTS, AdaBins and NeWCRFs evaluate.

    python tools/measure/compare_evaluators.py                          # on the CPU, and on a GPU where there is one
    python tools/measure/compare_evaluators.py --peer AdaBins/utils.py  # a toolkit's own compute_errors(gt, pred)

Both score the same predictions by the same protocol, in turns, on one thread; the table gives the median time of an
image and the largest relative difference of a metric. A prediction starts where the model leaves it: on a GPU, NumPy
has to fetch it first.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from distill.data import Sample
from distill.deploy.latency import Call
from distill.evaluation import METRICS, PROTOCOLS, Prediction, Protocol, score_samples

Errors = Callable[[np.ndarray, np.ndarray], tuple]
CASES = {  # protocol, frame, share of it that is measured
    "KITTI, 16 % measured": ("kitti_eigen_garg_full", (375, 1242), 0.16),
    "NYU, dense": ("nyu_eigen", (480, 640), 1.0),
}


def make_frame(size: tuple[int, int], share: float, cap: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and a truth in metres, float32 (H, W); a share of the truth's pixels is measured."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1, cap, size).astype(np.float32)
    pred = (truth * rng.normal(1, 0.1, size)).astype(np.float32)
    truth[rng.random(size) >= share] = 0
    return pred, truth


def numpy_errors(gt: np.ndarray, pred: np.ndarray) -> tuple:
    """The nine metrics in the order of `METRICS`, one array operation after the other, in float32."""
    ratio = np.maximum(gt / pred, pred / gt)
    log = np.log(pred) - np.log(gt)
    return (
        (ratio < 1.25).mean(),
        (ratio < 1.25**2).mean(),
        (ratio < 1.25**3).mean(),
        np.mean(np.abs(gt - pred) / gt),
        np.mean((gt - pred) ** 2 / gt),
        np.sqrt(np.mean((gt - pred) ** 2)),
        np.sqrt(np.mean((np.log(gt) - np.log(pred)) ** 2)),
        np.mean(np.abs(np.log10(gt) - np.log10(pred))),
        np.sqrt(np.mean(log**2) - np.mean(log) ** 2) * 100,
    )


def numpy_score(protocol: Protocol, pred: torch.Tensor, gt: np.ndarray, errors: Errors) -> tuple:
    """Paste into the frame, clamp it, mask it by limits and crop, compute the metrics: the way of public evaluators."""
    depth = np.zeros(gt.shape, np.float32)
    depth[protocol.input_window(*gt.shape)] = pred.cpu().numpy()
    depth[depth < 1e-3] = 1e-3
    depth[depth > protocol.max_depth] = protocol.max_depth
    depth[np.isinf(depth)] = protocol.max_depth
    depth[np.isnan(depth)] = 1e-3
    valid = np.logical_and(gt > 1e-3, gt < protocol.max_depth)
    inside = np.zeros(valid.shape)
    inside[protocol.window(*gt.shape)] = 1
    valid = np.logical_and(valid, inside)
    return errors(gt[valid], depth[valid])


def score_whole(protocol: Protocol, pred: torch.Tensor, gt: np.ndarray) -> None:
    """All that `distill evaluate` does beside the model: metrics, breakdown, histogram."""
    sample = Sample(np.zeros((1, 1, 3), np.uint8), gt, gt > 0, "")
    list(score_samples(lambda _: Prediction(pred), [sample], [protocol]))


def load_peer(path: Path) -> Errors:
    """`compute_errors` of a toolkit's file, which is executed."""
    spec = importlib.util.spec_from_file_location("peer", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.compute_errors


def compare(name: str, device: str, errors: Errors, images: int, rounds: int) -> list[str]:
    """One row of the table."""
    protocol_name, size, share = CASES[name]
    protocol, worst = PROTOCOLS[protocol_name], 0.0
    times: dict[str, list[float]] = {"numpy": [], "ours": [], "whole": []}
    for seed in range(images):
        pred, gt = make_frame(size, share, protocol.max_depth, seed)
        there = torch.from_numpy(pred[protocol.input_window(*size)].copy()).to(device)
        ways: dict[str, Callable[[], object]] = {
            "numpy": partial(numpy_score, protocol, there, gt, errors),
            "ours": partial(protocol.score, there, gt),
            "whole": partial(score_whole, protocol, there, gt),
        }
        scores = protocol.score(there, gt)
        if errors is numpy_errors:
            theirs = numpy_score(protocol, there, gt, errors)
            worst = max(worst, *(abs(a / scores[m] - 1) for m, a in zip(METRICS, theirs, strict=True)))
        for _ in range(rounds):
            for way, action in ways.items():
                times[way].append(Call(action).milliseconds())
    numpy, ours, whole = (float(np.median(times[way])) for way in ("numpy", "ours", "whole"))
    agreement = f"{worst:.0e}" if errors is numpy_errors else "–"
    return [name, device, f"{numpy:.2f}", f"{ours:.2f}", f"{numpy / ours:.1f}", f"{whole:.2f}", agreement]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="Python file with compute_errors(gt, pred)")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    errors = load_peer(args.peer) if args.peer else numpy_errors
    table = Table("frames", "device", "NumPy ms", "score ms", "times", "with breakdown ms", "difference")
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for name in CASES:
            table.add_row(*compare(name, device, errors, args.images, args.rounds))
    Console().print(table)


if __name__ == "__main__":
    main()
