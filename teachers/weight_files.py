"""Reading weights from files and folders: by content, never by name, and without running code."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from safetensors.torch import load_file
from torch import Tensor

StateDict = dict[str, Tensor]
Json = dict[str, Any]  # an object of a JSON file, of which nobody knows what it holds until it is looked at

# Where trainers keep the weights: those that were trained before their running mean, where a file has both.
WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict", "net", "network", "module", "params", "weights")
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema")
PREFIXES = ("module.", "model.", "net.", "network.", "student.", "teacher.")
# What programs put around parts: compile, FSDP and checkpointing wherever it lies, DataParallel around the two halves.
AROUND_PARTS = r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|(?<=^..coder\.)module)\."
COUNTERS = {"n_averaged"}  # of torch's AveragedModel, beside its copy of the network
# Plain values that trainers save beside the weights. Files may name these classes, and get an empty object for each.
NUMPY = [f"numpy.{core}.multiarray.{name}" for core in ("_core", "core") for name in ("scalar", "_reconstruct")]
PATHS = [f"pathlib{sub}.{name}" for sub in ("", "._local") for name in ("PosixPath", "WindowsPath", "Path")]
HARMLESS = ("argparse.Namespace", "types.SimpleNamespace", "numpy.dtype", "numpy.ndarray", *NUMPY, *PATHS)
LARGEST_JSON = 2**26  # bytes of an index or a configuration
INFLATED = 10  # times its size, above which a compressed file holds no weights
# What files that are called like weights often are, by their first bytes.
NO_WEIGHTS = {
    b"version https://git-lfs": "a git-lfs pointer, not the weights; fetch them with git lfs pull",
    b"<": "a web page or XML, not the weights; download the file that the page is about",
    b"\x89HDF": "an HDF5 file, such as Keras writes; expected a network of PyTorch's",
    b"\x1f\x8b": "compressed by gzip; unpack it first",
}
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
    return own_values(unwrap(read_shards(path) if start[:1] == b"{" else read_file(path, start), str(path)), path)


def read_file(path: Path, start: bytes) -> object:
    """What one file holds, in torch's zip, torch's older format or safetensors; `start` are its first bytes."""
    if other := next((words for begin, words in NO_WEIGHTS.items() if start.startswith(begin)), None):
        raise ValueError(f"{path} is {other}")
    # torch's zip can be mapped into memory, the format before it cannot; torch opens .safetensors in its own way.
    mapped = start.startswith(b"PK\x03\x04") and is_stored(path) and path.suffix != ".safetensors"
    try:
        if start[8:9] == b"{":  # after the header's length, safetensors begin with JSON
            return load_file(path)
        with path.open("rb") as file, torch.serialization.safe_globals([(Ignored, name) for name in HARMLESS]):
            return torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        if (named := re.search(r"GLOBAL ([\w.]+)", str(error))) is None:
            raise ValueError(f"{path} is not a readable checkpoint (damaged); download or copy it again") from error
        raise ValueError(
            f"{path} is not a plain checkpoint: its {named[1]} contains code, which is never run; expected a state "
            "dict as of torch.save(model.state_dict(), FILE), or a .safetensors file"
        ) from error
    except Exception as error:  # on damaged bytes the readers raise IndexError, struct.error and more
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} is not a readable checkpoint ({reason[:120]}); download or copy it again") from error


def is_stored(path: Path) -> bool:
    """Whether a zip holds its members uncompressed, as torch writes them: others, mapped, would be read as numbers."""
    try:
        with ZipFile(path) as file:
            members = file.infolist()
    except (BadZipFile, ValueError):
        return True  # torch finds its own words
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise ValueError(f"{path} is a TorchScript program; open it by torch.jit.load and save its state_dict()")
    if (unpacked := sum(member.file_size for member in members)) > INFLATED * path.stat().st_size:
        raise ValueError(f"{path} would unpack to {unpacked} bytes, which weights never do; expected a state dict")
    return all(member.compress_type == ZIP_STORED for member in members)


def read_json(path: Path) -> Json:
    """The object in a JSON file.

    Raises:
        ValueError: If it holds none, or more than anybody would write.
    """
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"more than {LARGEST_JSON} bytes")
        content: Json = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError(f"a {type(content).__name__}, expected an object")
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is no readable JSON ({error})") from error
    return content


def read_shards(index: Path) -> StateDict:
    """The tensors of a sharded checkpoint, by the index that says which file holds which."""
    try:
        places: dict[str, str] = read_json(index)["weight_map"]
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
        keys = ", ".join(repr(key)[:40] for key, _ in list(entries)[:8])
        raise ValueError(
            f"{what} holds no weights, expected a state dict (a mapping from names to tensors)"
            + (f", got {keys}; save the one that is meant by itself" if keys else "")
        )
    return tensors


def own_values(state: StateDict, path: Path) -> StateDict:
    """The tensors of a file, which must hold a value for every element: others claim more memory than they are."""
    for key, value in state.items():
        if value.layout != torch.strided or value.is_meta or value.nbytes > value.untyped_storage().nbytes():
            raise ValueError(f"{path}: {key} has no value of its own for every element, as weights have; save it anew")
    return state


def unwrap(loaded: object, what: str) -> StateDict:
    """The state dict inside what trainers save around it; `what` was read, in words.

    What wraps a model (DataParallel, compile, FSDP, a trainer) is removed from the names.
    """
    for _ in range(3):
        loaded = inner(loaded)
    state = {key: value for key, value in named_tensors(loaded, what).items() if key not in COUNTERS}
    state = without(AROUND_PARTS, state)
    for prefix in PREFIXES * 2:
        if 2 * sum(key.startswith(prefix) for key in state) > len(state):
            state = without(f"^{re.escape(prefix)}", state)
    return state


def inner(loaded: object) -> object:
    """What a trainer wrapped, by a usual name or as the only weights in there; all of it where nothing is wrapped."""
    entries = loaded if isinstance(loaded, Mapping) else {}
    wrapped = {key: value for key, value in entries.items() if holds_weights(value)}
    name = next((name for name in (*WRAPPERS, *AVERAGED) if name in wrapped), None)
    if name is None and len(wrapped) == 1 and not any(isinstance(value, Tensor) for value in entries.values()):
        name = next(iter(wrapped))
    return loaded if name is None else wrapped[name]


def holds_weights(value: object, levels: int = 3) -> bool:
    """Whether named tensors lie in a mapping, at most so many levels deep."""
    return isinstance(value, Mapping) and any(
        isinstance(key, str) and (isinstance(one, Tensor) or (levels > 1 and holds_weights(one, levels - 1)))
        for key, one in value.items()
    )


def without(pattern: str, state: StateDict) -> StateDict:
    """The same tensors, with what matches left out of their names; as they are where two would get one name."""
    renamed = {re.sub(pattern, "", key): value for key, value in state.items()}
    return renamed if len(renamed) == len(state) else state


class Ignored:
    """Stands for a plain value that a checkpoint holds beside its weights; takes whatever it is made of, keeps nothing.

    The classes themselves would be made of what a stranger wrote: NumPy's alone can claim any amount of memory.
    """

    def __new__(cls, *_: object) -> Ignored:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass
