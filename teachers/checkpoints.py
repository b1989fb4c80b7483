"""Loading weights into a DPT: whole, or its encoder alone; every tensor is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from teachers import huggingface
from teachers.dpt import DPT
from teachers.key_maps import ENCODER, NAMINGS, Translation, to_ours
from teachers.mismatch import POSITIONS, block_of, blocks_in, explain, grid_in, shapes
from teachers.weight_files import Json, StateDict, read_state_dict, unwrap

Source = str | Path | Mapping[str, Tensor]
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of a checkpoint.

    `loaded` and `new` are names of ours; `new` tensors kept the values the network was born with. `unused` are keys of
    the file that a depth network never uses. `notes` say what was done to weights beyond their name.
    """

    source: str
    naming: str
    loaded: tuple[str, ...]
    unused: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.source}: {NAMINGS[self.naming].title}", f"loaded: {len(self.loaded)} tensors"]
        if self.unused:
            lines.append(f"unused by design: {len(self.unused)} ({', '.join(self.unused)})")
        if self.new:
            lines.append(f"new, with random weights: {len(self.new)} tensors")
        return "\n".join([*lines, *self.notes])


def open_checkpoint(source: Source) -> tuple[Translation, str]:
    """The tensors of a file, folder or state dict under our names, and what to call it."""
    if isinstance(source, str | Path):
        return to_ours(read_state_dict(source)), str(source)
    return to_ours(unwrap(source, "the state dict")), "the state dict"


def load_checkpoint(model: DPT, source: Source, name: str | None = None) -> LoadReport:
    """Load a whole DPT, in any naming, into `model`, which may live on the meta device.

    Weights of any precision become the model's. `name` is what the model is called where it is refused.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint, an encoder's alone, or another network's, in words.
    """
    held, what = open_checkpoint(source)
    wanted = model.state_dict()
    difference = (
        (encoder_alone(held) if held.encoder_only else "")
        or explain(model.config, shapes(wanted), shapes(held.weights), held.unknown)
        or huggingface.contradiction(facts_beside(source, held), model.config)
    )
    if difference:
        raise ValueError(f"{what}{f' as {name}' if name else ''} does not fit: {difference}")
    notes = conversions(held.weights, wanted)
    fill(model, held.weights, what)
    return LoadReport(what, held.naming, tuple(wanted), held.unused, notes=notes)


def facts_beside(source: Source, held: Translation) -> Json:
    """What Hugging Face's `config.json` says beside weights of its naming; nothing beside others."""
    return huggingface.read_config(source) if held.naming == "huggingface" and isinstance(source, str | Path) else {}


def encoder_alone(held: Translation) -> str:
    """Why a file with an encoder of ours is no DPT."""
    reason = f"it holds an encoder alone ({NAMINGS[held.naming].title}), and a random decoder teaches nothing"
    if any(key.startswith("decode_head.") for key in held.unused):
        reason = "MMSegmentation's backbone is ours, its DPT head is not (decode_head.project is one convolution more)"
    return f"{reason}; give a whole DPT's file, or start training from it with encoder_checkpoint"


def load_encoder(model: DPT, source: Source) -> LoadReport:
    """Load the stem and the transformer alone; reassembly and decoder keep their weights.

    The source may be a ViT for image classification (timm, MMSegmentation) or a whole DPT. Position embeddings are
    resized to the model's grid; a distillation token and blocks after the last tap are left out.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint, or holds another encoder, in words.
    """
    held, what = open_checkpoint(source)
    wanted = {key: value for key, value in model.state_dict().items() if key.startswith(ENCODER)}
    weights, notes = fit_encoder(held, wanted)
    difference = explain(model.config, shapes(wanted), shapes(weights), held.unknown) or huggingface.contradiction(
        facts_beside(source, held), model.config, whole=False
    )
    if difference:
        raise ValueError(f"{what} as an encoder does not fit: {difference}")
    unused = (*held.unused, *(key for key in held.weights if key not in weights))
    new = tuple(key for key in model.state_dict() if key not in wanted)
    notes += conversions(weights, wanted)
    fill(model, weights, what)
    return LoadReport(what, held.naming, tuple(wanted), unused, new, notes)


def fit_encoder(held: Translation, wanted: StateDict) -> tuple[StateDict, tuple[str, ...]]:
    """The encoder in a checkpoint, as deep as wanted and with positions on the wanted grid; and what was done."""
    depth = blocks_in(wanted)
    encoder = {key: value for key, value in held.weights.items() if key.startswith(ENCODER)}
    weights = {key: value for key, value in encoder.items() if (block_of(key) or 0) < depth}
    notes = []
    if others := len(held.weights) - len(encoder):
        notes.append(f"left out: {others} tensors outside the encoder")
    if deeper := len(encoder) - len(weights):
        notes.append(f"left out: {deeper} tensors of blocks after the last tap")
    position = weights.get(POSITIONS)
    if position is not None and position.ndim == 3 and "dist_token" in held.unused:
        weights[POSITIONS] = torch.cat([position[:, :1], position[:, 2:]], dim=1)
    old, new = grid_in(shapes(weights)), grid_in(shapes(wanted))
    if old and new and old != new:
        weights[POSITIONS] = resample_abs_pos_embed(weights[POSITIONS].float(), [new, new])
        notes.append(f"resized: position embedding from {old}x{old} to {new}x{new}, bicubic")
    return weights, tuple(notes)


def conversions(weights: StateDict, wanted: StateDict) -> tuple[str, ...]:
    """Which weights have another precision than the network, in words."""
    pairs = Counter((value.dtype, wanted[key].dtype) for key, value in weights.items())
    return tuple(f"converted: {n} tensors from {old} to {new}" for (old, new), n in pairs.items() if old != new)


def check_values(weights: StateDict, wanted: StateDict, what: str) -> None:
    """Raise ValueError where a floating-point tensor of the network would become an integer, NaN or infinity."""
    for key, value in weights.items():
        if wanted[key].is_floating_point() and value.dtype not in FLOATS:
            raise ValueError(f"{what}: {key} holds {value.dtype}, expected floating-point weights, not quantised ones")
        as_held = value.to(wanted[key].dtype)
        if not value.is_meta and not as_held.isfinite().all():  # the meta device has no values
            raise ValueError(f"{what}: {key} holds NaN or infinity; download or copy the file again")


def fill(model: nn.Module, weights: StateDict, what: str) -> None:
    """Give `model` the values of `weights`, in memory of its own; `weights` is emptied on the way.

    Copied, because a model must follow neither the dict it came from nor the file that may still lie mapped behind it.
    A model on the meta device gets its memory tensor by tensor, so that no more than the file and one model are held.

    Raises:
        ValueError: If a tensor holds integers, NaN or infinity; the model is then as it was.
    """
    wanted = model.state_dict()
    check_values(weights, wanted, what)
    if not any(value.is_meta for value in wanted.values()):
        model.load_state_dict(weights, strict=False)
        return
    copies = {key: weights.pop(key).detach().to(wanted[key].dtype, copy=True) for key in wanted}
    model.load_state_dict(copies, assign=True)
