"""How others name the tensors of a DPT: one table per naming, read in both directions.

A rule is a pair of names, ours and theirs. `*` is a number that both share; a name that ends in `.` or `_` is followed
by `weight`, `bias` or another of `LEAVES`. A network with a convolutional stem (DPT-Hybrid) taps its transformer for
the last two of the four maps only, so that namings which count all four maps start at the third.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import torch

from teachers.weight_files import StateDict

Rules = list[tuple[str, str]]

ENCODER = ("encoder.stem.", "encoder.vit.")
LEVELS = range(4)  # the four maps, finest first
BLOCK = ("norm1.", "attn.qkv.", "attn.proj.", "norm2.", "mlp.fc1.", "mlp.fc2.")
HEAD = {"conv1": 0, "norm1": 1, "conv2": 2, "conv3": 4}  # of depth without norm1, of classes without conv2
LEAVES = "weight|bias|running_mean|running_var|num_batches_tracked"
BOTTLENECK = ("conv1.", "norm1.", "conv2.", "norm2.", "conv3.", "norm3.", "downsample.conv.", "downsample.norm.")


def tokens(prefix: str, positions: str, patch: str, blocks: str, parts: tuple[str, ...]) -> Rules:
    """The transformer: class token, position embedding, patch projection, and the parts of each block."""
    rules = [
        ("encoder.vit.cls_token", f"{prefix}cls_token"),
        ("encoder.vit.pos_embed", f"{prefix}{positions}"),
        ("encoder.vit.patch.", f"{prefix}{patch}"),
    ]
    return rules + [
        (f"encoder.vit.blocks.*.{ours}", f"{blocks}{theirs}") for ours, theirs in zip(BLOCK, parts, strict=True)
    ]


def bottlenecks(theirs: str) -> Rules:
    """The blocks of the stem, whose parts have one name everywhere."""
    return [(f"encoder.stem.stages.*.*.{part}", f"{theirs}{part}") for part in BOTTLENECK]


def timm(stem: bool, prefix: str = "") -> Rules:
    """timm's ViT, with the ResNet in the place of its patch projection where there is a stem."""
    rules = tokens(prefix, "pos_embed", "patch_embed.proj.", f"{prefix}blocks.*.", BLOCK)
    if stem:
        rules += [(f"encoder.stem.{part}", f"{prefix}patch_embed.backbone.stem.{part}") for part in ("conv.", "norm.")]
        rules += bottlenecks(f"{prefix}patch_embed.backbone.stages.*.blocks.*.")
    return rules


def original(stem: bool) -> Rules:
    """dpt_hybrid-midas-501f0c75.pt and its kin (isl-org/DPT, isl-org/MiDaS)."""
    rules, first = timm(stem, "pretrained.model."), 3 if stem else 1
    for i in range(2 if stem else 4):
        ours, theirs = f"encoder.reassemble.{i}.", f"pretrained.act_postprocess{first + i}."
        rules += [(f"{ours}readout.project.", f"{theirs}0.project.0.")]
        rules += [(f"{ours}conv.", f"{theirs}3."), (f"{ours}resample.", f"{theirs}4.")]
    for i in LEVELS:
        ours, theirs = f"decoder.fuse.fusion.{i}.", f"scratch.refinenet{i + 1}."
        rules += [(f"decoder.fuse.project.{i}.", f"scratch.layer{i + 1}_rn."), (f"{ours}out.", f"{theirs}out_conv.")]
        units = (("skip_unit", "resConfUnit1"), ("unit", "resConfUnit2"))[i == 3 :]  # the coarsest map skips nothing
        rules += [(f"{ours}{a}.conv{n}.", f"{theirs}{b}.conv{n}.") for a, b in units for n in (1, 2)]
        rules += [(f"{ours}{a}.norm{n}.", f"{theirs}{b}.bn{n}.") for a, b in units for n in (1, 2)]
    return rules + [(f"decoder.fuse.head.{part}.", f"scratch.output_conv.{i}.") for part, i in HEAD.items()]


