"""Frozen networks with one calling convention: image (B, 3, H, W) in [0, 1] -> depth (B, 1, H, W) in metres.

Two of them give logits of classes instead.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from teachers.checkpoints import LoadReport, Source, load_checkpoint, load_encoder
from teachers.custom import is_factory, open_factory
from teachers.dpt import DPT, DPT_CONFIGS, DPTConfig
from teachers.frozen import FrozenTeacher
from teachers.hf.hub import PREFIX, open_hub_model
from teachers.model import DepthModel

__all__ = [
    "DPT",
    "DPT_CONFIGS",
    "SHIPPED",
    "DPTConfig",
    "DepthModel",
    "FrozenTeacher",
    "LoadReport",
    "create_dpt",
    "create_teacher",
    "is_elsewhere",
    "list_teachers",
    "load_checkpoint",
    "load_encoder",
]

SHIPPED = {"dpt_micro": Path(__file__).parent / "weights" / "dpt_micro.safetensors"}


def is_elsewhere(name: str) -> bool:
    """Whether a teacher is of another library or one's own: `hf:NAME-OR-FOLDER` or `module:factory`."""
    return name.startswith(PREFIX) or (name.partition(":")[0] not in DPT_CONFIGS and is_factory(name))


def list_teachers() -> list[str]:
    """Names that `create_teacher` knows."""
    return sorted(DPT_CONFIGS)


def dpt_config(name: str, **options: object) -> DPTConfig:
    """The configuration of a named DPT with some fields changed.

    Raises:
        ValueError: If the name or a field is unknown.
    """
    if name not in DPT_CONFIGS:
        raise ValueError(f"unknown teacher {name!r} (known: {', '.join(list_teachers())}, or a trained model's folder)")
    try:
        return replace(DPT_CONFIGS[name], **options)  # type: ignore[arg-type]  # a name that is no field is refused
    except TypeError as error:
        known = ", ".join(DPTConfig.__dataclass_fields__)
        raise ValueError(f"unknown option of {name}: {error}; known are {known}") from error


def create_dpt(
    name: str, checkpoint: Source | None = None, *, encoder_checkpoint: Source | None = None, **options: object
) -> DPT:
    """A trainable DPT by name; without a checkpoint, weights are random.

    Args:
        name: Which network.
        checkpoint: A file, a folder or a state dict of a whole DPT, in any naming of `teachers.key_maps`.
        encoder_checkpoint: The same of a DPT or a ViT, such as ImageNet weights: only the encoder is loaded.
        options: Fields of `DPTConfig`.

    Raises:
        FileNotFoundError: If the checkpoint does not exist.
        ValueError: If it is no checkpoint, or one of another architecture, or an option is unknown.
    """
    config = dpt_config(name, **options)
    if checkpoint is None:
        model = DPT(config)
        if encoder_checkpoint is not None:
            load_encoder(model, encoder_checkpoint)
        return model
    if encoder_checkpoint is not None:
        raise ValueError("checkpoint and encoder_checkpoint were both given; a whole DPT's file needs no other")
    with torch.device("meta"):
        model = DPT(config)
    load_checkpoint(model, checkpoint, name)
    return model


def create_teacher(name: str, checkpoint: Source | None = None, **options: object) -> FrozenTeacher:
    """A frozen depth model by name, or one for segmentation, whose `output` is "classes".

    Args:
        name: A DPT ("dpt_hybrid", "dpt_large", "dpt_base", "dpt_micro"), one that gives logits (B, 150, H, W) of
            `ADE20K`'s classes ("dpt_hybrid_ade20k", "dpt_large_ade20k"), `hf:FOLDER` or `hf:NAME` of the Hub for a
            depth class of `transformers`, or `module:factory` for a function of one's own that gives a `DepthModel`.
            `dpt_micro` without a checkpoint has its shipped weights, the other DPTs random ones.
        checkpoint: A file, a folder or a state dict of a whole DPT, in any naming of `teachers.key_maps`.
        options: Fields of `DPTConfig`, such as scale, shift, invert, readout, non_negative, min_depth, max_depth.
            The published metric weights need invert=True with scale 6.016e-5, shift 0.00579 (KITTI) or 3.05e-4,
            0.1378 (NYUv2).

    Raises:
        FileNotFoundError: If the checkpoint or the folder does not exist, or the Hub has no such name.
        ValueError: If it is no checkpoint, or one of another architecture, or a name or an option is unknown.
    """
    if is_elsewhere(name):
        if checkpoint is not None or options:
            extra = ", ".join(sorted(options)) or "checkpoint"
            raise ValueError(f"{name} brings its weights and what they mean; leave {extra} out")
        model = open_hub_model(name) if name.startswith(PREFIX) else open_factory(name)
        teacher = FrozenTeacher(model)
        if isinstance(model, DepthModel):
            teacher.licence, teacher.revision = model.licence, model.revision
        return teacher
    if "encoder_checkpoint" in options:
        raise ValueError("a teacher takes no encoder_checkpoint: a random decoder teaches nothing; give checkpoint")
    source = SHIPPED.get(name) if checkpoint is None else checkpoint
    return FrozenTeacher(create_dpt(name, source, encoder_checkpoint=None, **options))
