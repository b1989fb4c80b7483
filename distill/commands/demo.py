"""`distill demo`: the whole method on embedded scenes, with its twin that learns without a teacher."""

from __future__ import annotations

import argparse
import time
from importlib import resources
from pathlib import Path

import torch

from distill.assembly.datasets import RunData, build_data
from distill.assembly.networks import build_method, build_teacher
from distill.commands.arguments import check_folder
from distill.commands.train import train_run
from distill.config import Config, dump_config, load_config
from distill.console import console, display, inform
from distill.deploy.latency import environment
from distill.engine.checkpoint import Checkpoints
from distill.engine.run_folder import CONFIG
from distill.errors import DONE
from distill.files import write_atomically
from distill.inference.panels import method_panels, pick
from distill.pages.model_results import ModelResult, evaluate_models
from distill.report.curves import read_metrics, run_charts
from distill.report.page import chart_section, origin_sections, pictures_section, results_section, write_page
from distill.report.pictures import Panel, encode_png, panel_strip
from distill.report.tables import Row, results_table
from students import load_student
from teachers import FrozenTeacher

PAGE, PICTURES = "report.html", "pictures.png"
KEPT = "finished parts are kept: delete the folder to start over"


def options(parser: argparse.ArgumentParser) -> None:
    """Declare what `distill demo` takes."""
    parser.add_argument(
        "--output", type=Path, default=Path("runs/demo"), help="folder of the demo (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Carry out `distill demo`."""
    demo(args.output)
    return DONE


def demo_config() -> Path:
    """configs/demo.yaml, inside an installed package or beside the package in a checkout."""
    package = Path(str(resources.files("distill")))
    inside = package / "configs" / "demo.yaml"
    return inside if inside.is_file() else package.parent / "configs" / "demo.yaml"


def demo(output: Path) -> list[Row]:
    """Train a twin without and a student with distillation, compare both with the teacher, write one page.

    The twin learns from the measured streets alone, the student also from those that only the teacher has an idea of.

    The page is `report.html`, one row of its pictures `pictures.png`.

    Safe to interrupt and to run again: what is done is not done twice.
    """
    started = time.perf_counter()
    begun = any((output / part / CONFIG).exists() for part in ("twin", "student"))
    check_folder(output, "--output", [], [] if begun else [output / PAGE, output / PICTURES])
    config = load_config(demo_config())
    twin = config.model_copy(update={"method": config.method.model_copy(update={"name": "supervised"})})
    for title, part, folder in (
        ("1 of 2: the twin, trained without a teacher", twin, output / "twin"),
        ("2 of 2: the student, distilled from the shipped DPT", config, output / "student"),
    ):
        console.rule(title)
        train_run(part.model_copy(update={"output": folder}), folder, resume=True)
    console.rule("comparison")
    rows = compare(config, output)
    inform(f"done in {time.perf_counter() - started:.0f} s ({KEPT})")
    display(f"report: {(output / PAGE).resolve()}")
    return rows


def compare(config: Config, output: Path) -> list[Row]:
    """The table of teacher, student and twin, on the screen and in `report.html`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data, teacher = build_data(config), build_teacher(config)
    assert teacher is not None
    models = (
        ("teacher", f"teacher ({config.teacher.name})", teacher.to(device)),
        ("student", "student, distilled", load_student(output / "student").to(device)),
        ("student", "twin, no distillation", load_student(output / "twin").to(device)),
    )
    results = evaluate_models(models, config, data, device)
    rows = [one.row() for one in results]
    title = f"{data.protocol.name} · {data.protocol.fingerprint} · {len(results[0].results.images)} held-out images"
    panels = demo_panels(config, data, output, teacher)
    write_atomically(output / PICTURES, encode_png(panel_strip(panels[-1])))
    write_demo_page(config, output, data, results, panels, device)
    display(results_table(rows, title))
    return rows


def demo_panels(config: Config, data: RunData, output: Path, teacher: FrozenTeacher) -> list[Panel]:
    """Held-out streets as teacher, ghost, twin and student see them."""
    student = load_student(output / "student")
    method = build_method(config, student, teacher.cpu())
    saved = Checkpoints(output / "student" / "checkpoints").load()
    assert saved is not None
    acclimation = {k: v for k, v in saved["module"].items() if not k.startswith("student.")}
    method.load_state_dict(acclimation, strict=False)
    assert data.test is not None
    chosen = pick(data.test, config.eval.pictures)
    twin = {"twin": load_student(output / "twin")}
    return method_panels(method, teacher, data.test, data.protocol, None, chosen, twin)


def write_demo_page(
    config: Config, output: Path, data: RunData, results: list[ModelResult], panels: list[Panel], device: torch.device
) -> None:
    teacher, student, twin = (one.results.metrics["rmse"] for one in results)
    lead = (
        f"A DPT teaches a small CNN on {len(data.train)} streets, {config.data.labelled} of them with depth as a lidar "
        f"measures it. On {len(results[0].results.images)} streets that none of them has seen, the teacher's RMSE is "
        f"{teacher:.2f} m, the distilled student's {student:.2f} m, and {twin:.2f} m that of its twin, trained alike "
        "on the measured streets without a teacher."
    )
    note = "Curves: first the distilled student's run, then its twin's. Each run's own page lies in its folder."
    records = [read_metrics(output / part / "metrics.jsonl") for part in ("student", "twin")]
    sections = [
        results_section([one.row() for one in results], data.protocol.name, [note]),
        pictures_section("Pictures", panels),
        chart_section("Curves", [chart for one in records for chart in run_charts(one)]),
        *origin_sections(environment(device), "distill demo", dump_config(config)),
    ]
    write_page(output / PAGE, "distill demo", lead, sections, "demo")
