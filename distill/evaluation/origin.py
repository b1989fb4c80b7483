"""What a result was made of and by, kept in it so that it can be made again, and whether another one agrees with it."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, JsonValue

TOLERANCE = 1e-4  # by which a mean may differ, relative to it: what four digits show


def absolute(path: Path | None) -> Path | None:
    """A path that holds in every working directory, of a file that is there; another may be the name of a list."""
    return Path(os.path.abspath(path)) if path is not None and path.exists() else path


KnownPath = Annotated[Path | None, AfterValidator(absolute)]


class Options(BaseModel):
    """The options of `distill evaluate` that decide a number."""

    data: str | None = None
    root: KnownPath = None
    split: KnownPath = None
    truth: str | None = None
    scenes: str | None = None
    max_depth: float | None = None
    depth_scale: float | None = None
    protocol: str | None = None
    all_protocols: bool = False
    affine: bool = False
    tta: str | None = None
    alignment: str | None = None
    median_scaling: bool = False
    size: tuple[int, int] | None = None
    labels: str | None = None
    prediction_scale: float | None = None


class Origin(BaseModel, frozen=True):
    """How a result was made: by which command, with which weights (a digest of them), by what software and machine."""

    model: str
    options: Options
    weights: str
    environment: dict[str, str]


class Record(BaseModel):
    """One entry of a file of results, as far as it is compared. `per_image` names the images and digests their data."""

    protocol: str
    fingerprint: str
    origin: Origin
    input_size: tuple[int, int] | None = None
    metrics: dict[str, float | None]
    per_image: list[dict[str, JsonValue]]

    @property
    def data(self) -> dict[str, str]:
        """The digest of every image's data, by its name."""
        return {str(image["name"]): str(image.get("data")) for image in self.per_image}


@dataclass(frozen=True)
class Reproduction:
    """A result and the same made again.

    Attributes:
        inputs: What of weights, data and rules is another, in words; then the two are results of different things.
        circumstances: What of software and machine is another, which should not matter.
        figures: The means that differ by more than `TOLERANCE`, in words.
        largest: The largest relative difference of a mean.
    """

    inputs: list[str]
    circumstances: list[str]
    figures: list[str]
    largest: float


def compare_records(old: Record, new: Record) -> Reproduction:
    """What moved between a result and the same made again."""
    before, after = old.origin.environment, new.origin.environment
    gaps = {name: relative_gap(value, new.metrics.get(name)) for name, value in old.metrics.items()}
    settings = [
        ("weights", old.origin.weights, new.origin.weights),
        (f"protocol {old.protocol}", old.fingerprint, new.fingerprint),
        ("input size", old.input_size, new.input_size),
    ]
    return Reproduction(
        [*changes(settings), *data_changes(old.data, new.data)],
        changes((key, before.get(key), after.get(key)) for key in before | after),
        changes(
            (name, shown(old.metrics[name]), shown(new.metrics.get(name)))
            for name, gap in gaps.items()
            if gap > TOLERANCE
        ),
        max(gaps.values(), default=0.0),
    )


def shown(figure: float | None) -> str:
    """A figure to six digits."""
    return "nothing" if figure is None else f"{figure:.6g}"


def changes(values: Iterable[tuple[str, object, object]]) -> list[str]:
    """In words, which of some values is another now."""
    return [f"{name} was {old}, is {new}" for name, old, new in values if old != new]


def data_changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """In words, which images are gone, are new, or hold other data."""
    kinds = {
        "are gone": [name for name in old if name not in new],
        "are new": [name for name in new if name not in old],
        "hold other data": [name for name in old if name in new and old[name] != new[name]],
    }
    return [f"{len(names)} images {what}, such as {names[0]}" for what, names in kinds.items() if names]


def relative_gap(old: float | None, new: float | None) -> float:
    """|new - old| / |old|; 0 where both are no numbers, infinite where one is."""
    if old is None or new is None or math.isnan(old) or math.isnan(new):
        return 0.0 if str(old) == str(new) else math.inf
    return 0.0 if old == new else abs(new - old) / abs(old) if old else math.inf


def digest(*arrays: np.ndarray) -> str:
    """16 hex digits of what arrays hold, and of their shapes."""
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(f"{array.shape} {array.dtype}".encode())
        whole.update(np.ascontiguousarray(array).data)
    return whole.hexdigest()[:16]
