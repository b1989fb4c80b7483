"""Reading weights: files that cannot run code, published key names, and words for what does not fit."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

StateDict = dict[str, Tensor]

# The published naming (dpt_hybrid-midas-501f0c75.pt and its kin) -> ours.
PUBLISHED = (
    (r"^pretrained\.model\.patch_embed\.backbone\.stem\.", "encoder.stem."),
    (r"^pretrained\.model\.patch_embed\.backbone\.stages\.(\d+)\.blocks\.", r"encoder.stem.stages.\1."),
    (r"^pretrained\.model\.patch_embed\.proj\.", "encoder.vit.patch."),
    (r"^pretrained\.model\.(cls_token|pos_embed|blocks\.)", r"encoder.vit.\1"),
    (r"^pretrained\.act_postprocess(\d)\.0\.project\.0\.", r"encoder.reassemble.\1.readout.project."),
    (r"^pretrained\.act_postprocess(\d)\.3\.", r"encoder.reassemble.\1.conv."),
    (r"^pretrained\.act_postprocess(\d)\.4\.", r"encoder.reassemble.\1.resample."),
    (r"^scratch\.layer(\d)_rn\.", r"decoder.fuse.project.\1."),
    (r"^scratch\.refinenet(\d)\.resConfUnit1\.", r"decoder.fuse.fusion.\1.skip_unit."),
    (r"^scratch\.refinenet(\d)\.resConfUnit2\.", r"decoder.fuse.fusion.\1.unit."),
    (r"^scratch\.refinenet(\d)\.out_conv\.", r"decoder.fuse.fusion.\1.out."),
    (r"^scratch\.output_conv\.0\.", "decoder.fuse.head.conv1."),
    (r"^scratch\.output_conv\.2\.", "decoder.fuse.head.conv2."),
    (r"^scratch\.output_conv\.4\.", "decoder.fuse.head.conv3."),
)
# Tensors of published files that a depth network never uses: classifier, final norm, the coarsest skip unit.
UNUSED = (
    r"^pretrained\.model\.(head|norm|fc_norm|head_dist|dist_token)\b|^scratch\.refinenet4\.resConfUnit1\.|^auxlayer\."
)
WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict")
PREFIXES = ("module.", "model.", "_orig_mod.")


def read_state_dict(path: str | Path) -> StateDict:
    """Tensors of a `.safetensors`, `.pt` or `.pth` file, unwrapped, on the CPU; nothing in the file is executed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no checkpoint, is cut short, or contains code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        if path.suffix == ".safetensors":
            loaded: Any = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped(path))
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is not a plain checkpoint: it is damaged or contains code, which is never run; "
            "expected a state dict saved by torch.save, or a .safetensors file"
        ) from error
    except Exception as error:  # on damaged bytes the readers raise IndexError, struct.error and more
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} is not a readable checkpoint ({reason[:120]}); download or copy it again") from error
    return unwrap(loaded, str(path))


def zipped(path: Path) -> bool:
    """Whether a file has torch's zip format, which can be mapped into memory; the format before it cannot."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def unwrap(loaded: Any, what: str) -> StateDict:
    """The state dict inside what trainers save around it, with their key prefixes removed.

    Raises:
        ValueError: If it holds no tensors by name; `what` was given, in words.
    """
    for key in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    named = loaded.items() if isinstance(loaded, Mapping) else ()
    tensors = {k: v for k, v in named if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise ValueError(f"{what} holds no weights, expected a state dict (a mapping from names to tensors)")
    return strip_prefixes(tensors)


def strip_prefixes(state: StateDict) -> StateDict:
    """Without the prefixes that every key shares because a model was wrapped (DataParallel, compile, a trainer)."""
    for prefix in PREFIXES * 2:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def rename_published(state: StateDict, first_tap: int) -> StateDict:
    """Published DPT names -> ours; unused tensors are dropped. `first_tap` is 3 with a stem (taps 3 and 4), else 1."""
    renamed = {}
    for key, value in state.items():
        if re.search(UNUSED, key):
            continue
        for pattern, replacement in PUBLISHED:
            new, count = re.subn(pattern, replacement, key)
            if count:
                key = shift_index(new, first_tap)
                break
        renamed[key] = value
    return renamed


def shift_index(key: str, first_tap: int) -> str:
    """Published parts count from 1 (reassembly from the first tap), ours from 0."""
    key = re.sub(r"^(encoder\.reassemble\.)(\d)", lambda m: f"{m[1]}{int(m[2]) - first_tap}", key)
    return re.sub(r"^(decoder\.fuse\.(?:project|fusion)\.)(\d)", lambda m: f"{m[1]}{int(m[2]) - 1}", key)


def load_weights(model: nn.Module, state: StateDict, what: str) -> None:
    """Load every tensor into `model`, which may live on the meta device.

    Raises:
        ValueError: If names or shapes differ, in words.
    """
    wanted = model.state_dict()
    missing, unknown = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    wrong = [k for k in wanted.keys() & state.keys() if wanted[k].shape != state[k].shape]
    if missing or unknown or wrong:
        raise ValueError(f"{what} does not fit: {explain_difference(wanted, state, missing, unknown, sorted(wrong))}")
    dtype = torch.get_default_dtype()
    # Copied: a model must follow neither the dict it came from nor the file that may still lie mapped behind it.
    state = {k: v.to(dtype if v.is_floating_point() else v.dtype, copy=True) for k, v in state.items()}
    model.load_state_dict(state, assign=any(p.is_meta for p in wanted.values()))


def explain_difference(
    wanted: Mapping[str, Tensor], given: StateDict, missing: list[str], unknown: list[str], wrong: list[str]
) -> str:
    """What differs between the weights a model needs and those it is given, shortest first."""
    said = []
    if wrong:
        key = wrong[0]
        said.append(
            f"{len(wrong)} tensors of another shape, such as {key}: "
            f"expected {tuple(wanted[key].shape)}, got {tuple(given[key].shape)}"
        )
    if missing:
        said.append(f"{len(missing)} of {len(wanted)} tensors missing, such as {missing[0]} {parts(missing)}")
    if unknown:
        said.append(f"{len(unknown)} unknown, such as {unknown[0]} {parts(unknown)}")
    if not wanted.keys() & given.keys():
        said.append("no name in common: this is a checkpoint of another architecture")
    return "; ".join(said)


def parts(keys: list[str]) -> str:
    """How many keys lie in which part of a network, for a reader's eye."""
    counts = Counter(".".join(key.split(".")[:2]) for key in keys).most_common(3)
    return "(" + ", ".join(f"{count} in {name}" for name, count in counts) + ")"
