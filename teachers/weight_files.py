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
        path = weights_in(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    if first_bytes(path, 1) == b"{":
        return unwrap(read_shards(path), str(path))
    return unwrap(read_file(path), str(path))


def weights_in(folder: Path) -> Path:
    """The file with the weights of a model's folder."""
    for name in IN_FOLDERS:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"no checkpoint at {folder}: a folder must hold one of {', '.join(IN_FOLDERS)}")


def first_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def read_file(path: Path) -> Any:
    """What one file holds, in torch's zip, torch's older format or safetensors."""
    start = first_bytes(path, 64)
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
        if Path(name).name != name or not (index.parent / name).is_file():
            raise FileNotFoundError(f"{index} names the shard {name}, which does not lie beside it; download it too")
        state |= read_file(index.parent / name)
    if absent := sorted(places.keys() - state.keys()):
        raise ValueError(f"{index} names {len(absent)} tensors that its shards lack, such as {absent[0]}")
    return state


def unwrap(loaded: Any, what: str) -> StateDict:
    """The state dict inside what trainers save around it, with their key prefixes removed.

    Raises:
        ValueError: If it holds no tensors by name; `what` was given, in words.
    """
    for key in WRAPPERS * 2:
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
