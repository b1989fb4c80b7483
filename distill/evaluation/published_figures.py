"""Figures of papers and model cards, with where they stand and by which rules they were measured: `published.yaml`."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, Field, PositiveInt, TypeAdapter, model_validator

from distill.evaluation.named import ALL, PROTOCOLS
from distill.evaluation.scores import Evaluation

SETS = frozenset(protocol.dataset for protocol in ALL)
SHARES = ("d1", "d2", "d3")

Figure = Annotated[float, Field(gt=0)]


class PublishedTable(BaseModel, frozen=True, extra="forbid"):
    """Figures of several models from one table of a source, on one data set.

    Attributes:
        title, url, table: Where they stand; `via` is who quotes them, where the source itself was not read.
        data: The data set, as protocols name it.
        stated: The rules that the source gives, in our words; None where it gives none.
        protocol, options: Ours of the very same rules, where there is one, and what of it is changed.
        images: How many were scored, where that is stated.
        relative: Whether predictions were aligned with the truth.
        models: A figure for each of `metrics`, by the models' names.
    """

    title: str
    url: str = Field(pattern="^https://[^ ]+$")
    table: str
    via: str | None = None
    data: str
    stated: str | None = None
    protocol: str | None = None
    options: dict[Literal["tta", "alignment", "max_depth"], str | float] = {}
    images: PositiveInt | None = None
    relative: bool = False
    metrics: tuple[Literal["d1", "d2", "d3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog"], ...]
    models: dict[str, tuple[Figure, ...]]

    @model_validator(mode="after")
    def check(self) -> PublishedTable:
        """Refuse what contradicts itself."""
        where = f"{self.title}, {self.table}"
        if self.data not in SETS:
            raise ValueError(f"{where}: no data set {self.data}")
        if self.protocol and not self.stated:
            raise ValueError(f"{where}: {self.protocol} is named, but not what the source states")
        if self.protocol and PROTOCOLS[self.protocol].dataset != self.data:
            raise ValueError(f"{where}: {self.protocol} is of another data set than {self.data}")
        for model, figures in self.models.items():
            if len(figures) != len(self.metrics):
                raise ValueError(f"{where}, {model}: {len(figures)} figures for {len(self.metrics)} metrics")
            if any(value > 1 for name, value in zip(self.metrics, figures, strict=True) if name in SHARES):
                raise ValueError(f"{where}, {model}: a share is at most 1")
        return self

    @property
    def fingerprint(self) -> str | None:
        """That of the protocol of the very same rules, where there is one."""
        return PROTOCOLS[self.protocol].with_(**self.options).fingerprint if self.protocol else None

    def compares(self, result: Evaluation) -> bool:
        """Whether a result was measured by the same rules on as many images."""
        images = self.images in (None, len(result.images))
        return images and self.fingerprint == result.protocol.fingerprint

    def figures(self, model: str) -> dict[str, float]:
        """A model's figures by metric."""
        return dict(zip(self.metrics, self.models[model], strict=True))


@lru_cache(maxsize=1)
def published_tables() -> tuple[PublishedTable, ...]:
    """All that are known."""
    text = (resources.files("distill.evaluation") / "published.yaml").read_text(encoding="utf-8")
    return TypeAdapter(tuple[PublishedTable, ...]).validate_python(yaml.safe_load(text))


def tables_beside(result: Evaluation) -> list[PublishedTable]:
    """The tables on a result's data set, aligned or not as it is: those that compare first."""
    protocol = result.protocol
    suitable = [
        table
        for table in published_tables()
        if table.data == protocol.dataset and table.relative == protocol.aligner.inverse
    ]
    return sorted(suitable, key=lambda table: not table.compares(result))
