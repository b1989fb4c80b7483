"""What `distill evaluate --reproduce RESULT.json` does: the same once more, and whether it holds."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import torch
from accelerate import PartialState
from pydantic import TypeAdapter, ValidationError

from distill.console import display
from distill.deploy.latency import environment
from distill.errors import DONE, FAILURE, UserError
from distill.evaluation.origin import TOLERANCE, Options, Origin, Record, Reproduction, compare_records
from distill.files import read_whole

PACKAGES = Path(__file__).parents[2]
CODE = ("distill", "students", "teachers")
OTHERS = ("zero_shot", "json", "report", "save_predictions", "confidence")  # options that decide no number

Entry = dict[str, object]


def origin_of(args: argparse.Namespace, weights: str, device: torch.device) -> Origin:
    """What a result of the command says of how it was made. `weights` is a digest of the model's."""
    tf32 = device.type == "cuda" and torch.backends.cudnn.allow_tf32
    facts = {"code": code_digest(), "precision": "float32" + ", convolutions in TF32" * tf32}
    options = Options.model_validate({key: value for key, value in vars(args).items() if value is not None})
    return Origin(model=lasting(args.model), options=options, weights=weights, environment=environment(device) | facts)


def lasting(model: str) -> str:
    """MODEL of the command line in words that hold in every working directory; CHECKPOINT of NAME:CHECKPOINT too."""
    if os.path.exists(model):
        return os.path.abspath(model)
    name, _, place = model.partition(":")
    return f"{name}:{os.path.abspath(place)}" if place and os.path.exists(place) else model


def code_digest() -> str:
    """12 hex digits of the code that is running, which a version's number alone does not tell."""
    whole = hashlib.sha256()
    for package in CODE:
        for path in sorted((PACKAGES / package).rglob("*.py")):
            whole.update(path.relative_to(PACKAGES).as_posix().encode() + path.read_bytes())
    return whole.hexdigest()[:12]


def reproduce(args: argparse.Namespace, evaluate: Callable[[argparse.Namespace], list[Entry]]) -> int:
    """Evaluate once more what a file of results holds, and say of each whether it holds: the exit code.

    --moved-to and --root may name other places of the same weights and data.

    Raises:
        UserError: If the file does not say how it was made, or weights, data or rules are others now.
    """
    unwanted = [name for name in (*Options.model_fields, *OTHERS) if name != "root" and vars(args)[name]]
    if unwanted:
        raise UserError(f"--reproduce takes every option from the result: leave --{unwanted[0].replace('_', '-')} out")
    path, code = Path(args.model), DONE
    for origin, records in by_origin(path):
        moved = {"model": args.moved_to or origin.model} | ({"root": args.root} if args.root else {})
        options = vars(args) | origin.options.model_dump() | moved
        results = [Record.model_validate(entry) for entry in evaluate(argparse.Namespace(**options))]
        again = {record.protocol: record for record in results}
        for record in records:
            if record.protocol not in again:
                raise UserError(f"{path}: {record.protocol} is not made again; now it is {', '.join(again)}")
            comparison = compare_records(record, again[record.protocol])
            code = max(code, verdict(path, record, comparison))
    return code


def by_origin(path: Path) -> Iterator[tuple[Origin, Sequence[Record]]]:
    """The results of a file, those of one pass of a model together."""
    try:
        content = json.loads(read_whole(path))
        entries = content if isinstance(content, list) else [content]
        records = TypeAdapter(list[Record]).validate_python(entries)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give a file of distill evaluate --json") from error
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"][1:]))
        raise UserError(
            f"{path} does not say how it was made ({where or 'no result'}): it is of an earlier version, a run's, or "
            "no result; write one with distill evaluate --json FILE"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a file of results; write one with distill evaluate --json FILE") from error
    for origin, group in groupby(records, key=lambda record: record.origin):
        yield origin, list(group)


def verdict(path: Path, record: Record, comparison: Reproduction) -> int:
    """Say whether a result holds, and by what it differs: the exit code.

    Raises:
        UserError: If it is no longer the same that is evaluated.
    """
    if comparison.inputs:
        raise UserError(
            f"{path}: {record.protocol} is not made again, as {'; '.join(comparison.inputs)}: name the place of what "
            "that result was made of, by --moved-to (model) and --root (data)"
        )
    if PartialState().is_main_process:
        others = f"; {'; '.join(comparison.circumstances)}" if comparison.circumstances else ""
        if comparison.figures:
            holds = f"does not hold: {'; '.join(comparison.figures)}"
        else:
            gap = f"largest difference {comparison.largest:.1g} of a mean, {TOLERANCE:g} allowed"
            holds = f"holds, {gap if comparison.largest else 'to the last digit'}"
        display(f"{record.protocol} ({record.fingerprint}) {holds}{others}")
    return FAILURE if comparison.figures else DONE
