"""`distill students`: what backbones cost with each decoder, to choose from before anything is trained."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from distill.commands.arguments import beginning_with, check_outputs, image_size, json_with, page_of, positive
from distill.commands.benchmark import measure_models
from distill.console import display
from distill.deploy.costs import weight_bytes
from distill.deploy.latency import environment
from distill.deploy.ways import WAYS
from distill.errors import DONE, UserError
from distill.evaluation import Results, student_result
from distill.files import write_atomically, write_json
from distill.inference.models import user_error
from distill.pages.benchmark_page import Measured
from distill.pages.students_page import choice_picture, student_row, write_students_page
from distill.report.svg import CHART_START
from distill.report.tables import Row, results_table
from students import Student, create_student, read_config
from students.decoders import DECODERS

BACKBONES = (
    *("efficientnet_b0", "efficientnet_lite0", "mobilenetv4_conv_small", "mobilenetv4_conv_medium"),
    *("mobilenetv3_large_100", "ghostnet_100", "repvit_m0_9", "mobileone_s0"),
    *("edgenext_small", "resnet18", "mnasnet_small", "fastvit_t8"),
)


def options(parser: argparse.ArgumentParser) -> None:
    """Declare what `distill students` takes."""
    parser.add_argument("backbones", nargs="*", metavar="BACKBONE", help="names of timm's (default: twelve of them)")
    parser.add_argument("--decoders", nargs="+", choices=DECODERS, default=list(DECODERS), help="default: all")
    parser.add_argument("--lg-conv", action="store_true", help="with LG-Conv in the backbones")
    parser.add_argument(
        "--size", type=image_size, default=(352, 1120), metavar="HxW", help="of the image (default: 352x1120)"
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[], help="measure latency too, in these ways")
    parser.add_argument("--runs", type=positive, default=10, help="measured runs of each way (default: %(default)s)")
    parser.add_argument(
        "--trained", type=Path, nargs="+", default=[], metavar="RUN", help="run folders, whose accuracy is shown"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw cost against accuracy, or against size")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write a page: the table and that picture")


def run(args: argparse.Namespace) -> int:
    """Carry out `distill students`.

    Raises:
        UserError: If a backbone cannot be a student, or a run has no results.
    """
    drawn = beginning_with(CHART_START)
    check_outputs(args, json=json_with("students"), plot=drawn, report=page_of("students"))
    accuracies = trained_results(args.trained)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu") if args.ways else torch.device("meta")
    names = args.backbones or BACKBONES
    students = {
        name_of(backbone, decoder, args.lg_conv): build(backbone, decoder, args.lg_conv, device)
        for backbone in dict.fromkeys(names)
        for decoder in dict.fromkeys(args.decoders)
    }
    measured = measure_models(students, args, accuracies, device)
    stamp = environment(device) if args.ways else {}
    sizes = {name: weight_bytes(student) for name, student in students.items()}
    rows = [student_row(one, sizes[one.name], args.size) for one in measured]
    write_files(args, measured, rows, sizes, stamp)
    where = f", {args.runs} runs, {stamp['device']}" if args.ways else ""
    display(results_table(rows, f"Students: one image of {args.size[0]}x{args.size[1]}{where}"))
    for one in measured:
        for way, reason in one.skipped.items():
            display(f"{one.name}, {way}: skipped, {reason}")
    for name in accuracies.keys() - students.keys():
        display(f"not shown: the accuracy of {name}, which is not among these students")
    return DONE


def write_files(
    args: argparse.Namespace,
    measured: Sequence[Measured],
    rows: Sequence[Row],
    sizes: Mapping[str, int],
    stamp: Mapping[str, str],
) -> None:
    """The files that the options ask for."""
    if args.json:
        records = [one.as_dict() | {"file_bytes": sizes[one.name]} for one in measured]
        write_json(args.json, {"size": list(args.size), "device": stamp, "students": records})
    picture = choice_picture(measured, args.size, args.ways)
    if args.plot:
        write_atomically(args.plot, picture)
    if args.report:
        protocol = next((one.accuracy.protocol for one in measured if one.accuracy), "")
        write_students_page(args.report, rows, picture, args.size, stamp, command_of(args), protocol)


def command_of(args: argparse.Namespace) -> str:
    """The command that lists the same again."""
    words = ["distill", "students", *args.backbones, "--decoders", *args.decoders, *["--lg-conv"] * args.lg_conv]
    words += ["--size", "x".join(map(str, args.size)), *(["--trained", *args.trained] if args.trained else [])]
    words += ["--ways", *args.ways, "--runs", args.runs] if args.ways else []
    return shlex.join(map(str, [*words, "--report", args.report]))


def name_of(backbone: str, decoder: str, lg_conv: bool) -> str:
    """What a table calls a student."""
    return f"{backbone}{' + LG' * lg_conv} · {decoder}"


def build(backbone: str, decoder: str, lg_conv: bool, device: torch.device) -> Student:
    """A student with random weights, or on the meta device with none."""
    try:
        with torch.device("cpu" if device.type == "cuda" else device):
            student = create_student(backbone, decoder=decoder, lg_conv=lg_conv, pretrained=False)
    except ValueError as error:
        raise user_error(error) from error
    return student.to(device).eval()


def trained_results(runs: list[Path]) -> dict[str, Results]:
    """Results of trained students by the name of their row.

    Raises:
        UserError: If a folder holds no student or no results, or two were scored by different protocols.
    """
    results: dict[str, Results] = {}
    for folder in runs:
        try:
            recipe = read_config(folder)[1]
        except (FileNotFoundError, ValueError) as error:
            raise user_error(error) from error
        chosen = {"lg_conv": False, "decoder": "paper", **recipe["options"]}
        name, result = name_of(recipe["student"], chosen["decoder"], chosen["lg_conv"]), student_result(folder)
        if name in results:
            raise UserError(f"--trained: {folder} is a second {name}; give one run of each student")
        if any(result.fingerprint != other.fingerprint for other in results.values()):
            raise UserError(f"--trained: {folder} was scored by another protocol than the others; evaluate all by one")
        results[name] = result
    return results