def huggingface(stem: bool) -> Rules:
    """DPT of transformers, for either task; its query, key and value are joined before and split after."""
    parts = (
        "layernorm_before.",
        "attention.attention.qkv.",
        "attention.output.dense.",
        "layernorm_after.",
        "intermediate.dense.",
        "output.dense.",
    )
    patch = "projection." if stem else "patch_embeddings.projection."
    rules, first = tokens("dpt.embeddings.", "position_embeddings", patch, "dpt.encoder.layer.*.", parts), 0
    if stem:
        bit, first = "dpt.embeddings.backbone.bit.", 2
        rules += [("encoder.stem.conv.", f"{bit}embedder.convolution."), ("encoder.stem.norm.", f"{bit}embedder.norm.")]
        rules += bottlenecks(f"{bit}encoder.stages.*.layers.*.")
    for i in range(4 - first):
        ours, theirs = f"encoder.reassemble.{i}.", f"neck.reassemble_stage.layers.{first + i}."
        rules += [(f"{ours}readout.project.", f"neck.reassemble_stage.readout_projects.{first + i}.0.")]
        rules += [(f"{ours}conv.", f"{theirs}projection."), (f"{ours}resample.", f"{theirs}resize.")]
    for i in LEVELS:
        ours, theirs = f"decoder.fuse.fusion.{i}.", f"neck.fusion_stage.layers.{3 - i}."  # coarsest first
        rules += [(f"decoder.fuse.project.{i}.", f"neck.convs.{i}."), (f"{ours}out.", f"{theirs}projection.")]
        units = (("skip_unit", "residual_layer1"), ("unit", "residual_layer2"))[i == 3 :]
        rules += [(f"{ours}{a}.conv{n}.", f"{theirs}{b}.convolution{n}.") for a, b in units for n in (1, 2)]
        rules += [(f"{ours}{a}.norm{n}.", f"{theirs}{b}.batch_norm{n}.") for a, b in units for n in (1, 2)]
    return rules + [(f"decoder.fuse.head.{part}.", f"head.head.{i}.") for part, i in HEAD.items()]


def mmseg(stem: bool, prefix: str = "") -> Rules:
    """The plain ViT of MMSegmentation and of Monocular-Depth-Estimation-Toolbox; there is none with a stem."""
    parts = ("ln1.", "attn.attn.in_proj_", "attn.attn.out_proj.", "ln2.", "ffn.layers.0.0.", "ffn.layers.1.")
    return tokens(prefix, "pos_embed", "patch_embed.projection.", f"{prefix}layers.*.", parts)


@dataclass(frozen=True)
class Naming:
    """One program's names.

    `mark` recognises them, `unused` are those of its tensors that a depth network never uses; both match the beginning
    of a key. An `encoder_only` naming has no decoder of ours.
    """

    title: str
    mark: str
    rules: Callable[[bool], Rules]
    unused: str = r"(?!)"
    encoder_only: bool = False


NAMINGS = {
    "ours": Naming("our names", r"encoder\.(vit|reassemble)\.|decoder\.fuse\.", lambda stem: []),
    "original": Naming(
        "the names of the published DPT files",
        r"pretrained\.|scratch\.",
        original,
        r"pretrained\.model\.(head|norm|fc_norm)\.|scratch\.refinenet4\.resConfUnit1\.|auxlayer\.",
    ),
    "huggingface": Naming(
        "Hugging Face's names",
        r"dpt\.|neck\.",
        huggingface,
        r"dpt\.(layernorm|pooler)\.|neck\.fusion_stage\.layers\.0\.residual_layer1\.|auxiliary_head\.",
    ),
    "timm": Naming(
        "timm's names",
        r"blocks\.\d+\.norm1|patch_embed\.(proj|backbone)\.",
        timm,
        r"(head|norm|fc_norm|head_dist|pre_logits)\.|dist_token$",
        True,
    ),
    "mmseg": Naming("MMSegmentation's names", r"layers\.\d+\.ln1", mmseg, r"ln1\.", True),
    "mmseg model": Naming(
        "MMSegmentation's names",
        r"backbone\.layers\.\d+\.ln1",
        lambda stem: mmseg(stem, "backbone."),
        r"backbone\.ln1\.|decode_head\.|auxiliary_head\.",
        True,
    ),
}


