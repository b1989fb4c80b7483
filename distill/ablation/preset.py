"""What an ablation compares: a base configuration, rows that differ from it in a few keys, and seeds."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from distill.config import (
    Config,
    Content,
    Section,
    apply_overrides,
    find_config,
    parse_config,
    parse_section,
    read_yaml,
    set_values,
)
from distill.config.fields import NonNegativeInt
from distill.engine.run_folder import flatten
from distill.errors import UserError, did_you_mean

OWN = ("base", "seeds")  # keys of the ablation that an override on the command line may replace
PER_RUN = ("seed", "output")  # keys of a configuration that the ablation sets, row by row
ANOTHER_ROW = "row:"  # a value that starts so stands for the folder of that row's run with the same seed
ROW_NAME = re.compile(r"[\w+][\w+=.,-]{0,99}")  # it is also a folder's name

Changes = Annotated[Content, BeforeValidator(lambda value: {} if value is None else value)]  # "name:" alone


class Ablation(Section):
    """The content of a file in `configs/ablations/`."""

    title: str | None = Field(None, description="Heading of the results; by default the file's name.")
    base: Path | Content = Field(description="A configuration: its path, seen from this file, or its sections.")
    rows: dict[str, Changes] = Field({}, description="Rows by name: the `section.key: value` that each changes.")
    grid: dict[str, list[Any]] = Field({}, description="Values by key; every combination is one more row.")
    seeds: tuple[NonNegativeInt, ...] = Field((0,), description="Every row is trained once with each.")
    models: tuple[Literal["student", "teacher", "ghost"], ...] = Field(
        ("student",),
        validation_alias=AliasChoices("models", "judge"),  # its name in 0.1.0
        description="Models of a run that have a line in the table.",
    )
    twins: dict[str, list[str]] = Field(
        {}, description="By row: others that it is compared with, besides the first row and the one above."
    )

    @model_validator(mode="after")
    def compares_something(self) -> Ablation:
        """Refuse an ablation without rows, or with a value twice."""
        empty = [key for key, values in self.grid.items() if not values]
        if empty:
            raise ValueError(f"grid.{empty[0]} is empty; list the values to compare")
        if not self.rows and not self.grid:
            raise ValueError("an ablation needs rows, or a grid of values by key; both are empty")
        for name in ("seeds", "models"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} must be different and at least one, got {list(values)}")
        return self


@dataclass(frozen=True)
class Preset:
    """An ablation that was read: its rows, those of the grid included, and the base they change, both as mappings."""

    path: Path
    title: str
    base: Content
    rows: dict[str, Content]
    seeds: tuple[int, ...]
    models: tuple[str, ...]
    twins: dict[str, list[str]]

    def config(self, row: str, seed: int, folders: dict[str, Path]) -> Config:
        """The configuration of one run; `folders` are those of the rows' runs of this seed."""
        content = dict(self.base)
        others = {key: str(folders[other]) for key, other in references(self.rows[row]).items()}
        set_values(content, self.rows[row] | others)
        content |= {"seed": seed, "output": None}
        return parse_config(content, f"{self.path}, row {row}")

    def references(self, row: str) -> dict[str, str]:
        """Rows whose runs must be finished before this row's can start, by the dotted keys that name them."""
        return references(self.rows[row])


def load_preset(path: Path, overrides: Sequence[str] = ()) -> Preset:
    """Read an ablation. `base=...` and `seeds=[...]` replace its own; other overrides hold for every run.

    Raises:
        UserError: If anything in it is wrong, in one line with what would work.
    """
    content = read_yaml(path)
    if isinstance(content.get("base"), str):
        content["base"] = str(find_config(path).parent / content["base"])
    own = [override for override in overrides if override.partition("=")[0].strip() in OWN]
    apply_overrides(content, own)
    ablation = parse_section(Ablation, content, str(path))
    base = dict(ablation.base) if isinstance(ablation.base, dict) else read_yaml(ablation.base)
    apply_overrides(base, [override for override in overrides if override not in own])
    rows = dict(ablation.rows)
    for name, changes in grid_rows(ablation.grid):
        if name in rows:
            raise UserError(f"{path}: two rows are called {name}; name one of them otherwise, or list its value once")
        rows[name] = changes
    check_rows(path, rows, [override.partition("=")[0].strip() for override in overrides])
    for name in (one for row, others in ablation.twins.items() for one in (row, *others)):
        if name not in rows:
            raise UserError(f"{path}, twins: there is no row {name!r}{did_you_mean(name, rows)}")
    return Preset(path, ablation.title or path.stem, base, rows, ablation.seeds, ablation.models, ablation.twins)


def grid_rows(grid: dict[str, list[Any]]) -> list[tuple[str, Content]]:
    """Every combination, named after the values of the keys that have more than one."""
    varied = [key for key in grid if len(grid[key]) > 1] or list(grid)
    short = {key: key.rpartition(".")[2] for key in varied}
    if len(set(short.values())) < len(short):
        short = {key: key for key in varied}
    changes = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())] if grid else []

    def as_name(value: object) -> str:
        """A value as a part of a folder's name, as YAML writes it."""
        if value is None or isinstance(value, bool | int | float):
            return json.dumps(value)
        return re.sub(r"[^\w+=.-]+", "-", str(value)).strip("-") or "empty"

    return [(",".join(f"{short[key]}={as_name(row[key])}" for key in varied), row) for row in changes]


def check_rows(path: Path, rows: dict[str, Content], overridden: Sequence[str]) -> None:
    """Refuse names that are no folder's, keys that are not a row's, and references to rows that do not come before."""
    for key in set(PER_RUN).intersection(overridden):
        raise UserError(f"{key} cannot be set for every run; give seeds=[...] and --output")
    for number, (name, changes) in enumerate(rows.items()):
        where, before = f"{path}, row {name}", list(rows)[:number]
        if not ROW_NAME.fullmatch(name):
            raise UserError(
                f"{path}: {name!r} cannot name a row, whose folder is called so; use letters, digits, +=.,-_"
            )
        for key in changes:
            if key in PER_RUN:
                raise UserError(f"{where}: {key} is not a row's; give seeds beside the rows, and --output")
            lost = [other for other in overridden if other == key or other.startswith(f"{key}.")]
            if lost:
                raise UserError(f"{lost[0]} cannot be set for every run: {where} sets {key}; change it there")
        for other in references(changes).values():
            if other not in before:
                above = f"above: {', '.join(before) or 'none'}"
                raise UserError(f"{where}: no row {other!r} stands above it{did_you_mean(other, before)} ({above})")


def references(changes: Content) -> dict[str, str]:
    """By dotted key, the rows that values such as `row:NAME` stand for."""
    texts = {key: value for key, value in flatten(changes).items() if isinstance(value, str)}
    return {key: text.removeprefix(ANOTHER_ROW) for key, text in texts.items() if text.startswith(ANOTHER_ROW)}
