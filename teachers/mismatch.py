"""Words for weights that do not fit a network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import isqrt

import torch
from torch import Tensor

from teachers.dpt import DPT, DPT_CONFIGS, DPTConfig

Shapes = Mapping[str, torch.Size]
POSITIONS = "encoder.vit.pos_embed"
# Other depth networks, by the beginning of a name that only they have.
OTHERS = {
    r"encoder\.net\.": "a student's; give its folder as the teacher",
    r"encoder\.base_model\.": "BTS",
    r"glpn\.": "GLPN of Hugging Face",
    r"encoder\.patch_embed1\.": "GLPDepth",
    r"crf\d\.": "NeWCRFs",
    r"adaptive_bins_layer\.": "AdaBins",
    r"core\.core\.": "ZoeDepth",
    r"(depth_head|pretrained\.blocks)\.|backbone\.encoder\.layer\.\d+\.layer_scale1\.": "Depth Anything",
    r"pretrained\.(layer1|model\.layers)\.": "MiDaS on another backbone",
    r"pixel_encoder\.": "UniDepth",
    r"decoder\.\d+\.conv\.": "monodepth2",
    r"encoder\.patch_encoder\.": "Depth Pro",
}


def shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """The shapes of tensors, by their names."""
    return {key: value.shape for key, value in state.items()}


@lru_cache
def shapes_of(config: DPTConfig) -> dict[str, torch.Size]:
    """Name and shape of every tensor of a DPT, without its memory."""
    with torch.device("meta"):
        return shapes(DPT(config).state_dict())


def identify(held: Shapes) -> tuple[str, DPTConfig] | None:
    """The one named DPT, and its read-out, that all these tensors belong to; None if there is none or several.

    Weights do not tell the read-outs "add" and "ignore" apart; "ignore" stands for both.
    """
    candidates: dict[object, tuple[str, DPTConfig]] = {}
    for name, config in DPT_CONFIGS.items():
        family = named_sizes(replace(config, classes=()))  # one encoder, whatever is read out of it
        for readout in ("ignore", "project"):  # the smaller set of tensors first
            if family not in candidates and held.items() <= shapes_of(replace(config, readout=readout)).items():
                candidates[family] = name, replace(config, readout=readout)
    return next(iter(candidates.values())) if held and len(candidates) == 1 else None


def block_of(key: str) -> int | None:
    """The transformer block that a tensor belongs to, from 0."""
    match = re.match(r"encoder\.vit\.blocks\.(\d+)\.", key)
    return int(match[1]) if match else None


def blocks_in(keys: Iterable[str]) -> int:
    """How many transformer blocks tensors belong to."""
    return max((block + 1 for key in keys if (block := block_of(key)) is not None), default=0)


def grid_in(held: Shapes) -> int | None:
    """Side of the square grid of positions; None if there is none or it is not square."""
    positions = held[POSITIONS][1] - 1 if len(held.get(POSITIONS, ())) == 3 else -1
    return isqrt(positions) if positions > 0 and isqrt(positions) ** 2 == positions else None


def explain(config: DPTConfig, wanted: Shapes, held: Shapes, unknown: Sequence[str]) -> str:
    """What differs, or nothing: first what the reader can act upon, then how many tensors of which part.

    Args:
        config: The network's.
        wanted: Its tensors.
        held: Tensors of the file, under our names.
        unknown: Keys of the file that have no name of ours.
    """
    reasons = differences(wanted, held, unknown)
    surplus = [*unknown, *(held.keys() - wanted.keys())]
    other = next((name for mark, name in OTHERS.items() if any(re.match(mark, key) for key in surplus)), None)
    if surplus and not wanted.keys() & held.keys():
        this = f"another architecture{f', {other}' if other else ''}"
        return f"no name in common, such as {min(surplus)}: this is a checkpoint of {this}"
    if other:
        reasons.insert(0, f"this is a checkpoint of another architecture, {other}")
    if reasons and (advice := advise(config, wanted, held)):
        reasons.insert(0, advice)
    return "; ".join(reasons)


def differences(wanted: Shapes, held: Shapes, unknown: Sequence[str] = ()) -> list[str]:
    """In what the tensors of a file differ from those of a network: how many, and the first of them."""
    missing, surplus = sorted(wanted.keys() - held.keys()), sorted([*(held.keys() - wanted.keys()), *unknown])
    wrong = sorted(key for key in wanted.keys() & held.keys() if wanted[key] != held[key])
    reasons = []
    if wrong:
        sizes = f"expected {tuple(wanted[wrong[0]])}, got {tuple(held[wrong[0]])}"
        reasons.append(f"{len(wrong)} tensors of another shape, such as {wrong[0]}: {sizes}")
    if missing:
        reasons.append(f"{len(missing)} of {len(wanted)} tensors missing, such as {missing[0]} {parts(missing)}")
    if surplus:
        reasons.append(f"{len(surplus)} unknown, such as {surplus[0]} {parts(surplus)}")
    return reasons


def advise(config: DPTConfig, wanted: Shapes, held: Shapes) -> str | None:
    """The one decision behind many differences, where there is one: name, read-out, hooks or grid."""
    named = identify(held)
    if named is not None and not held.items() <= wanted.items() and named_sizes(named[1]) != named_sizes(config):
        whole = any(key.startswith("decoder.") for key in held)
        return f"this {'file is a' if whole else 'is the encoder of a'} {named[0]}, give that name"
    has = any(".readout." in key for key in held)
    if has != (config.readout == "project") and any(".reassemble." in key for key in held):
        return f"the file has readout={'project' if has else 'add or ignore'}, asked was {config.readout}"
    last, tapped = blocks_in(held) - 1, blocks_in(wanted) - 1
    if last > tapped:
        return f"the file's last block is {last}, the last hook {tapped}: it was trained with other hooks"
    if -1 < last < tapped:
        return f"the file's last block is {last}, hook {tapped} is out of range"
    grid = grid_in(held)
    if grid is not None and grid != grid_in(wanted):
        return f"the file's position grid is {grid}x{grid}, give grid={grid}"
    return None


def named_sizes(config: DPTConfig) -> tuple[object, ...]:
    """What tells the named networks apart, beside options of one of them."""
    head = len(config.classes) or config.head_hidden
    return config.width, config.stem, tuple(config.channels), config.features, bool(config.classes), head


def parts(keys: list[str]) -> str:
    """How many keys lie in which part of a network, for a reader's eye."""
    counts = Counter(".".join(key.split(".")[:2]) for key in keys).most_common(3)
    return "(" + ", ".join(f"{count} in {name}" for name, count in counts) + ")"
