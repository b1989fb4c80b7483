"""A DPT as a student: fewer blocks, other heads, attention and stem, a smaller internal image.

The family of the thesis "Accelerating Dense Prediction Transformers for fast monocular depth estimation" (2022).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from students.efficientnet_stem import EfficientNetStem
from students.hub import Student
from students.inherit import (
    IMAGENET_STEMS,
    OUTPUT,
    Checkpoint,
    Inheritance,
    Parent,
    inherit,
    inherit_encoder,
    load_imagenet_stem,
    read_parent,
)
from students.performer import DEFAULT_FEATURES, PerformerAttention
from students.vit_encoder import adopt_normalisation, as_encoder, load_imagenet_encoder
from teachers import DPT, DPT_CONFIGS
from teachers.dpt import DPTConfig, init_output
from teachers.model import Output
from teachers.vit import Attention, AttentionFactory

ATTENTIONS = ("standard", "performer")
STEMS = ("resnet50", "efficientnet_b0")
START_SHARE = 0.2  # a DPT without weights starts from a constant depth, this share of its largest


class DPTStudent(DPT, Student):
    """A trainable DPT, named by its parent, that `save_student` can write and `load_student` can rebuild.

    Args:
        name: The parent, one of `teachers.list_teachers()`.
        heads: Attention heads; the width must be divisible by them. None keeps the parent's.
        hooks: Tapped blocks, counted from 0; no block after the last one exists. None keeps the parent's.
        attention: "standard", or "performer": the same weights, estimated by random features in linear time.
        random_features: Their number, for "performer" (256).
        encoder: A plain timm ViT in place of the parent's, for parents that work on the image itself: its sizes and,
            where `pretrained`, its ImageNet weights, tapped at the ends of its quarters unless `hooks` says otherwise.
        stem: "resnet50", the parent's own, or "efficientnet_b0". None keeps the parent's, which may have none.
        resolution_scale: The encoder works on an image of this share of both sides, at least 32 pixels each.
        checkpoint: The parent's weights, inherited wherever they have a place: a file, a state dict, the folder of a
            trained DPT student, or the name of a DPT that ships its weights; or those of an encoder alone, such as a
            downloaded ViT. `inheritance` then says what was taken.
        pretrained: Start the stem or `encoder` from ImageNet weights, whatever the checkpoint says of it.
        min_depth, max_depth: Limits in metres that the output is clamped to.
        scale, shift, invert: The meaning of the raw output, as of a teacher. None keeps the parent's as far as its
            checkpoint tells; without one the raw output is the inverse depth above that of `max_depth`.

    Raises:
        FileNotFoundError: If the checkpoint does not exist.
        ValueError: If the name or an option does not fit, or the checkpoint is another network's.
    """

    inheritance: Inheritance | None = None
    output: Output = "metric"  # whatever its parent's was: it is trained on metres

    def __init__(
        self,
        name: str,
        *,
        heads: int | None = None,
        hooks: tuple[int, ...] | None = None,
        attention: str = "standard",
        random_features: int | None = None,
        encoder: str | None = None,
        stem: str | None = None,
        resolution_scale: float = 1.0,
        checkpoint: Checkpoint | None = None,
        pretrained: bool = False,
        min_depth: float = 1e-3,
        max_depth: float = 80.0,
        scale: float | None = None,
        shift: float | None = None,
        invert: bool | None = None,
    ) -> None:
        config = student_config(
            name,
            encoder,
            heads=heads,
            hooks=hooks,
            resolution_scale=resolution_scale,
            min_depth=min_depth,
            max_depth=max_depth,
        )
        kind = choose_stem(name, stem, pretrained and encoder is None)
        factory = choose_attention(attention, random_features)
        parent = None if checkpoint is None else read_parent(name, checkpoint)
        config = replace(config, **convention(parent, max_depth, {"scale": scale, "shift": shift, "invert": invert}))
        super().__init__(config, stem=build_stem(config, kind, pretrained), attention=factory)
        self._take_weights(parent, checkpoint, encoder)
        if pretrained and encoder is not None:
            load_imagenet_encoder(self, encoder)
        elif pretrained and kind != "efficientnet_b0":
            load_imagenet_stem(self, name)
        options: dict[str, Any] = {"heads": config.heads, "hooks": list(config.hooks), "attention": attention}
        options |= {"random_features": random_features, "encoder": encoder, "stem": kind}
        options["resolution_scale"] = resolution_scale
        options |= {key: getattr(config, key) for key in ("min_depth", "max_depth", *OUTPUT)}
        self.recipe: dict[str, Any] = {"student": name, "options": options}

    def _take_weights(self, parent: Parent | None, checkpoint: Checkpoint | None, encoder: str | None) -> None:
        """Inherit what there is, and begin the rest."""
        if parent is not None and parent.whole:
            self.inheritance = inherit(self, parent)
            return
        init_output(self, START_SHARE * largest_depth(self.config))
        if checkpoint is not None:
            self.inheritance = inherit_encoder(self, checkpoint)
            if encoder is not None:
                adopt_normalisation(self, encoder)

    def set_conversion(self, scale: float, shift: float) -> None:
        """Let the raw output y mean 1 / (scale * y + shift) metres from now on, also in what `save_student` writes."""
        conversion: dict[str, Any] = {"scale": scale, "shift": shift, "invert": True}
        self.config = self.decoder.config = replace(self.config, **conversion)
        self.recipe["options"] |= conversion

    def redraw(self, seed: int) -> None:
        """Take new random features in every Performer block, the same ones for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, PerformerAttention):
                module.redraw(generator)


