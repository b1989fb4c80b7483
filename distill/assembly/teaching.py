"""Who teaches a run: the teacher that is asked for every image, or labels that it wrote before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from distill.config import Config
from distill.data import Contents
from distill.data.files.labels import Label
from distill.data.files.matching import is_label_folder
from distill.errors import UserError
from distill.method import METHODS
from teachers import FrozenTeacher


@dataclass(frozen=True)
class TeacherFacts:
    """Whose depth a student learns from, and whether it was read as labels."""

    name: str
    fingerprint: str
    licence: str
    revision: str = ""
    labels: bool = False

    def __str__(self) -> str:
        """For people, in one line."""
        if not self.labels:
            at = f" at revision {self.revision}" if self.revision else ""
            return f"teacher {Path(self.name).name}{at}"
        return f"labels of {self.name} ({', '.join(filter(None, (self.fingerprint[:12], self.licence)))})"


def reads_labels(config: Config) -> bool:
    """Whether a run learns from a teacher's labels, and so asks none."""
    data, unlabelled = config.data, config.data.unlabelled
    sources = data.training_sources if unlabelled is None or unlabelled.share < 1 else ()
    folders = [one.root for one in sources if one.name == "folder" and one.split.train is None]
    folders += [unlabelled.root] if unlabelled else []
    return any(one.labels for one in sources) or any(root is not None and is_label_folder(root) for root in folders)


def teacher_facts(config: Config, teacher: FrozenTeacher | None, labels: Iterable[Label]) -> TeacherFacts | None:
    """Of a run's teacher, or of those whose labels it reads; None where there is none."""
    if known := list(labels):
        parts = [(one.teacher, one.fingerprint, one.licence, one.revision) for one in known]
        joined = (" and ".join(dict.fromkeys(filter(None, part))) for part in zip(*parts, strict=True))
        name, fingerprint, licence, revision = joined
        return TeacherFacts(name, fingerprint, licence, revision, labels=True)
    if teacher is None:
        return None
    return TeacherFacts(config.teacher.name, teacher.fingerprint, teacher.licence, teacher.revision)


def check_labels(config: Config, parts: Iterable[Contents | None]) -> None:
    """Refuse labels that a method learns nothing from or that contradict each other, and images that lack them."""
    contents = [part for part in parts if part]
    labels, name = [one.labels for one in contents if one.labels], config.method.name
    if not labels:
        return
    method, by_output = METHODS[name], {one.output: one for one in labels}
    some = f"labels of {labels[0].teacher}"
    if method.needs_features:
        raise UserError(
            f"method.name={name} compares feature maps, which {some} do not hold: set method.name=output or fill, or "
            "name the images without their labels"
        )
    if "relative" in by_output and not method.needs_teacher:
        raise UserError(
            f"method.name={name} learns metres, and {some} are relative: set method.name=output or fill, or leave the "
            "labels out"
        )
    if len(by_output) > 1 and not config.data.mixed_labels:
        kinds = " and ".join(f"{one.output} labels of {one.teacher}" for one in by_output.values())
        raise UserError(
            f"{kinds} in one run: leave one out, or set data.mixed_labels=true to learn metres from the one and shapes "
            "from the other"
        )
    if lacking := next((one for one in contents if one.images_only and not one.labels), None):
        raise UserError(
            f"{lacking.source} has neither depth nor labels, and no teacher is asked beside {some}: label it as well "
            "(distill label) and name that folder, or leave it out"
        )
