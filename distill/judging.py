"""`distill evaluate`: a model, a data set, one or several protocols, a table."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from torch import nn

from distill import build
from distill.config import DataConfig, parse_config
from distill.data import DepthDataset, readable
from distill.engine.files import write_json
from distill.engine.tracking import console
from distill.errors import UserError
from distill.evaluation import Evaluation, Protocol, evaluate
from distill.report import Row, results_table

# depth = 1 / (scale * output + shift) of DPT's published metric weights
PUBLISHED_CONVERSION = {"kitti": (6.016e-5, 0.00579), "nyu": (3.05e-4, 0.1378)}


def data_config(args: argparse.Namespace) -> DataConfig:
    """The data section that the options of the command stand for."""
    data: dict[str, object] = {
        "name": args.data,
        "root": str(args.root) if args.root else None,
        "scenes": {"kind": args.scenes},
        "depth_scale": args.depth_scale,
        "max_depth": args.max_depth,
    }
    if args.data != "scenes" and args.root is None:
        raise UserError(f"--root is needed for --data {args.data}: the folder of the data set")
    return parse_config({"data": data}, "options").data


def choose_protocols(args: argparse.Namespace, data: DataConfig, max_depth: float) -> list[Protocol]:
    """The one protocol asked for, or all of the data set's."""
    if not args.all_protocols:
        return [build.choose_protocol(data, args.protocol, args.tta, max_depth)]
    return [build.choose_protocol(data, name, args.tta, max_depth) for name in build.own_protocols(data)]


def trained_size(model: str) -> tuple[int, int] | None:
    """The size that a student saw its images at while training, None where it saw them as they are."""
    from students import read_config

    try:
        saved = read_config(model)[1].get("metadata", {}).get("input_size")
    except (FileNotFoundError, ValueError):
        return None
    return (int(saved[0]), int(saved[1])) if saved else None


def open_for(model: str, data: DataConfig) -> nn.Module:
    """A model for this data set; published DPT weights get the conversion to metres that belongs to it."""
    teacher, colon, _ = model.partition(":")
    published = colon and not Path(model).exists() and teacher != build.SHIPPED  # that one gives metres by itself
    if published and data.name in PUBLISHED_CONVERSION:
        scale, shift = PUBLISHED_CONVERSION[data.name]
        console.print(f"{model}: depth = 1 / ({scale:g} * output + {shift:g}), DPT's conversion for {data.name}")
        return build.open_model(model, scale=scale, shift=shift, invert=True)
    return build.open_model(model)


def evaluate_command(args: argparse.Namespace) -> list[Evaluation]:
    """Carry out `distill evaluate` and return what it printed."""
    data = data_config(args)
    if args.json:
        check_writable(args.json, "--json")
    dataset = build.open_dataset(data, "test", split=args.split)
    protocols = choose_protocols(args, data, data.max_depth or dataset.max_depth)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = open_for(args.model, data).to(device)
    size = args.size or trained_size(args.model)
    if size:
        console.print(f"images are resized to {size[0]}x{size[1]} for the model, predictions back", highlight=False)
    results = [evaluate_with_progress(model, dataset, protocol, device, size) for protocol in protocols]
    show(args.model, results)
    if args.json:
        content = [one.as_dict() for one in results]
        write_json(args.json, content if args.all_protocols else content[0])
    return results


def check_writable(path: Path, option: str) -> None:
    """Refuse, before an hour of work rather than after it, a file that cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        usable = not path.is_dir() and os.access(path.parent, os.W_OK)
    except OSError:
        usable = False
    if not usable:
        raise UserError(f"{option} {path} cannot be written; give a file in a folder that can")


def evaluate_with_progress(
    model: nn.Module, dataset: DepthDataset, protocol: Protocol, device: torch.device, size: tuple[int, int] | None
) -> Evaluation:
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(protocol.name, total=len(dataset))
        return evaluate(
            model,
            readable(dataset),
            protocol,
            device=device,
            size=size,
            progress=lambda done, _: progress.update(task, completed=done),
        )


def show(model: str, results: list[Evaluation]) -> None:
    """One table a protocol, and what should be known about the images beside it."""
    out = Console()
    for one in results:
        row = Row(model, one.metrics, one.protocol.fingerprint)
        out.print(results_table([row], f"{one.protocol.name} · {one.protocol.fingerprint} · {len(one.images)} images"))
        if one.skipped:
            out.print(f"{len(one.skipped)} images without ground truth in range were skipped: {shorten(one.skipped)}")
        if one.faults:
            out.print(f"{len(one.faults)} images could not be read: {shorten(one.faults)}")
        if one.repaired:
            out.print(f"{one.repaired} predicted pixels were not finite; they count as wrong, not as missing")


def shorten(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
