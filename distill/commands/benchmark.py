"""`distill benchmark`: what models cost, beside each other and beside the paper's figures."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from rich.table import Table

from distill.assembly.networks import build_student
from distill.commands.arguments import (
    FILE,
    MODEL,
    beginning_with,
    check_outputs,
    image_size,
    json_with,
    page_of,
    positive,
)
from distill.config import load_config
from distill.console import display, printable, progress_bar
from distill.deploy.costs import count_gflops
from distill.deploy.energy import meter_of
from distill.deploy.latency import environment, measure
from distill.deploy.paper import PAPER_ROWS, Cost, PaperRow, paper_row
from distill.deploy.strangers import open_stranger
from distill.deploy.ways import WAYS, Prepared, usual_ways, ways_of
from distill.errors import DONE, UserError
from distill.evaluation import Results, student_result
from distill.evaluation.scores import Size
from distill.files import write_atomically, write_json
from distill.inference.exported import ExportedModel
from distill.inference.models import input_size, open_model
from distill.pages.benchmark_page import (
    CSV_COLUMNS,
    FLOPS,
    Measured,
    as_csv,
    cost_rows,
    latency_rows,
    paper_rows,
    pareto_plot,
    write_benchmark_page,
)
from distill.report.svg import CHART_START
from distill.report.tables import results_table
from students import Student, count_parameters, create_student
from teachers import DepthModel, create_teacher, list_teachers

DETAILS = ("p90 ms", "fps", "images")  # of the page, --json and --csv: 80 columns have no room for them


def options(parser: argparse.ArgumentParser) -> None:
    """Declare what `distill benchmark` takes."""
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help=f"{MODEL}, or {FILE}; or, as weights do not matter here, a configuration or a teacher's name; without "
        "any, the paper's table beside ours",
    )
    parser.add_argument("--paper", action="store_true", help="show the paper's table beside ours, too")
    parser.add_argument(
        "--size",
        type=image_size,
        default=(352, 1120),
        metavar="HxW",
        help="of the image (default: 352x1120, the paper's)",
    )
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=WAYS,
        default=usual_ways(),
        help="how to run them (default: all that are installed)",
    )
    parser.add_argument(
        "--against", type=Path, nargs="+", metavar="FILE.onnx", help="networks of others, for their time"
    )
    parser.add_argument("--runs", type=positive, default=20, help="measured runs of each (default: %(default)s)")
    parser.add_argument("--results", type=Path, nargs="+", metavar="FILE", help="accuracy of each: evaluate's --json")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write one line for each model and way")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw accuracy against latency; needs --results")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write a page: tables, plots, the machine")


def run(args: argparse.Namespace) -> int:
    """Carry out `distill benchmark`.

    Raises:
        UserError: If a model or a file of results is not what it should be, or a file cannot be written.
    """
    drawn, listed = beginning_with(CHART_START), beginning_with(",".join(CSV_COLUMNS))
    check_outputs(args, json=json_with("flops"), csv=listed, plot=drawn, report=page_of("benchmark"))
    accuracies = read_accuracies(args)
    content: dict[str, object] = {"flops": FLOPS}
    tables: list[Table | str] = []
    if args.paper or not args.models:
        rows = [(row, our_cost(row)) for row in PAPER_ROWS]
        title = f"DisDepth's table: paper/fitted/ours. GFLOPs: {FLOPS}"
        content["paper"] = [asdict(row) | {"ours": asdict(ours)} for row, ours in rows]
        tables.append(results_table(paper_rows(rows), title))
    measured: list[Measured] = []
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    stamp = environment(device) | {"load": f"{os.getloadavg()[0]:.1f}"}
    if args.models:
        models = {name: open_for_cost(name).to(device) for name in args.models}
        strangers = [stranger(path, args.size) for path in args.against or []]
        measured = measure_models(models, args, accuracies, device, strangers)
        tables += latency_tables(args, measured, stamp)
        content |= {"device": stamp, "size": list(args.size), "batch": 1, "models": [one.as_dict() for one in measured]}
    try:
        if args.json:
            write_json(args.json, content)
        if args.csv:
            write_atomically(args.csv, as_csv(measured))
        if args.plot:
            write_atomically(args.plot, pareto_plot(measured))
        if args.report and measured:
            write_benchmark_page(args.report, measured, args.size, stamp, command_of(args))
    finally:
        for table in tables:
            display(table)
    return DONE


def command_of(args: argparse.Namespace) -> str:
    """The command that measures the same again."""
    words = ["distill", "benchmark", *args.models, "--size", "x".join(map(str, args.size)), "--ways", *args.ways]
    words += ["--against", *args.against] if args.against else []
    words += ["--runs", args.runs, *(["--results", *args.results] if args.results else []), "--report", args.report]
    return shlex.join(map(str, words))


def read_accuracies(args: argparse.Namespace) -> dict[str, Results]:
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
    if args.against and not args.models:
        raise UserError("--against measures a network beside yours: give a MODEL")
    if args.plot and not paths:
        raise UserError("--plot draws accuracy against latency: give --results, files of distill evaluate --json")
    results = [student_result(path, classes=True) for path in paths]
    for path, one in zip(paths, results, strict=True):
        if one.fingerprint != results[0].fingerprint:
            raise UserError(
                f"{paths[0]} was measured by protocol {results[0].fingerprint}, {path} by {one.fingerprint}: "
                "their metrics do not compare; evaluate both models by one protocol"
            )
    return dict(zip(args.models, results, strict=False))


def our_cost(row: PaperRow) -> Cost:
    """Parameters and GFLOPs of the student that this code builds for a row of the paper."""
    with torch.device("meta"):
        student = create_student(row.backbone, lg_conv=row.lg_conv, pretrained=False)
    return Cost(count_parameters(student) / 1e6, count_gflops(student, row.size))


def open_for_cost(name: str) -> DepthModel:
    """A model whose weights need not be known: any MODEL, the student of a configuration, or a DPT by name.

    Raises:
        UserError: If it is none of these.
    """
    if name.endswith((".yaml", ".yml")):
        config = load_config(name)
        student = config.student.model_copy(update={"pretrained": False})
        return build_student(config.model_copy(update={"student": student}), config.data.max_depth or 80.0).eval()
    return create_teacher(name) if name in list_teachers() else open_model(name, classes=True)


def measure_models(
    models: Mapping[str, DepthModel],
    args: argparse.Namespace,
    accuracies: Mapping[str, Results],
    device: torch.device,
    strangers: Sequence[Measured] = (),
) -> list[Measured]:
    """Every model in every way of `args.ways`, and strangers in theirs, timed in one interleaved run."""
    for name, model in models.items():
        if isinstance(model, ExportedModel):
            input_size(name, model, args.size)  # refuses one that it does not take
    image = torch.rand(1, 3, *args.size, device=device)
    measured = list(strangers)
    with progress_bar("preparing", len(models) * len(args.ways) + args.runs) as update:
        for name, model in models.items():
            paper = paper_row(model.recipe, args.size) if isinstance(model, Student) else None
            one = Measured(name, *costs_of(model, args.size), paper, accuracies.get(name) or stated_accuracy(model))
            for way, make in ways_of(model, args.ways).items():
                update(description=f"preparing {printable(name)}, {way}")
                prepare(one, way, partial(make, model, image))
                update(advance=1)
            measured.append(one)
        update(description="measuring all in turn")
        calls = {f"{one.name} {way}": ready.call for one in measured for way, ready in one.ways.items()}
        latency = measure(calls, runs=args.runs, progress=lambda: update(advance=1), meter=meter_of(device))
    for one in measured:
        one.latency = {way: latency[f"{one.name} {way}"] for way in one.ways}
    return measured


def stranger(path: Path, size: Size) -> Measured:
    """A network of --against, at its own size."""
    ready, parameters, own = open_stranger(path, size)
    return Measured(f"{path} at {own[0]}x{own[1]}", parameters, None, ways={"onnx": ready})


def stated_accuracy(model: DepthModel) -> Results | None:
    """The accuracy that an 8-bit file states of itself."""
    stated = model.known.accuracy if isinstance(model, ExportedModel) else None
    if stated is None:
        return None
    return Results(stated.protocol, stated.fingerprint, None, stated.metrics, {}, {}, count=stated.images)


def costs_of(model: DepthModel, size: Size) -> tuple[int | None, float | None]:
    """Parameters, and GFLOPs for one image; a file states those of the model that it was made of, for its own size."""
    if isinstance(model, ExportedModel):
        return model.known.parameters, model.known.gflops if model.size == size else None
    return count_parameters(model), count_gflops(model, size)


def prepare(one: Measured, way: str, make: Callable[[], Prepared]) -> None:
    """Make a model ready in one way. One that does not work on this machine is no reason to measure nothing."""
    try:
        one.ways[way] = make()
    except Exception as error:
        lines = str(error).strip().splitlines()
        one.skipped[way] = f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"[:200]


def latency_tables(
    args: argparse.Namespace, measured: list[Measured], stamp: Mapping[str, object]
) -> list[Table | str]:
    """The tables, and why what is missing in them is missing."""
    where = f"{stamp['device']}, load {stamp['load']}, PyTorch {stamp['PyTorch']}"
    title = f"One image of {args.size[0]}x{args.size[1]} · {args.runs} runs · {where}"
    skipped = [f"{one.name}, {way}: skipped, {reason}" for one in measured for way, reason in one.skipped.items()]
    costs = results_table(cost_rows(measured), f"Costs. GFLOPs: {FLOPS}")
    rows = [
        replace(row, extra={name: text for name, text in row.extra.items() if name not in DETAILS})
        for row in latency_rows(measured)
    ]
    return [costs, results_table(rows, title), *skipped]
