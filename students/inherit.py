"""A DPT student starts from the weights of the network that it was pruned from, and says which it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from students.backbone import create_timm
from students.performer import PerformerAttention
from students.recipe import NotAStudent, read_config
from students.student import WEIGHTS
from teachers import DPT, DPT_CONFIGS, SHIPPED
from teachers.checkpoints import Source, check_values, open_checkpoint
from teachers.weight_files import Json, StateDict

# timm's network whose stem, with ImageNet weights, has the shape of ours; DPT-Hybrid's was once trained from it
IMAGENET_STEMS = {"dpt_hybrid": "vit_base_r50_s16_384"}
OUTPUT = ("scale", "shift", "invert")


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
    output: Json | None
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
        counts = [f"{len(self.inherited)} tensors inherited from {self.source}"]
        for word, names in (("resplit", self.resplit), ("dropped", self.dropped), ("new", self.new)):
            counts.append(f"{len(names)} {word}" + (f" ({places(names)})" if names else ""))
        return "; ".join([", ".join(counts), *self.notes])


def places(names: Iterable[str]) -> str:
    """How many tensors lie in which part of a network."""
    return ", ".join(f"{part} {count}" for part, count in Counter(".".join(n.split(".")[:3]) for n in names).items())


def read_parent(name: str, checkpoint: Source) -> Parent:
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
        held, _ = open_checkpoint(SHIPPED.get(source, checkpoint))
    else:
        place, recipe = trained
        if recipe["student"] != name:
            raise ValueError(f"{source} is a {recipe['student']}, but the student is to be pruned from a {name}")
        (held, _), options = open_checkpoint(place / WEIGHTS), recipe["options"]
        heads, hooks = options.get("heads", heads), tuple(options.get("hooks", hooks))
        output = {key: options[key] for key in OUTPUT} if OUTPUT[0] in options else None
    if held.weights and held.unknown:
        raise ValueError(f"{source} is no {name}: a DPT has no place for its {held.unknown[0]}")
    if "decoder.fuse.head.norm1.weight" in held.weights:
        raise ValueError(f"{source} is no {name}: it is a segmentation network's, and its decoder is for classes")
    whole = not held.encoder_only
    return Parent(source, name, held.weights, heads, hooks, output if whole else None, whole)


def trained_student(path: Path) -> tuple[Path, Json] | None:
    """The folder and the recipe of a trained student, by its folder or its file of weights, None for others.

    Raises:
        ValueError: If it is a calibrated one: what learns on would be its network, without the calibration.
    """
    try:
        place, recipe = read_config(path.parent if path.name == WEIGHTS else path)
    except (FileNotFoundError, NotAStudent):
        return None
    if "calibration" in recipe:
        raise ValueError(f"{path} is calibrated, which training would undo; start from the folder that it was made of")
    return place, recipe


def inherit(student: DPT, parent: Parent) -> Inheritance:
    """Copy every weight of the parent that the student has a place for, by name.

    The reassembly at a moved hook keeps its weights, though it now reads another block. Random features are no weights:
    they come along only where their shape is the student's.

    Raises:
        ValueError: If the checkpoint is of another architecture, or holds NaN or quantised weights.
    """
    wanted = student.state_dict()
    shared = [key for key in wanted if key in parent.state]
    drawn = {f"{n}.projection" for n, m in student.named_modules() if isinstance(m, PerformerAttention)}
    unlike = [key for key in shared if parent.state[key].shape != wanted[key].shape]
    check_fit(parent, wanted, shared, [key for key in unlike if key not in drawn])
    weights = {key: parent.state[key] for key in shared if key not in unlike}
    check_values(weights, wanted, parent.source)
    student.load_state_dict(weights, strict=False)
    heads, hooks = student.config.heads, student.config.hooks
    notes = [] if heads == parent.heads else [f"attention is split into {heads} instead of {parent.heads} heads"]
    for i, (now, before) in enumerate(zip(hooks, parent.hooks, strict=True)):
        if now != before:
            notes.append(f"reassemble.{i} reads block {now} instead of {before}")
    return Inheritance(
        parent.source,
        tuple(weights),
        tuple(key for key in weights if ".attn." in key) if heads != parent.heads else (),
        tuple(key for key in parent.state if key not in weights),
        tuple(key for key in wanted if key not in weights and key not in drawn),
        tuple(notes),
    )


def check_fit(parent: Parent, wanted: StateDict, shared: list[str], wrong: list[str]) -> None:
    """Raise ValueError where tensors have another shape, or the transformer is not there at all."""
    if wrong:
        sizes = f"expected {tuple(wanted[wrong[0]].shape)}, got {tuple(parent.state[wrong[0]].shape)}"
        fault = f"{len(wrong)} tensors have another shape, such as {wrong[0]}: {sizes}"
        raise ValueError(f"{parent.source} is no {parent.name}: {fault}")
    if not any(key.startswith("encoder.vit.blocks.") for key in shared):
        raise ValueError(f"{parent.source} is no {parent.name}: it holds no transformer block by a known name")


def load_imagenet_stem(student: DPT, name: str) -> None:
    """Give the ResNet stem of a DPT in `IMAGENET_STEMS` its ImageNet weights, as DPT's own training began."""
    theirs, _ = open_checkpoint(create_timm(IMAGENET_STEMS[name], pretrained=True).state_dict())
    assert student.encoder.stem is not None
    prefix = "encoder.stem."
    student.encoder.stem.load_state_dict(
        {key.removeprefix(prefix): value for key, value in theirs.weights.items() if key.startswith(prefix)}
    )
