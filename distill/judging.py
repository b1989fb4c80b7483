"""`distill evaluate`: a model, a data set, one or several protocols, a table."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from rich.console import Console
from rich.progress import Progress
from torch import nn

from distill import build
from distill.config import MIN_SIDE, DataConfig, parse_config
from distill.data import DepthDataset, check_truth, readable
from distill.data.files import INTEGER_SCALE
from distill.data.known_lists import UNKNOWN
from distill.data.survey import check_once
from distill.engine.files import write_json
from distill.engine.sharing import judge_shared
from distill.engine.tracking import console
from distill.errors import UserError
from distill.evaluation import (
    Evaluation,
    Network,
    Outcome,
    Protocol,
    SizeError,
    eval_mode,
    gather,
)
from distill.evaluation.evaluator import Predict
from distill.judged_page import write_judged_page
from distill.predictions import Recorder, StoredPredictions, holds_predictions
from distill.report import Column, Row, breakdown_table, results_table, side_by_side

# depth = 1 / (scale * output + shift) of DPT's published metric weights
PUBLISHED_CONVERSION = {"kitti": (6.016e-5, 0.00579), "nyu": (3.05e-4, 0.1378)}
LOST = 0.9  # share of pixels beyond the histogram's last limit from which units are suspected
UNITS = "check the units (--depth-scale, --prediction-scale), or judge a model of relative depth by --median-scaling"
PNG_SCALES = {"kitti": 256.0, "nyu": 1000.0, "scenes": 256.0}  # units per metre in a toolkit's 16-bit predictions


@dataclass(frozen=True)
class Judged:
    """What is judged: how a sample's depth is predicted, by which model where there is one, and its input size."""

    predict: Predict
    model: nn.Module | None = None
    size: tuple[int, int] | None = None

    @property
    def seconds(self) -> float:
        return getattr(self.predict, "seconds", 0.0)


def data_config(args: argparse.Namespace) -> DataConfig:
    """The data section that the options of the command stand for."""
    data: dict[str, object] = {
        "name": args.data,
        "root": str(args.root) if args.root else None,
        "scenes": {"kind": args.scenes},
        "truth": args.truth,
        "depth_scale": args.depth_scale,
        "max_depth": args.max_depth,
    }
    if args.data != "scenes" and args.root is None:
        raise UserError(f"--root is needed for --data {args.data}: the folder of the data set")
    return parse_config({"data": data}, "options").data


def choose_protocols(args: argparse.Namespace, data: DataConfig, dataset: DepthDataset) -> list[Protocol]:
    """The one protocol asked for, or all of the data set's that take its frames."""
    names = build.own_protocols(data, dataset) if args.all_protocols else [args.protocol]
    cap = data.max_depth or dataset.max_depth
    chosen = [build.choose_protocol(data, name, args.tta, cap, dataset) for name in names]
    if args.max_depth is not None:
        chosen = [protocol.with_(max_depth=args.max_depth) for protocol in chosen]
    if args.median_scaling:
        chosen = [protocol.with_(median_scaling=True) for protocol in chosen]
    suitable = [protocol for protocol in chosen if takes(protocol, dataset)] if args.all_protocols else chosen
    return suitable or chosen


def takes(protocol: Protocol, dataset: DepthDataset) -> bool:
    """Whether a protocol judges frames of the size of the first that can be read."""
    first = next((sample for sample in readable(dataset) if not sample.faults), None)
    try:
        return first is None or protocol.window(*first.depth.shape) is not None
    except SizeError:
        return False


def trained_size(model: str) -> tuple[int, int] | None:
    """The size that a student saw its images at while training, None where it saw them as they are."""
    from students import read_config

    try:
        saved = read_config(model)[1].get("metadata", {}).get("input_size")
    except (FileNotFoundError, ValueError):
        return None
    return (int(saved[0]), int(saved[1])) if saved else None


def data_of(model: str) -> str:
    """The data set of DPT's published weights, which their files are called after; "" for others."""
    checkpoint = Path(model.partition(":")[2]).name
    return next((name for name in PUBLISHED_CONVERSION if name in checkpoint.lower()), "")


def open_for(model: str, data: str) -> nn.Module:
    """A model for the data set of this name; published DPT weights get the conversion to metres that belongs to it."""
    teacher, colon, _ = model.partition(":")
    published = colon and not Path(model).exists() and teacher != build.SHIPPED  # that one gives metres by itself
    if published and data in PUBLISHED_CONVERSION:
        scale, shift = PUBLISHED_CONVERSION[data]
        console.print(f"{model}: depth = 1 / ({scale:g} * output + {shift:g}), DPT's conversion for {data}")
        return build.open_model(model, scale=scale, shift=shift, invert=True)
    return build.open_model(model)


def open_judged(args: argparse.Namespace, data: DataConfig, protocol: Protocol, state: PartialState) -> Judged:
    """The model, or the folder of predictions, that the command names."""
    if holds_predictions(args.model):
        if args.size:
            raise UserError(f"--size is for models, and {args.model} holds predictions: leave it out")
        scale = args.prediction_scale or PNG_SCALES.get(data.name, data.depth_scale or INTEGER_SCALE)
        stored = StoredPredictions(Path(args.model), scale, protocol)
        return Judged(stored, None, stored.size)
    model = open_for(args.model, data.name).to(state.device)
    size = args.size or trained_size(args.model)
    if size:
        console.print(f"images are resized to {size[0]}x{size[1]} for the model, predictions back", highlight=False)
    return Judged(Network(model, protocol, state.device, size, min_side=MIN_SIDE), model, size)


