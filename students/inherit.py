"""A DPT student starts from the weights of the network that it was pruned from, and says which it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from students.backbone import create_timm
from students.performer import PerformerAttention
from students.student_folder import WEIGHTS, read_config
from teachers import DPT, DPT_CONFIGS, SHIPPED, load_encoder
from teachers.checkpoints import check_values, open_checkpoint
from teachers.key_maps import NAMINGS
from teachers.weight_files import StateDict

# timm's network whose stem, with ImageNet weights, has the shape of ours; DPT-Hybrid's was once trained from it
IMAGENET_STEMS = {"dpt_hybrid": "vit_base_r50_s16_384"}
OUTPUT = ("scale", "shift", "invert")

Checkpoint = str | Path | Mapping[str, Tensor]


@dataclass(frozen=True)
class Parent:
    """Weights to inherit under our names, and what is known of the network that they are from.

    `output` is the meaning of its raw output (scale, shift, invert), None where the file does not say. `whole` is false
    of an encoder alone, such as an ImageNet ViT.
    """

    source: str
    name: str
    state: StateDict
    heads: int
    hooks: tuple[int, ...]
    output: dict[str, Any] | None
    whole: bool = True


@dataclass(frozen=True)
class Inheritance:
    """Which tensors of a student come from its parent, by name.

    `resplit` are those of the inherited ones that are now split into another number of heads; `dropped` are the
    parent's that the student has no place for; `new` are the student's own. `notes` say what else has changed.
    """

    source: str
    inherited: tuple[str, ...]
    resplit: tuple[str, ...]
    dropped: tuple[str, ...]
    new: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        """For people: counts, where the tensors lie, and the notes, in one line."""
        said = [f"{len(self.inherited)} tensors inherited from {self.source}"]
        for word in ("resplit", "dropped", "new"):
            names = getattr(self, word)
            said.append(f"{len(names)} {word}" + (f" ({places(names)})" if names else ""))
        return "; ".join([", ".join(said), *self.notes])


def places(names: Iterable[str]) -> str:
    """How many tensors lie in which part of a network."""
    return ", ".join(f"{part} {count}" for part, count in Counter(".".join(n.split(".")[:3]) for n in names).items())


def read_parent(name: str, checkpoint: Checkpoint) -> Parent:
    """Weights of the DPT `name`: a file, a folder or a state dict in any naming of `teachers.key_maps`, the folder of a
    trained DPT student, or the name of a DPT that ships its weights.

    Raises:
        FileNotFoundError: If there is nothing at that path.
        ValueError: If it is no checkpoint, or a trained student of another kind.
    """
    own = DPT_CONFIGS[name]
    heads, hooks = own.heads, own.hooks
    output = {key: getattr(own, key) for key in OUTPUT} if own.invert else None
    trained = None if isinstance(checkpoint, Mapping) else trained_student(Path(checkpoint))
    source = "the state dict" if isinstance(checkpoint, Mapping) else str(checkpoint)
    if trained is None:
        found, _ = open_checkpoint(SHIPPED.get(source, checkpoint))
    else:
        place, recipe = trained
        if recipe["student"] != name:
            raise ValueError(f"{source} is a {recipe['student']}, but the student is to be pruned from a {name}")
        (found, _), options = open_checkpoint(place / WEIGHTS), recipe["options"]
        heads, hooks = options.get("heads", heads), tuple(options.get("hooks", hooks))
        output = {key: options[key] for key in OUTPUT} if OUTPUT[0] in options else None
    if found.weights and found.unknown:
        raise ValueError(f"{source} is no {name}: a DPT has no place for its {found.unknown[0]}")
    whole = found.naming not in NAMINGS or not NAMINGS[found.naming].encoder_only
    return Parent(source, name, found.weights, heads, hooks, output if whole else None, whole)


def trained_student(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """The folder and the recipe of a trained student that is given by its folder or its weights, None for others."""
    try:
        return read_config(path.parent if path.name == WEIGHTS else path)
    except (FileNotFoundError, ValueError):
        return None


def inherit(student: DPT, parent: Parent) -> Inheritance:
    """Copy every weight of the parent that the student has a place for, by name.

    The reassembly at a moved hook keeps its weights, though it now reads another block. Random features are no weights:
    they come along only where their shape is the student's.

    Raises:
        ValueError: If the checkpoint is of another architecture, or holds NaN or quantised weights.
    """
    wanted, given = student.state_dict(), parent.state
    shared = [key for key in wanted if key in given]
    drawn = {f"{n}.projection" for n, m in student.named_modules() if isinstance(m, PerformerAttention)}
    unlike = [key for key in shared if given[key].shape != wanted[key].shape]
    check_fit(parent, wanted, shared, [key for key in unlike if key not in drawn])
    inherited = [key for key in shared if key not in unlike]
    weights = {key: given[key] for key in inherited}
    check_values(weights, wanted, parent.source)
    student.load_state_dict(weights, strict=False)
    heads, hooks = student.config.heads, student.config.hooks
    return Inheritance(
        parent.source,
        tuple(inherited),
        tuple(key for key in inherited if ".attn." in key) if heads != parent.heads else (),
        tuple(key for key in given if key not in inherited),
        tuple(key for key in wanted if key not in inherited and key not in drawn),
        tuple(describe_changes(parent.heads, heads, parent.hooks, hooks)),
    )


def inherit_encoder(student: DPT, checkpoint: Checkpoint) -> Inheritance:
    """Take over an encoder alone, its positions stretched to the student's grid; everything behind it is new.

    Raises:
        ValueError: If it is another encoder, or the student's attention is not the standard one.
    """
    if any(isinstance(module, PerformerAttention) for module in student.modules()):
        raise ValueError("a checkpoint of an encoder alone needs attention='standard'; performer inherits a whole DPT")
    said = load_encoder(student, checkpoint)
    return Inheritance(said.source, said.loaded, (), said.unused, said.new, said.notes)


def check_fit(parent: Parent, wanted: Mapping[str, Tensor], shared: list[str], wrong: list[str]) -> None:
    """Raise ValueError where tensors have another shape, or the transformer is not there at all."""
    if wrong:
        key, given = wrong[0], parent.state
        raise ValueError(
            f"{parent.source} is no {parent.name}: {len(wrong)} tensors have another shape, such as {key}: "
            f"expected {tuple(wanted[key].shape)}, got {tuple(given[key].shape)}"
        )
    if not any(key.startswith("encoder.vit.blocks.") for key in shared):
        raise ValueError(f"{parent.source} is no {parent.name}: it holds no transformer block by a known name")


def describe_changes(heads_then: int, heads: int, hooks_then: tuple[int, ...], hooks: tuple[int, ...]) -> Iterable[str]:
    """What inherited weights now do otherwise, in words."""
    if heads != heads_then:
        yield f"attention is split into {heads} instead of {heads_then} heads"
    for i, (then, now) in enumerate(zip(hooks_then, hooks, strict=True)):
        if then != now:
            yield f"reassemble.{i} reads block {now} instead of {then}"


def load_imagenet_stem(student: DPT, name: str) -> None:
    """Give the ResNet stem of a DPT in `IMAGENET_STEMS` its ImageNet weights, as DPT's own training began.

    Raises:
        ValueError: If they cannot be fetched.
    """
    found, _ = open_checkpoint(create_timm(IMAGENET_STEMS[name], pretrained=True).state_dict())
    assert student.encoder.stem is not None
    prefix = "encoder.stem."
    student.encoder.stem.load_state_dict(
        {key.removeprefix(prefix): value for key, value in found.weights.items() if key.startswith(prefix)}
    )
