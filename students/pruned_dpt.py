"""A DPT as a student: fewer blocks, other heads, attention and stem, a smaller internal image.

The family of the thesis "Accelerating Dense Prediction Transformers for fast monocular depth estimation" (2022).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from students.backbone import Backbone
from students.inherit import (
    IMAGENET_STEMS,
    OUTPUT,
    Inheritance,
    Parent,
    inherit,
    load_imagenet_stem,
    read_parent,
)
from students.performer import DEFAULT_FEATURES, PerformerAttention
from students.student import Student
from students.vit_encoder import adopt_normalisation, as_encoder, load_imagenet_encoder
from teachers import DPT, DPT_CONFIGS, load_encoder
from teachers.checkpoints import Source
from teachers.dpt import DPTConfig, init_output
from teachers.model import Output
from teachers.vit import Attention, AttentionFactory
from teachers.weight_files import Json

ATTENTIONS = ("standard", "performer")
STEMS = ("resnet50", "efficientnet_b0")
START_SHARE = 0.2  # a DPT without weights starts from a constant depth, this share of its largest


class EfficientNetStem(nn.Module):
    """EfficientNet-B0 in the place of DPT-Hybrid's ResNet stem, with maps at strides 4, 8 and 16 as wide as that one's.

    The map that becomes tokens is the network's last one, at stride 32, brought to stride 16 by a transposed
    convolution: what ImageNet taught the whole network goes into the transformer. The two taps keep their own stride,
    where the network's first stages still have the detail that the decoder wants of them, and are only widened.

    Args:
        channels: Those of the three maps.
        pretrained: Load timm's ImageNet weights.
    """

    def __init__(self, channels: tuple[int, int, int], *, pretrained: bool) -> None:
        super().__init__()
        self.backbone = Backbone("efficientnet_b0", pretrained=pretrained, lg_conv=False)
        c4, c8, _, c32 = self.backbone.channels
        self.taps = nn.ModuleList([nn.Conv2d(c4, channels[0], 1), nn.Conv2d(c8, channels[1], 1)])
        self.tokens = nn.ConvTranspose2d(c32, channels[2], 2, stride=2)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Image (B, 3, H, W) in [-1, 1] -> its three maps."""
        f4, f8, _, f32 = self.backbone(image * 0.5 + 0.5)
        return [self.taps[0](f4), self.taps[1](f8), self.tokens(f32)]


class DPTStudent(DPT, Student):
    """A trainable DPT, named by its parent, that `save_student` can write and `load_student` can rebuild.

    Args:
        name: The parent, a DPT of `list_students()`.
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
        checkpoint: Source | None = None,
        pretrained: bool = False,
        min_depth: float = 1e-3,
        max_depth: float = 80.0,
        scale: float | None = None,
        shift: float | None = None,
        invert: bool | None = None,
    ) -> None:
        changes: Json = {
            "heads": heads,
            "hooks": None if hooks is None else tuple(hooks),
            "resolution_scale": resolution_scale,
        }
        config = student_config(name, encoder, changes | {"min_depth": min_depth, "max_depth": max_depth})
        kind = choose_stem(name, stem, pretrained and encoder is None)
        factory = choose_attention(attention, random_features)
        parent = None if checkpoint is None else read_parent(name, checkpoint)
        config = replace(config, **convention(parent, max_depth, {"scale": scale, "shift": shift, "invert": invert}))
        other = None
        if config.stem is not None and kind == "efficientnet_b0":
            other = EfficientNetStem(config.stem.channels, pretrained=pretrained)
        super().__init__(config, stem=other, attention=factory)
        self._take_weights(parent, checkpoint, encoder)
        if pretrained and encoder is not None:
            load_imagenet_encoder(self, encoder)
        elif pretrained and other is None:
            load_imagenet_stem(self, name)
        options = {"heads": config.heads, "hooks": list(config.hooks), "attention": attention}
        options |= {"random_features": random_features, "encoder": encoder, "stem": kind}
        options |= {"resolution_scale": resolution_scale}
        options |= {key: getattr(config, key) for key in ("min_depth", "max_depth", *OUTPUT)}
        self.recipe = {"student": name, "options": options}

    def _take_weights(self, parent: Parent | None, checkpoint: Source | None, encoder: str | None) -> None:
        """Inherit what there is, and begin the rest; the positions of an encoder alone are stretched to the grid."""
        if parent is not None and parent.whole:
            self.inheritance = inherit(self, parent)
            return
        config = self.config
        largest = config.max_depth or math.inf
        if config.invert and config.shift > 0:  # of a raw output that is not negative
            largest = min(largest, 1 / config.shift)
        init_output(self, START_SHARE * largest)
        if checkpoint is None:
            return
        if any(isinstance(module, PerformerAttention) for module in self.modules()):
            raise ValueError(
                "a checkpoint of an encoder alone needs attention='standard'; performer inherits a whole DPT"
            )
        report = load_encoder(self, checkpoint)
        self.inheritance = Inheritance(report.source, report.loaded, (), report.unused, report.new, report.notes)
        if encoder is not None:
            adopt_normalisation(self, encoder)

    def set_conversion(self, scale: float, shift: float) -> None:
        """Let the raw output y mean 1 / (scale * y + shift) metres from now on, also in what `save_student` writes."""
        self.config = self.decoder.config = replace(self.config, scale=scale, shift=shift, invert=True)
        self.recipe["options"] |= {"scale": scale, "shift": shift, "invert": True}

    def redraw(self, seed: int) -> None:
        """Take new random features in every Performer block, the same ones for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, PerformerAttention):
                module.redraw(generator)


def student_config(name: str, encoder: str | None, changes: Json) -> DPTConfig:
    """The parent's configuration with what is not None changed, if its weights have a place for that."""
    if DPT_CONFIGS[name].classes:
        raise ValueError(f"{name} gives classes, and a student depth; name {name.partition('_ade20k')[0]}")
    own = DPT_CONFIGS[name] if encoder is None else as_encoder(DPT_CONFIGS[name], encoder)
    config = replace(own, **{key: value for key, value in changes.items() if value is not None})
    if config.hooks[-1] > own.hooks[-1]:
        raise ValueError(f"hooks={config.hooks}: {encoder or name} has blocks 0 to {own.hooks[-1]} only")
    low, high = config.min_depth, config.max_depth
    if low is None or high is None or not 0 < low < high:
        raise ValueError(f"depth limits must satisfy 0 < min < max, got {low} and {high} metres")
    return config


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


def convention(parent: Parent | None, max_depth: float, wanted: Json) -> Json:
    """Scale, shift and inversion of the raw output: as wanted, as the parent's, or for a network without weights."""
    wanted = {key: value for key, value in wanted.items() if value is not None}
    if parent is None or not parent.whole:
        return {"scale": 8.0 / max_depth, "shift": 1.0 / max_depth, "invert": True} | wanted
    if parent.output is None and (wanted.get("invert") is None or (wanted["invert"] and len(wanted) < len(OUTPUT))):
        raise ValueError(
            f"{parent.source} does not say what its raw output means: give scale, shift and invert "
            "(DPT's KITTI weights: 6.016e-5, 0.00579, true; NYUv2: 3.05e-4, 0.1378, true), or invert=false for metres"
        )
    return (parent.output or {}) | wanted