def evaluate_command(args: argparse.Namespace) -> list[Evaluation]:
    """Carry out `distill evaluate` and return what it printed."""
    data = data_config(args)
    for option in ("json", "report"):
        if path := getattr(args, option):
            check_writable(path, f"--{option}")
    state = PartialState(cpu=not torch.cuda.is_available())  # without cpu=True, processes of torchrun stay strangers
    dataset = build.open_dataset(data, "test", split=args.split)
    check_once(dataset)
    protocols = choose_protocols(args, data, dataset)
    judged = open_judged(args, data, protocols[0], state)
    predict = recorded(args, data, judged, protocols[0], state) if args.save_predictions else judged.predict
    outcomes = judge_all(judged, predict, dataset, protocols, state)
    try:
        results = gather(outcomes, protocols, judged.seconds, judged.size, getattr(dataset, "without_truth", ()))
    except UserError:
        if not all(outcome.faults for outcome in outcomes):
            check_truth(dataset)  # may know why, such as a wrong scale
        raise
    if state.is_main_process:
        contents = build.contents_of(dataset)
        listed = contents.list_name if contents and contents.list_name != UNKNOWN else None
        show(args.model, results, listed)
        if args.json:
            content = [{"model": args.model, "list": listed, **one.as_dict()} for one in results]
            write_json(args.json, content if args.all_protocols else content[0])
        if args.report:
            names = [outcome.name for outcome in outcomes]
            write_judged_page(args.report, args.model, results, dataset, names, judged.predict)
    return results


def recorded(
    args: argparse.Namespace, data: DataConfig, judged: Judged, protocol: Protocol, state: PartialState
) -> Recorder:
    """The same predictions, written as they are made."""
    scale = PNG_SCALES.get(data.name, data.depth_scale or INTEGER_SCALE) if args.save_as == "png" else None
    recorder = Recorder(judged.predict, args.save_predictions, protocol, scale)
    if state.is_main_process:
        check_writable(args.save_predictions / "any", "--save-predictions")
        recorder.describe(model=args.model, data=data.name, input_size=judged.size)
    return recorder


def judge_all(
    judged: Judged, predict: Predict, dataset: DepthDataset, protocols: Sequence[Protocol], state: PartialState
) -> list[Outcome]:
    """The outcome of every sample, in their order; each process predicts its share of them."""
    if isinstance(judged.predict, StoredPredictions):
        judged.predict.check([pair.name for pair in getattr(dataset, "pairs", ())])
    shown = console.is_terminal and state.is_main_process
    with Progress(console=console, transient=True, disable=not shown) as progress, eval_mode(judged.model):
        task = progress.add_task(protocols[0].name, total=len(range(0, len(dataset), state.num_processes)))
        outcomes = judge_shared(predict, dataset, protocols, state, progress=lambda: progress.advance(task))
    assert outcomes is not None  # nothing interrupts it
    return outcomes


def check_writable(path: Path, option: str) -> None:
    """Refuse, before an hour of work rather than after it, a file that cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        usable = not path.is_dir() and os.access(path.parent, os.W_OK)
    except OSError:
        usable = False
    if not usable:
        raise UserError(f"{option} {path} cannot be written; give a file in a folder that can")


# -------------------------------------------------------------------------------------------------------------- output


def show(model: str, results: Sequence[Evaluation], listed: str | None) -> None:
    """The table, several protocols side by side, and what should be known about them and the images.

    `listed` is what the list of images is known as, if it is.
    """
    out = Console()
    if len(results) == 1:
        (one,) = results
        row = Row(model, one.metrics, one.protocol.fingerprint)
        title = f"{one.protocol.name} · {one.protocol.fingerprint} · {len(one.images)} images"
        out.print(results_table([row], f"{title} of {listed}" if listed else title))
        out.print(breakdown_table(one.breakdown))
    else:
        out.print(side_by_side([as_column(one) for one in results], model))
    for one in results:
        out.print(f"{one.protocol.name} ({one.protocol.fingerprint}): {one.protocol.describe()}", highlight=False)
    for line in dict.fromkeys(remark for one in results for remark in remarks(one)):
        out.print(line, highlight=False)


def as_column(one: Evaluation) -> Column:
    facts = {
        "fingerprint": one.protocol.fingerprint,
        "images": str(len(one.images)),
        "pixels": str(sum(image.pixels for image in one.images)),
    }
    return Column(one.protocol.name, facts, one.metrics)


def remarks(one: Evaluation) -> list[str]:
    """What was left out, what was repaired, and where to look first."""
    found = []
    if one.skipped:
        found.append(f"{len(one.skipped)} images without ground truth in range were skipped: {shorten(one.skipped)}")
    if one.faults:
        found.append(f"{len(one.faults)} images could not be read: {shorten(one.faults)}")
    if one.repaired:
        found.append(f"{one.repaired} predicted pixels were not finite; they count as wrong, not as missing")
    nearer, farther = (one.errors[i] / max(sum(one.errors), 1) for i in (0, -1))
    if max(nearer, farther) > LOST:
        side = "near" if nearer > farther else "far"
        found.append(f"{max(nearer, farther):.0%} of pixels are predicted much too {side}: {UNITS}")
    found.append(f"worst by abs_rel: {shorten(tuple(image.name for image in one.worst(3)))}")
    return found


def shorten(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
