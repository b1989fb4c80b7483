"""What a student is made of, as `config.json` and callers say it: read, and checked before anything is built."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from pathlib import Path
from reprlib import repr
from types import NoneType, UnionType
from typing import Union, cast, get_args, get_origin, get_type_hints

from students.calibration import Calibration
from students.student import CONFIG, WEIGHTS
from teachers.model import MIN_SIDE, Output
from teachers.weight_files import Json, read_json

LARGEST_SIDE = 2**14  # pixels of an image that a student was trained on
LARGEST = 1e30  # of a number, so that float32 holds it
FORMAT = 1
RUN_CONFIG, MOST_CONFIG = "config.yaml", 2**20  # of the run that a student/ folder lies in, as it writes it; bytes
SCALE_FREE_LOSS = re.compile(r"^method:\n(?:  .*\n)*?  loss: (?:ssi|ssi_trim|midas)$", re.MULTILINE)
KEYS = ("format", "student", "options", "output", "canonical_focal", "calibration", "metadata")
METADATA: dict[str, object] = dict.fromkeys(("method", "teacher", "data", "protocol", "fingerprint"), str | None)
METADATA |= {"input_size": tuple[int, int] | None, "metrics": dict | None, "step": int | None}
METADATA |= {"calibration": dict | None}
WORDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text", NoneType: "null"}
WORDS |= {tuple: "a list", dict: "values by name"}


class NotAStudent(ValueError):
    """A folder with weights and a `config.json` that is somebody else's."""


def read_config(folder: str | Path) -> tuple[Path, Json]:
    """The folder that holds a student's files (itself, or its `student/`) and the content of its `config.json`.

    Names in it are looked up among timm's own only, so that a file cannot make its reader ask the network or open
    other files.

    Raises:
        FileNotFoundError: If neither holds one.
        ValueError: If the file is not a student's, or says what no student can be.
    """
    folder = Path(folder)
    places = [place for place in (folder / "student", folder) if (place / CONFIG).is_file()]
    place = next((place for place in places if (place / WEIGHTS).is_file()), None)
    if place is None:
        raise FileNotFoundError(
            f"no student in {folder}: expected {WEIGHTS} and {CONFIG} there or in its student/ folder"
        )
    try:
        config = read_json(place / CONFIG)
    except ValueError:
        config = {}
    if not (isinstance(config.get("student"), str) and isinstance(config.get("options"), dict)):
        raise NotAStudent(f"{place / CONFIG} is not a student's configuration; write it again with save_student")
    if fault := fault_of(config):
        raise ValueError(f"{place / CONFIG}: {fault}")
    output = config.get("output") or output_of_run(place)
    return place, config | {"output": output, "metadata": config.get("metadata") or {}}


def output_of_run(place: Path) -> Output:
    """What a student's values mean whose file does not say: of a run whose loss knows no scale they are relative."""
    config = place.parent / RUN_CONFIG
    run = config.read_bytes()[:MOST_CONFIG].decode("utf-8", "replace") if config.is_file() else ""  # no FIFO
    return "relative" if SCALE_FREE_LOSS.search(run) else "metric"


def fault_of(config: Json) -> str | None:
    """What in a `config.json` cannot be, beside the options, which `create_student` checks."""
    if unknown := [key for key in config if key not in KEYS]:
        return f"unknown key {repr(unknown[0])}, known are {', '.join(KEYS)}"
    if config.get("format", FORMAT) != FORMAT:
        return f"format is {repr(config['format'])}, this version of distill reads {FORMAT}; use the one that wrote it"
    for name in (config["student"], config["options"].get("encoder")):
        if isinstance(name, str) and (":" in name or "/" in name):
            return f"{repr(name)} is no name of timm's own, and a file's names are looked up nowhere else"
    if "checkpoint" in config["options"]:
        return "options.checkpoint names a file; a saved student needs no other than its own"
    if (output := config.get("output", "metric")) not in get_args(Output):
        return f"output must be one of {', '.join(get_args(Output))}, got {repr(output)}"
    if (output == "classes") != bool(config["options"].get("classes")):
        return f"output is {repr(output)}, and options.classes are {repr(config['options'].get('classes'))}"
    if fault := misfit(config["options"], {"width": int, "bins": int}):  # which a caller may leave to the decoder
        return f"options.{fault}"
    if "calibration" in config and (fault := calibration_fault(config["calibration"])):
        return f"calibration: {fault}"
    focal = config.get("canonical_focal")
    if not (focal is None or (fits(focal, float) and cast(float, focal) > 0)):
        return f"canonical_focal must be a number of pixels above 0, got {repr(focal)}"
    metadata = config.get("metadata")
    if not isinstance(metadata, dict | None):
        return f"metadata must be values by name, got {repr(metadata)}"
    if fault := misfit(metadata or {}, METADATA):
        return f"metadata.{fault}"
    size = (metadata or {}).get("input_size")
    if size and not all(MIN_SIDE <= side <= LARGEST_SIDE for side in size):
        return f"metadata.input_size must lie between {MIN_SIDE} and {LARGEST_SIDE}, got {size}"
    return None


def calibration_fault(values: object) -> str | None:
    """What in the calibration of a `config.json` cannot be."""
    types = get_type_hints(Calibration)
    if not isinstance(values, dict) or values.keys() != types.keys():
        return f"expected {', '.join(types)}, got {repr(values)}"
    if fault := misfit(values, types):
        return fault
    try:
        Calibration(**values)
    except ValueError as error:
        return str(error)
    return None


def check_options(name: str, kind: Callable[..., object], options: Mapping[str, object]) -> None:
    """Raise ValueError unless each option has a type that the kind of student takes."""
    if fault := misfit(options, get_type_hints(kind.__init__)):
        raise ValueError(f"{name}: {fault}")


def misfit(values: Mapping[str, object], types: Mapping[str, object]) -> str | None:
    """The first value that is not of its type, in words."""
    for key, value in values.items():
        if key in types and not fits(value, types[key]):
            expected = " or ".join(WORDS.get(origin(part), origin(part).__name__) for part in parts_of(types[key]))
            return f"{key} must be {expected}, got {repr(value)}"
    return None


def fits(value: object, kind: object) -> bool:
    """Whether a value is of a type; JSON has lists for tuples, and 80 for 80.0."""
    parts = parts_of(kind)
    if len(parts) > 1:
        return any(fits(value, part) for part in parts)
    if origin(kind) is tuple:
        one, *rest = get_args(kind)
        whole = isinstance(value, tuple | list) and (rest == [...] or len(value) == 1 + len(rest))
        return whole and all(fits(item, one) for item in cast(list[object], value))
    if kind in (int, float):
        number = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        return number and -LARGEST < cast(float, value) < LARGEST  # which NaN is not
    return isinstance(value, origin(kind))


def parts_of(kind: object) -> tuple[object, ...]:
    """The types that a union allows, or the one."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def origin(kind: object) -> type:
    """The class behind a type: tuple of tuple[int, ...]."""
    return cast(type, get_origin(kind) or kind)