@lru_cache
def renamer(naming: str, stem: bool, to_ours: bool) -> Callable[[str], str | None]:
    """Function from one naming's keys to ours, or back; None for a key that has no counterpart."""
    if naming == "ours":
        return lambda key: key
    pairs = [(theirs, ours) if to_ours else (ours, theirs) for ours, theirs in NAMINGS[naming].rules(stem)]
    table = [rule_in_regex(source, target) for source, target in pairs]

    def rename(key: str) -> str | None:
        return next((match.expand(target) for source, target in table if (match := source.fullmatch(key))), None)

    return rename


def rule_in_regex(source: str, target: str) -> tuple[re.Pattern[str], str]:
    """What the one name of a rule matches, and what the match becomes under the other."""
    pattern = re.escape(source).replace(r"\*", r"(\d+)")
    if source[-1] not in "._":
        return re.compile(pattern), target
    group = count(1)
    return re.compile(f"{pattern}({LEAVES})"), re.sub(r"\*|$", lambda _: f"\\{next(group)}", target)


@dataclass(frozen=True)
class Translation:
    """A state dict under our names, and the keys that have none: unused by design, or unknown."""

    naming: str
    weights: StateDict
    unused: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def encoder_only(self) -> bool:
        """Whether that program has no decoder of ours."""
        return self.naming in NAMINGS and NAMINGS[self.naming].encoder_only


def has_stem(state: StateDict) -> bool:
    """Whether there is a convolutional stem, in any naming."""
    return any(".stages." in key or ".stem." in key or key.startswith("stem.") for key in state)


def to_ours(state: StateDict) -> Translation:
    """Recognise a state dict's naming and bring it to ours. No tensor is lost: each is renamed, unused or unknown."""
    recognised = (name for name, naming in NAMINGS.items() if any(re.match(naming.mark, key) for key in state))
    if (naming := next(recognised, None)) is None:  # neither a DPT nor a ViT
        return Translation("unknown", {}, (), tuple(state))
    if naming == "huggingface":
        state = join_qkv(state)
    rename = renamer(naming, has_stem(state), True)
    weights: StateDict = {}
    unused, unknown = [], []
    for key, value in state.items():
        ours = rename(key)
        if ours is not None:
            weights[ours] = value
        elif re.match(NAMINGS[naming].unused, key):
            unused.append(key)
        else:
            unknown.append(key)
    return Translation(naming, weights, tuple(unused), tuple(unknown))


def from_ours(state: StateDict, naming: str) -> StateDict:
    """Our names -> another naming's, tensor by tensor; a ValueError names what has no place there."""
    rename = renamer(naming, has_stem(state), False)
    renamed = {key: rename(key) for key in state}
    if homeless := sorted(key for key, name in renamed.items() if name is None):
        raise ValueError(f"{NAMINGS[naming].title} have no place for {len(homeless)} tensors, such as {homeless[0]}")
    out = {name: state[key] for key, name in renamed.items() if name is not None}
    return split_qkv(out) if naming == "huggingface" else out


def join_qkv(state: StateDict) -> StateDict:
    """Hugging Face's query, key and value as one tensor, as everybody else keeps them."""
    state = dict(state)
    for key in list(state):
        if ".attention.attention.query." in key:
            three = [key.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
            if all(name in state for name in three):
                state[key.replace(".query.", ".qkv.")] = torch.cat([state.pop(name) for name in three])
    return state


def split_qkv(state: StateDict) -> StateDict:
    """What `join_qkv` joined as three tensors again."""
    out: StateDict = {}
    for key, value in state.items():
        if ".attention.attention.qkv." in key:
            for part, tensor in zip(("query", "key", "value"), value.chunk(3), strict=True):
                out[key.replace(".qkv.", f".{part}.")] = tensor
        else:
            out[key] = value
    return out
