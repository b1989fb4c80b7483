"""Results in files: what `distill evaluate --json` and every run leave, read back and paired image by image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill.errors import UserError
from distill.evaluation.metrics import MEASURES

NAME = "results.json"  # in the folder of a run, one entry a model
COSTS = ("parameters", "gflops", "latency_ms")


@dataclass(frozen=True)
class Results:
    """One model's results by one protocol.

    Attributes:
        role: In a run, "student", "teacher" or "ghost"; None for a model that was evaluated alone.
        metrics: Means over images, by the names of `MEASURES`.
        images: The same of every image, by its name.
        costs: Parameters, GFLOPs, milliseconds, as far as they are known.
    """

    protocol: str
    fingerprint: str
    role: str | None
    metrics: dict[str, float]
    images: dict[str, dict[str, float]]
    costs: dict[str, float]

    def summary(self) -> dict[str, object]:
        """What a table of several models needs of it, in types that JSON knows."""
        return {"protocol": self.protocol, "fingerprint": self.fingerprint, "metrics": self.metrics}


def read_results(path: Path) -> list[Results]:
    """The results in a file, or in the folder of a run.

    Raises:
        UserError: If there is no such file, or it holds something else.
    """
    path = path / NAME if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [as_results(entry) for entry in (content if isinstance(content, list) else [content])]
    except FileNotFoundError as error:
        raise UserError(f"no results at {path}; write them with distill evaluate --json FILE") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a file of results; write one with distill evaluate --json FILE") from error


def student_result(path: Path) -> Results:
    """The one result in a file of `distill evaluate --json`, or the student's of a run.

    Raises:
        UserError: If there is no such file, or it holds several results of which none is a student's.
    """
    results = read_results(path)
    students = [one for one in results if one.role == "student"] or results
    if len(students) != 1:
        raise UserError(f"{path} holds {len(results)} results; give a file with one protocol's")
    return students[0]


def as_results(entry: dict[str, Any]) -> Results:
    """One entry of a file; raises what a missing or misshapen key raises."""
    return Results(
        str(entry["protocol"]),
        str(entry["fingerprint"]),
        entry.get("role"),
        {name: float(entry["metrics"][name]) for name in MEASURES},
        {image["name"]: {name: float(image[name]) for name in MEASURES} for image in entry["per_image"]},
        {name: float(entry[name]) for name in COSTS if name in entry},
    )


def common_images(results: Sequence[Results]) -> list[str]:
    """Names of the images that all of them hold, in the order of the first."""
    return [name for name in results[0].images if all(name in other.images for other in results[1:])]


def image_values(results: Results, names: Sequence[str]) -> np.ndarray:
    """The metrics of images, (N, K), K in the order of `MEASURES`."""
    return np.array([[results.images[name][metric] for metric in MEASURES] for name in names])
