"""Checkpoints: written aside and renamed, verified when read, rotated."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distill.engine.files import sync_folder, write_atomically

STATE, DIGEST = "state.pt", "state.sha256"


def random_states() -> dict[str, Any]:
    """The state of every random generator of this process, in types that a safe loader reads."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - libraries still draw from it
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": [version, list(words), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Put every generator where `random_states` found it."""
    torch.set_rng_state(states["torch"])
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])


class Checkpoints:
    """The `checkpoints/` folder of a run: one folder per step, of which the newest `keep` are kept."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep

    def paths(self) -> list[Path]:
        """Whole checkpoints, newest first."""
        return sorted((p for p in self.folder.glob("step-*") if p.is_dir()), reverse=True)

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write a state of tensors and plain values; a crash at any moment leaves the older ones untouched."""
        self.folder.mkdir(parents=True, exist_ok=True)
        final, part = self.folder / f"step-{step:09d}", self.folder / f".part-{step:09d}"
        for old in self.folder.glob(".part-*"):
            shutil.rmtree(old, ignore_errors=True)
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        data = buffer.getvalue()
        write_atomically(part / STATE, data)
        write_atomically(part / DIGEST, hashlib.sha256(data).hexdigest())
        if final.exists():
            shutil.rmtree(final)
        os.rename(part, final)
        sync_folder(self.folder)
        # Later ones are damaged: the run went back behind them. They must not push this one out.
        paths = self.paths()
        for old in paths[: paths.index(final)] + paths[paths.index(final) + self.keep :]:
            shutil.rmtree(old, ignore_errors=True)
        return final

    def load(self) -> dict[str, Any] | None:
        """The newest state that is whole, None where there is none; a damaged one is named and passed over."""
        for path in self.paths():
            try:
                data = (path / STATE).read_bytes()
                if hashlib.sha256(data).hexdigest() != (path / DIGEST).read_text().strip():
                    raise ValueError("its checksum does not match")
                return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            except (OSError, ValueError, RuntimeError, EOFError) as error:
                warnings.warn(f"checkpoint {path} is damaged ({error}); falling back to the one before", stacklevel=2)
        return None
