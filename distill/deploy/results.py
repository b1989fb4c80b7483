"""Accuracy that was measured earlier, read from a file of results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from distill.errors import UserError


@dataclass(frozen=True)
class Accuracy:
    """A model's metrics by one protocol."""

    protocol: str
    fingerprint: str
    metrics: dict[str, float]


def read_accuracy(path: Path) -> Accuracy:
    """The result in a file of `distill evaluate --json`, or the student's in a run's `results.json`.

    Raises:
        UserError: If it holds no result, or several of which none is a student's.
    """
    expected = "expected what distill evaluate --json writes, or a run's results.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--results {path} cannot be read ({type(error).__name__}); {expected}") from None
    if isinstance(content, list):
        students = [one for one in content if isinstance(one, dict) and str(one.get("name", "")).startswith("student")]
        if len(students) != 1:
            raise UserError(f"--results {path} holds {len(content)} results; give a file with one protocol's")
        content = students[0]
    try:
        metrics = {name: float(value) for name, value in content["metrics"].items()}
        return Accuracy(
            str(content["protocol"]), str(content["fingerprint"]), {"abs_rel": metrics["abs_rel"], **metrics}
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UserError(f"--results {path} holds no result; {expected}") from None
