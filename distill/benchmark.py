"""`distill benchmark`: what models cost, beside each other and beside the paper's figures."""

from __future__ import annotations

import argparse
import os
import shlex
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from distill import build
from distill.benchmark_page import write_benchmark_page
from distill.config import load_config
from distill.deploy.costs import count_gflops
from distill.deploy.figures import FLOPS, Measured, as_csv, cost_table, latency_table, paper_table, pareto_plot
from distill.deploy.latency import measure
from distill.deploy.paper import PAPER_ROWS, Cost, PaperRow, paper_row
from distill.deploy.results import Accuracy, read_accuracy
from distill.deploy.ways import WAYS
from distill.engine.files import write_atomically, write_json
from distill.engine.tracking import console
from distill.errors import UserError
from distill.judging import check_writable
from distill.machine import environment
from students import count_parameters, create_student
from teachers import create_teacher, list_teachers


def benchmark_command(args: argparse.Namespace) -> None:
    """Carry out `distill benchmark`.

    Raises:
        UserError: If a model or a file of results is not what it should be, or a file cannot be written.
    """
    for option in ("json", "csv", "plot", "report"):
        if getattr(args, option):
            check_writable(getattr(args, option), f"--{option}")
    accuracies = read_accuracies(args)
    screen = Console()
    content: dict[str, Any] = {"flops": FLOPS}
    if args.paper or not args.models:
        rows = [(row, our_cost(row)) for row in PAPER_ROWS]
        screen.print(paper_table(rows))
        content["paper"] = [asdict(row) | {"ours": asdict(ours)} for row, ours in rows]
    measured: list[Measured] = []
    if args.models:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        stamp = environment(device) | {"load": f"{os.getloadavg()[0]:.1f}"}
        measured = measure_models(args, accuracies, device)
        show(screen, args, measured, stamp)
        content |= {"device": stamp, "size": list(args.size), "batch": 1, "models": [one.as_dict() for one in measured]}
        if args.report:
            write_benchmark_page(args.report, measured, args.size, stamp, command_of(args))
    if args.json:
        write_json(args.json, content)
    if args.csv:
        write_atomically(args.csv, as_csv(measured))
    if args.plot:
        write_atomically(args.plot, pareto_plot(measured))


def command_of(args: argparse.Namespace) -> str:
    """The command that measures the same again."""
    words = ["distill", "benchmark", *args.models, "--size", "x".join(map(str, args.size)), "--ways", *args.ways]
    words += ["--runs", args.runs, *(["--results", *args.results] if args.results else []), "--report", args.report]
    return shlex.join(map(str, words))


def read_accuracies(args: argparse.Namespace) -> dict[str, Accuracy]:
    """The results given for each model, in their order.

    Raises:
        UserError: If their number is not that of the models, or they were not measured by one protocol.
    """
    if len(set(args.models)) != len(args.models):
        raise UserError(f"a model is given twice among {', '.join(args.models)}; give each once")
    paths = args.results or []
    if paths and len(paths) != len(args.models):
        raise UserError(f"--results has {len(paths)} files for {len(args.models)} models; give one for each, in order")
    if args.report and not args.models:
        raise UserError("--report is a page of measurements: give a MODEL")
    if args.plot and not paths:
        raise UserError("--plot draws accuracy against latency: give --results, files of distill evaluate --json")
    found = [read_accuracy(path) for path in paths]
    for path, one in zip(paths, found, strict=True):
        if one.fingerprint != found[0].fingerprint:
            raise UserError(
                f"{paths[0]} was measured by protocol {found[0].fingerprint}, {path} by {one.fingerprint}: "
                "their metrics do not compare; evaluate both models by one protocol"
            )
    return dict(zip(args.models, found, strict=False))


def our_cost(row: PaperRow) -> Cost:
    """Parameters and GFLOPs of the student that this code builds for a row of the paper."""
    with torch.device("meta"):
        student = create_student(row.backbone, lg_conv=row.lg_conv, pretrained=False)
    return Cost(count_parameters(student) / 1e6, count_gflops(student, row.size))


def open_for_cost(name: str) -> nn.Module:
    """A model whose weights need not be known: any MODEL, the student of a configuration, or a DPT by name.

    Raises:
        UserError: If it is none of these.
    """
    if name.endswith((".yaml", ".yml")):
        config = load_config(name)
        student = config.student.model_copy(update={"pretrained": False})
        return build.build_student(config.model_copy(update={"student": student}), config.data.max_depth or 80.0).eval()
    return create_teacher(name) if name in list_teachers() else build.open_model(name)


def measure_models(args: argparse.Namespace, accuracies: dict[str, Accuracy], device: torch.device) -> list[Measured]:
    """Every model in every way, timed in one interleaved run."""
    models = {name: open_for_cost(name).to(device) for name in args.models}
    image = torch.rand(1, 3, *args.size, device=device)
    measured = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("preparing", total=len(models) * len(args.ways) + args.runs)
        for name, model in models.items():
            paper = paper_row(getattr(model, "recipe", None), args.size)
            gflops = count_gflops(model, args.size)
            one = Measured(name, count_parameters(model), gflops, paper, accuracies.get(name))
            for way in args.ways:
                progress.update(task, description=f"preparing {name}, {way}")
                prepare(one, way, model, image)
                progress.advance(task)
            measured.append(one)
        progress.update(task, description="measuring all in turn")
        calls = {f"{one.name} {way}": ready.call for one in measured for way, ready in one.ways.items()}
        latency = measure(calls, runs=args.runs, progress=lambda: progress.advance(task))
    for one in measured:
        one.latency = {way: latency[f"{one.name} {way}"] for way in one.ways}
    return measured


def prepare(one: Measured, way: str, model: nn.Module, image: Tensor) -> None:
    """Make a model ready in one way. One that does not work on this machine is no reason to measure nothing."""
    try:
        one.ways[way] = WAYS[way](model, image)
    except Exception as error:
        lines = str(error).strip().splitlines()
        one.skipped[way] = f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"[:200]


def show(screen: Console, args: argparse.Namespace, measured: list[Measured], stamp: dict[str, Any]) -> None:
    """The tables, and why what is missing in them is missing."""
    screen.print(cost_table(measured))
    where = f"{stamp['device']}, load {stamp['load']}, PyTorch {stamp['PyTorch']}"
    screen.print(latency_table(measured, f"One image of {args.size[0]}x{args.size[1]} · {args.runs} runs · {where}"))
    for one in measured:
        for way, reason in one.skipped.items():
            screen.print(f"{one.name}, {way}: skipped, {reason}", highlight=False, markup=False, soft_wrap=True)
