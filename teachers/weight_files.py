"""Reading weights from files and folders: by content, never by name, and without running code."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

StateDict = dict[str, Tensor]
Json = dict[str, Any]  # an object of a JSON file, of which nobody knows what it holds until it is looked at

WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict")
PREFIXES = ("module.", "model.", "_orig_mod.")
# Where a folder keeps its weights: whole or in shards, Hugging Face's older name, a run of ours.
IN_FOLDERS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "student/model.safetensors",
)


def read_state_dict(path: str | Path) -> StateDict:
    """Tensors of a file or a folder, unwrapped, on the CPU; nothing in it is executed.

    A file may be torch's zip (mapped into memory, so read when used), torch's older format, safetensors (mapped too)
    or the index of a sharded checkpoint. A folder is one of Hugging Face's, a run of ours, or its `student/`.

    Raises:
        FileNotFoundError: If there is no such file, no weights in the folder, or a shard is missing.
        ValueError: If the file is no checkpoint, is cut short, or contains code.
    """
    path = Path(path)
    if path.is_dir():
        inside = [path / name for name in IN_FOLDERS if (path / name).is_file()]
        if not inside:
            raise FileNotFoundError(f"no checkpoint at {path}: a folder must hold one of {', '.join(IN_FOLDERS)}")
        path = inside[0]
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    with path.open("rb") as file:
        start = file.read(64)
    return unwrap(read_shards(path) if start[:1] == b"{" else read_file(path, start), str(path))


def read_file(path: Path, start: bytes) -> object:
    """What one file holds, in torch's zip, torch's older format or safetensors; `start` are its first bytes."""
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path} is a git-lfs pointer, not the weights; fetch them with git lfs pull")
    try:
        if start[8:9] == b"{":  # after the header's length, safetensors begin with JSON
            return load_file(path)
        # torch's zip can be mapped into memory, the format before it cannot; torch opens .safetensors in its own way.
        mapped = start.startswith(b"PK\x03\x04") and path.suffix != ".safetensors"
        with path.open("rb") as file:
            return torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is not a plain checkpoint: it is damaged or contains code, which is never run; "
            "expected a state dict saved by torch.save, or a .safetensors file"
        ) from error
    except Exception as error:  # on damaged bytes the readers raise IndexError, struct.error and more
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} is not a readable checkpoint ({reason[:120]}); download or copy it again") from error


def read_shards(index: Path) -> StateDict:
    """The tensors of a sharded checkpoint, by the index that says which file holds which."""
    try:
        places: dict[str, str] = json.loads(index.read_text())["weight_map"]
        names = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is not a readable checkpoint (JSON, no weight_map); give its folder") from error
    state: StateDict = {}
    for name in names:
        shard = index.parent / name
        if Path(name).name != name or not shard.is_file():
            raise FileNotFoundError(f"{index} names the shard {name}, which does not lie beside it; download it too")
        with shard.open("rb") as file:
            start = file.read(64)
        state |= named_tensors(read_file(shard, start), str(shard))
    if absent := sorted(places.keys() - state.keys()):
        raise ValueError(f"{index} names {len(absent)} tensors that its shards lack, such as {absent[0]}")
    return state


def named_tensors(loaded: object, what: str) -> StateDict:
    """The tensors of what was loaded, which must be a mapping from names to tensors; `what` was read, in words."""
    entries = loaded.items() if isinstance(loaded, Mapping) else ()
    tensors = {k: v for k, v in entries if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise ValueError(f"{what} holds no weights, expected a state dict (a mapping from names to tensors)")
    return tensors


def unwrap(loaded: object, what: str) -> StateDict:
    """The state dict inside what trainers save around it; `what` was read, in words.

    The prefixes that every key shares because a model was wrapped (DataParallel, compile, a trainer) are removed.
    """
    for key in WRAPPERS * 2:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    state = named_tensors(loaded, what)
    for prefix in PREFIXES * 2:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state
