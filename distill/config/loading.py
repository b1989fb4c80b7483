"""Reading and writing configurations: YAML, overrides, and mistakes in words."""

from __future__ import annotations

import difflib
import functools
import os
import types
import typing
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from distill.config.fields import Section
from distill.config.plain_yaml import parse_yaml
from distill.config.schema import Config
from distill.console import inform
from distill.errors import UserError, did_you_mean
from distill.files import read_whole

AnySection = typing.TypeVar("AnySection", bound=Section)
Content = dict[str, Any]  # of a YAML file: sections and values by their keys
MOST_BYTES = 2**20  # of a file
RUN_CONFIG = "config.yaml"  # in a run's folder
SHIPPED = tuple(folder / "configs" for folder in (Path(__file__).parents[2], Path(__file__).parents[1]))  # clone, wheel
MOST_SHOWN = 100  # characters of a wrong value
# Sections that name weights: by which key beside `checkpoint`, and the keys that say what those weights mean.
OF_WEIGHTS = {
    "teacher": ("name", ("checkpoint", "scale", "shift", "invert", "readout", "licence")),
    "student": ("backbone", ("scale", "shift", "invert")),
}
inform_once = functools.cache(inform)  # rows and seeds of an ablation drop the same


def load_config(path: str | Path, overrides: typing.Sequence[str] = ()) -> Config:
    """Read a YAML file, apply `section.key=value` overrides, and validate.

    Raises:
        UserError: If the file is missing or no YAML, or a key or value is wrong; one line with what would work.
    """
    content = read_yaml(Path(path))
    apply_overrides(content, overrides)
    return parse_config(content, str(path))


def find_config(path: Path) -> Path:
    """A configuration by its path, by that of the run's folder that it lies in, or by its name in the package."""
    if (path / RUN_CONFIG).is_file():
        return path / RUN_CONFIG
    if path.exists():
        return path
    name = path.relative_to("configs") if path.parts[:1] == ("configs",) else path
    name = name if name.suffix else Path(f"{name}.yaml")
    return next((one / name for one in SHIPPED if (one / name).is_file()), path)


def run_of(model: str | Path) -> Config | None:
    """The configuration of the run whose folder, or whose student/ folder, a model is named by; None for others."""
    folders = (Path(model), Path(os.path.abspath(model)).parent)
    written = next((one / RUN_CONFIG for one in folders if (one / RUN_CONFIG).is_file()), None)
    return load_config(written) if written else None


def read_yaml(path: Path) -> Content:
    """The mapping that a YAML file holds.

    Raises:
        UserError: If the file is missing, no YAML, or no mapping.
    """
    try:
        content = parse_yaml(read_whole(find_config(path), MOST_BYTES))
    except FileNotFoundError as error:
        names = {f"configs/{one.relative_to(place)}" for place in SHIPPED for one in place.rglob("*.yaml")}
        near = did_you_mean(path, sorted(names))
        raise UserError(f"no configuration at {path}{near}; see configs/ for examples") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder without {RUN_CONFIG}; give a YAML file, or the folder of a run") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read as a configuration: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold sections such as 'data:', got {type(content).__name__}")
    return content


def parse_config(content: Content, source: str) -> Config:
    """Validate a nested mapping; `source` names it in errors."""
    return parse_section(Config, content, source)


