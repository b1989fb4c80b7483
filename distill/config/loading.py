"""Reading and writing configurations: YAML, overrides, and mistakes in words."""

from __future__ import annotations

import types
import typing
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from distill.config.fields import Section
from distill.config.schema import Config
from distill.errors import UserError, did_you_mean

AnySection = typing.TypeVar("AnySection", bound=Section)
Content = dict[str, Any]  # of a YAML file: sections and values by their keys


class UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[typing.Hashable, Any]:
        known = set[typing.Hashable]()
        for place, _ in node.value:
            key = self.construct_object(place, deep=True)
            if key in known:
                problem = f"{key!r} stands there twice; delete one of the two, or name it otherwise"
                raise yaml.constructor.ConstructorError(None, None, problem, place.start_mark)
            known.add(key)
        return super().construct_mapping(node, deep)


def load_config(path: str | Path, overrides: typing.Sequence[str] = ()) -> Config:
    """Read a YAML file, apply `section.key=value` overrides, and validate.

    Raises:
        UserError: If the file is missing or no YAML, or a key or value is wrong; one line with what would work.
    """
    content = read_yaml(Path(path))
    for override in overrides:
        apply_override(content, override)
    return parse_config(content, str(path))


def read_yaml(path: Path) -> Content:
    """The mapping that a YAML file holds.

    Raises:
        UserError: If the file is missing, no YAML, or no mapping.
    """
    try:
        with path.open() as file:
            content = UniqueKeys(file).get_single_data()
    except FileNotFoundError as error:
        raise UserError(f"no configuration at {path}; see configs/ for examples") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a configuration: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
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


def apply_override(content: Content, override: str) -> None:
    """Set one `section.key=value` in a nested mapping; the value is read as YAML."""
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"an override must be section.key=value, got {override!r}")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"the value of {key} is not valid YAML: {value!r}") from error
    if isinstance(parsed, str):
        with suppress(ValueError):  # YAML takes 1e-4 for a text; it is a number here
            parsed = float(parsed)
    set_value(content, key.strip(), parsed)


def set_value(content: Content, key: str, value: Any) -> None:
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
    if error["type"] == "missing":
        return f"{place} is missing"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if error["type"] == "value_error":
        return message
    return f"{place}={error['input']!r}: {message}"


def unknown_key(location: tuple[str | int, ...], kind: type[Section]) -> str:
    """What an unknown key of a `kind` should have been."""
    *parents, key = location
    section = kind
    for name in parents:
        annotation = section.model_fields[str(name)].annotation if name in section.model_fields else kind
        while typing.get_origin(annotation) in (types.UnionType, typing.Union, Annotated):
            annotation = typing.get_args(annotation)[0]
        section = typing.cast(type[Section], annotation)
    known = list(section.model_fields)
    where = ".".join([*map(str, parents), str(key)])
    return f"unknown key {where}{did_you_mean(key, known)} (known: {', '.join(known)})"


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML that loads to the same one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