def student_config(name: str, encoder: str | None, **changes: Any) -> DPTConfig:
    """The parent's configuration with what is not None changed, if its weights have a place for that."""
    own = DPT_CONFIGS[name] if encoder is None else as_encoder(DPT_CONFIGS[name], encoder)
    changes = {key: tuple(value) if key == "hooks" else value for key, value in changes.items() if value is not None}
    config = replace(own, **changes)
    if config.hooks[-1] > own.hooks[-1]:
        raise ValueError(f"hooks={config.hooks}: {encoder or name} has blocks 0 to {own.hooks[-1]} only")
    low, high = config.min_depth, config.max_depth
    if low is None or high is None or not 0 < low < high:
        raise ValueError(f"depth limits must satisfy 0 < min < max, got {low} and {high} metres")
    return config


def largest_depth(config: DPTConfig) -> float:
    """What the limit and the meaning of a raw output that is not negative allow, in metres."""
    assert config.max_depth is not None
    inverted = config.invert and config.shift > 0
    return min(config.max_depth, 1 / config.shift) if inverted else config.max_depth


def choose_attention(kind: str, random_features: int | None) -> AttentionFactory:
    """What makes the attention of each block."""
    if kind not in ATTENTIONS:
        raise ValueError(f"unknown attention {kind!r}, known are {', '.join(ATTENTIONS)}")
    if kind == "performer":
        return partial(PerformerAttention, features=DEFAULT_FEATURES if random_features is None else random_features)
    if random_features is not None:
        raise ValueError("random_features needs attention='performer'; exact attention has none")
    return Attention


def choose_stem(name: str, kind: str | None, pretrained: bool) -> str | None:
    """The stem's name, None where the parent works on the image itself."""
    if kind is not None and kind not in STEMS:
        raise ValueError(f"unknown stem {kind!r}, known are {', '.join(STEMS)}")
    if DPT_CONFIGS[name].stem is None and kind is not None:
        raise ValueError(f"{name} works on the image itself and takes no stem, got {kind!r}; leave stem out")
    if pretrained and kind != "efficientnet_b0" and name not in IMAGENET_STEMS:
        raise ValueError(f"there are no ImageNet weights for {name} by name; use pretrained=false")
    return STEMS[0] if kind is None and DPT_CONFIGS[name].stem else kind


def build_stem(config: DPTConfig, kind: str | None, pretrained: bool) -> nn.Module | None:
    """A stem in place of the parent's own, None where that one stays."""
    if config.stem is None or kind != "efficientnet_b0":
        return None
    return EfficientNetStem(config.stem.channels, pretrained=pretrained)


def convention(parent: Parent | None, max_depth: float, given: dict[str, Any]) -> dict[str, Any]:
    """Scale, shift and inversion of the raw output: as given, as the parent's, or for a network without weights."""
    given = {key: value for key, value in given.items() if value is not None}
    if parent is None or not parent.whole:
        return {"scale": 8.0 / max_depth, "shift": 1.0 / max_depth, "invert": True} | given
    if parent.output is None and (given.get("invert") is None or (given["invert"] and len(given) < len(OUTPUT))):
        raise ValueError(
            f"{parent.source} does not say what its raw output means: give scale, shift and invert "
            "(DPT's KITTI weights: 6.016e-5, 0.00579, true; NYUv2: 3.05e-4, 0.1378, true), or invert=false for metres"
        )
    return (parent.output or {}) | given