def parse_section(kind: type[AnySection], content: Content, source: str) -> AnySection:
    """Validate a nested mapping as `kind`."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{source}: {'; '.join(explain(item, kind) for item in error.errors()[:3])}") from None


def apply_overrides(content: Content, overrides: typing.Sequence[str]) -> None:
    """Set every `section.key=value` in a nested mapping; the values are read as YAML."""
    set_values(content, dict(map(parse_override, overrides)))


def parse_override(override: str) -> tuple[str, Any]:
    """The dotted key of `section.key=value` and its value, read as YAML."""
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"an override must be section.key=value, got {override!r}")
    try:
        parsed = parse_yaml(value)
    except ValueError as error:
        raise UserError(f"the value of {key} is not valid YAML: {value!r}: {error}") from error
    return key.strip(), parsed


def set_values(content: Content, values: typing.Mapping[str, Any]) -> None:
    """Set values by dotted keys. What says the meaning of other weights than are now named is dropped, aloud."""
    former = dict(content)
    for key, value in values.items():
        set_value(content, key, value)
    for name, (network, meaning) in OF_WEIGHTS.items():
        before, now = former.get(name), content.get(name)
        if name in values or not (isinstance(before, dict) and isinstance(now, dict)):
            continue
        foreign = [key for key in meaning if now.get(key) is not None and f"{name}.{key}" not in values]
        if foreign and not same_weights(before, now, network, getattr(Config.model_fields[name].default, network)):
            content[name] = {key: value for key, value in now.items() if key not in foreign}
            keys = ", ".join(f"{name}.{key}" for key in foreign)
            inform_once(f"{keys}: dropped, as they belong to {before.get('checkpoint') or before.get(network)}")


def same_weights(before: Content, now: Content, network: str, default: str) -> bool:
    """Whether two states of a section name one network, and one file wherever it lies; before, it may have no file."""
    files = [Path(str(section.get("checkpoint") or "")).name for section in (before, now)]
    return before.get(network, default) == now.get(network, default) and files[0] in ("", files[1])


def set_value(content: Content, key: str, value: object) -> None:
    """Put a value at `section.key` of a nested mapping; mappings on the way are copied, not changed."""
    *sections, last = key.split(".")
    place = content
    for name in sections:
        inner = {} if place.get(name) is None else place[name]
        if not isinstance(inner, dict):
            raise UserError(
                f"{key} cannot be set: the configuration gives {name} as a whole ({inner!r}); override that"
            )
        place[name] = dict(inner)
        place = place[name]
    place[last] = value


def explain(error: ErrorDetails, kind: type[Section]) -> str:
    """One validation error of pydantic in a `kind` as one sentence with its fix."""
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return unknown_key(error["loc"], kind)
    if error["type"] == "missing" and isinstance(number := error["loc"][-1], int):
        return f"{'.'.join(map(str, error['loc'][:-1]))} has {number} values, expected more"
    if error["type"] == "missing":
        return f"{place} is missing"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if error["type"] == "value_error":
        return message
    if error["type"] == "model_type":
        message = (
            f"expected a section, such as {place}: {{{next(iter(section_at(kind, error['loc']).model_fields))}: ...}}"
        )
    if error["type"] == "tuple_type":
        message = f"expected a list in brackets, such as {place}=[a, b]"
    value = repr(error["input"])
    return f"{place}={value if len(value) <= MOST_SHOWN else value[:MOST_SHOWN] + '...'}: {message}"


def section_at(kind: type[Section], keys: typing.Sequence[str | int]) -> type[Section]:
    """The section inside of another to which keys lead, as far as they lead to one; a number is a place in a list."""
    for key, inner in zip(keys, [*keys[1:], ""], strict=False):
        annotation: object = kind.model_fields[str(key)].annotation if key in kind.model_fields else None
        wrappers = (types.UnionType, typing.Union, Annotated, *([tuple] if str(inner).isdigit() else []))
        while typing.get_origin(annotation) in wrappers:
            annotation = typing.get_args(annotation)[0]
        kind = annotation if isinstance(annotation, type) and issubclass(annotation, Section) else kind
    return kind


def known_keys(kind: type[Section] = Config) -> list[str]:
    """Every key of a section and of those inside, with its dots."""
    keys = list(kind.model_fields)
    for name in kind.model_fields:
        inner = section_at(kind, [name])
        keys += [f"{name}.{key}" for key in known_keys(inner)] if inner is not kind else []
    return keys


def nearest_keys(name: str, kind: type[Section] = Config) -> list[str]:
    """Keys that end as this one does, in whatever section; or the one whose end, else whose description, is alike."""
    ends = {key: key.rpartition(".")[2] for key in known_keys(kind)}
    end = name.rpartition(".")[2].replace("-", "_")
    wanted = [end] if end in ends.values() else difflib.get_close_matches(end, ends.values(), n=1)
    words = end.replace("_", " ")
    return [key for key in ends if ends[key] in wanted] or [
        key for key in ends if "_" in end and words in described(key, kind).lower()
    ][:1]


def described(key: str, kind: type[Section]) -> str:
    """What the schema says of a key, with its dots."""
    *sections, last = key.split(".")
    return section_at(kind, sections).model_fields[last].description or ""


def unknown_key(location: tuple[str | int, ...], kind: type[Section]) -> str:
    """What an unknown key of a `kind` should have been."""
    *parents, key = (str(part) for part in location)
    known = list(section_at(kind, parents).model_fields)
    elsewhere, hint = nearest_keys(key, kind), did_you_mean(key, known)
    if "." in key and key in elsewhere:  # as on the command line, in a file
        section, _, last = key.partition(".")
        hint = f", write {section}: {{{last}: ...}}"
    elif elsewhere and (not hint or elsewhere[0].rpartition(".")[2] == key):
        hint = f", did you mean {' or '.join(elsewhere)}?"
    return f"unknown key {'.'.join([*parents, key])}{hint} (known: {', '.join(known)})"


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML that loads to the same one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
