"""Measures what training costs and writes it into docs/why/performance.md, with the figures in performance.json.

    python tools/measure/performance_tables.py
    python tools/measure/performance_tables.py --students efficientnet_b0 --sizes 352x704 --compile off --seconds 100

Every row is a run of profile_step.py in a process of its own: DPT-Hybrid teaches a student with LG-Conv by
DisDepth. Rows that stand in the file for this device already are left as they are, so that the command can be called
again and again with `--seconds`, after which it begins no new row. Figures of other devices stay.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from docs_page import PAGES, fill, table

from distill.deploy.latency import device_name
from distill.files import write_json

PROFILE_STEP = Path(__file__).with_name("profile_step.py")
STUDENTS, SIZES = ("efficientnet_b0", "resnet18", "resnet50"), ("352x704", "352x1120")
PRECISIONS, COMPILED = ("no", "bf16"), ("off", "on")
HEAD = ("student", "size", "batch", "precision", "compiled", "images/s", "floor's", "step / floor", "data wait", "GiB")
Row = dict[str, Any]


def wanted(args: argparse.Namespace) -> Iterator[Row]:
    """Every row that is asked for, without its figures."""
    device = device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    for size, student, precision, compiled in product(args.sizes, args.students, args.precisions, args.compile):
        row = {"device": device, "student": student, "size": size, "batch": args.batch}
        yield row | {"precision": precision, "compiled": compiled}


def measure(row: Row, steps: int, teacher: Sequence[str]) -> Row:
    """The same row with its figures.

    Raises:
        subprocess.CalledProcessError: If the run fails, whose words are on the screen.
    """
    words = [f"student.backbone={row['student']}", f"data.scenes.size=[{row['size'].replace('x', ',')}]", *teacher]
    words += [f"train.batch_size={row['batch']}", f"train.precision={row['precision']}"]
    words += [f"teacher.compile={'true' if row['compiled'] == 'on' else 'false'}"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile.json"
        command = [sys.executable, str(PROFILE_STEP), *words, "--steps", str(steps), "--json", str(path)]
        subprocess.run(command, check=True)
        return row | json.loads(path.read_text())


def body(rows: Sequence[Row]) -> str:
    """A table for every machine that rows were measured on."""
    parts = []
    for machine in dict.fromkeys(machine_name(row) for row in rows):
        mine = sorted((row for row in rows if machine_name(row) == machine), key=place)
        parts += [f"{machine}:", table(HEAD, [cells(row) for row in mine])]
    return "\n\n".join(parts)


def place(row: Row) -> tuple[bool | str, ...]:
    """What a table is sorted by."""
    return row["size"], row["student"], row["precision"] != "no", row["compiled"]


def machine_name(row: Row) -> str:
    machine = row["machine"]
    return f"{machine['device']}, PyTorch {machine['PyTorch']}"


def cells(row: Row) -> list[str]:
    step, floor = row["step_ms"], row["floor_ms"]
    rate = 1e3 * row["images"]
    named = [row["student"], row["size"], str(row["batch"]), row["precision"].replace("no", "fp32"), row["compiled"]]
    speed = [f"{rate / step:.2f}", f"{rate / floor:.2f}", f"{step / floor:.2f}"]
    return [*named, *speed, f"{row['parts_ms']['data wait'] / step:.1%}", f"{row['memory_gib']:.1f}"]


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", nargs="+", default=STUDENTS)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="HxW")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--compile", nargs="+", choices=COMPILED, default=COMPILED, help="the teacher's encoder")
    batch = 8 if torch.cuda.is_available() else 1
    parser.add_argument("--batch", type=int, default=batch, help="images of a step (%(default)s here)")
    parser.add_argument("--steps", type=int, default=3, help="steps that count in each row (%(default)s)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no row after so many")
    parser.add_argument("--teacher", nargs="+", default=["teacher.name=dpt_hybrid"], metavar="KEY=VALUE")
    parser.add_argument("--output", type=Path, default=PAGES, help="folder (default: docs/why)")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    args = parse(words)
    path, began = args.output / "performance.json", time.monotonic()
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    for row in wanted(args):
        if any(former.items() >= row.items() for former in rows) or time.monotonic() - began > args.seconds:
            continue
        try:
            rows.append(measure(row, args.steps, args.teacher))
        except subprocess.CalledProcessError as error:
            print(f"no figures for {row}: exit code {error.returncode}", file=sys.stderr)
            return 1
        write_json(path, rows)
    fill(args.output / "performance.md", "performance_tables.py", body(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
