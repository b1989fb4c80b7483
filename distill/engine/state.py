"""Everything that a resumed run continues from, as one mapping of tensors and plain values."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate.optimizer import AcceleratedOptimizer
from pydantic import NonNegativeInt, TypeAdapter
from torch import nn
from torch.amp import GradScaler
from torch.optim.lr_scheduler import LRScheduler

from distill.errors import UserError

StateDict = dict[str, Any]  # tensors and plain values by name, as a safe loader reads them


@dataclass
class TrainState:
    """How far a run is, and what became of it. `best` is the least cost so far (abs_rel), at step `best_step`.

    Attributes:
        validated: The step of the last validation that was not cut short.
        skipped: Steps without a finite loss and gradient, `useless` of them in a row up to this one.
        faults: Files that could not be read.
    """

    step: NonNegativeInt = 0
    best: float = float("inf")
    best_step: int = 0
    validated: int = 0
    skipped: int = 0
    useless: int = 0
    faults: set[str] = field(default_factory=set)


STATE = TypeAdapter(TrainState)


@dataclass
class Resumable:
    """What changes while a run goes on, and `identity`: what has to be the same when it is continued.

    The teacher never changes and is not among it; its fingerprint is part of the identity. `seen` are digests of what
    may change between a stop and a continuation, which then should be said.
    """

    method: nn.Module
    optimizer: AcceleratedOptimizer
    schedule: LRScheduler
    scaler: GradScaler | None  # of fp16
    state: TrainState
    identity: Mapping[str, str | None]
    seen: Mapping[str, str] = field(default_factory=dict)
    average: nn.Module | None = None  # of the student's weights

    def capture(self) -> StateDict:
        """The state of the run as it is now."""
        return {
            "module": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "random": random_states(),
            "state": asdict(self.state) | {"faults": sorted(self.state.faults)},
            "identity": {**self.identity, **self.seen},
            "average": None if self.average is None else self.average.state_dict(),
        }

    def restore(self, saved: StateDict) -> list[str]:
        """Put everything where a captured state left it, and return what of `seen` was another then.

        Raises:
            UserError: If it was captured from another run, or by another version of this program.
        """
        self._refuse_others(saved)
        try:
            self._put_back(saved)
        # A state from elsewhere may hold anything under the right names.
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            words = " ".join(str(error).split())
            raise UserError(f"the checkpoint does not fit this run: {words}; choose another --output") from error
        former = saved["identity"]  # of an earlier version it does not hold all of them
        return [what for what, digest in self.seen.items() if former.get(what, digest) != digest]

    def _put_back(self, saved: StateDict) -> None:
        state = STATE.validate_python(saved["state"])
        learnt = dict(self.method.named_parameters())  # statistics of FAM may be lost where the student goes on
        for key, value in saved["module"].items():
            if (key in learnt or key.startswith("student.")) and not value.isfinite().all():
                raise ValueError(f"{key} holds NaN or infinity")
        self.method.load_state_dict(saved["module"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        if self.scaler is not None and saved["scaler"] is not None:
            self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        restore_random_states(saved["random"])
        vars(self.state).update(vars(state))

    def _refuse_others(self, saved: StateDict) -> None:
        parts = {"module", "optimizer", "schedule", "scaler", "random", "state", "identity"}
        whole = isinstance(saved, dict) and saved.keys() - {"average"} == parts
        whole = whole and all(isinstance(saved[part], dict) for part in parts - {"scaler"})
        if not whole or saved["state"].keys() != asdict(self.state).keys():
            parts_there = ", ".join(sorted(map(str, saved))) if isinstance(saved, dict) else type(saved).__name__
            raise UserError(
                f"the checkpoint holds {parts_there}, not what this version of distill continues from: another wrote "
                "it; use that one, or choose another --output"
            )
        for what, value in self.identity.items():
            if saved["identity"].get(what) != value:
                raise UserError(
                    f"the run was started with another {what} ({saved['identity'].get(what)}, now {value}): give the "
                    "former one, or choose another --output"
                )


def random_states() -> StateDict:
    """The state of every random generator of this process, in types that a safe loader reads."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - libraries still draw from it
    return {
        "torch": torch.get_rng_state(),  # of the CPU; a GPU's is seeded anew for every micro-batch
        "python": [version, list(words), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
    }


def restore_random_states(states: StateDict) -> None:
    """Put every generator where `random_states` found it."""
    torch.set_rng_state(states["torch"])
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
