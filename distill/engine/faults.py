"""What goes wrong inside a run: counted and recorded where it goes on, explained where it cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from distill.console import warn
from distill.data.sample import Batch
from distill.engine.device import undetermined
from distill.engine.processes import averages
from distill.engine.state import TrainState
from distill.engine.step import Moved
from distill.errors import UserError, out_of_memory
from distill.files import write_json

MAX_USELESS = 20  # steps in a row without a finite loss and gradient, after which a run gives up
MAX_RECORDS = 100  # of such steps; a run of fp16 has many


@dataclass
class FaultLog:
    """Keeps account of steps that were of no use and of files that could not be read.

    Args:
        folder: Where such steps are recorded, one file each.
        max_unreadable: Files that may be unreadable.
    """

    accelerator: Accelerator
    folder: Path
    max_unreadable: float = float("inf")
    warned: bool = False

    def note(self, state: TrainState, micro_batches: Sequence[Batch], values: dict[str, Tensor], moved: Moved) -> None:
        """Take the step that led to `state` into account.

        Raises:
            UserError: After too many useless steps in a row.
        """
        if moved.student:
            state.useless = 0
        if all(moved):
            return
        means = averages(self.accelerator, values)
        self._record(state.step, micro_batches, means)
        if not moved.student:
            state.skipped += 1
            state.useless += 1
            self._stop_if_useless(state, means)
        elif not self.warned:
            self.warned = True
            warn(
                f"step {state.step}: FAM and LAM had no finite loss and gradient (ghost {means.get('ghost', 0):.3g}) "
                f"and stay as they are, the student learns on; such steps and their images are named in {self.folder}"
            )

    def _record(self, step: int, micro_batches: Sequence[Batch], values: dict[str, float]) -> None:
        names = [name for batch in micro_batches for name in batch.names]
        images = gather_object([{"process": self.accelerator.process_index, "images": names}])
        if not self.accelerator.is_main_process or len(list(self.folder.glob("step-*"))) >= MAX_RECORDS:
            return
        content = {"step": step, "values": {key: f"{value:.6g}" for key, value in values.items()}, "batch": images}
        try:
            write_json(self.folder / f"step-{step:09d}.json", content)
        except OSError as error:
            warn(f"fault of step {step} not recorded: {error}")

    def _stop_if_useless(self, state: TrainState, values: dict[str, float]) -> None:
        if state.useless < MAX_USELESS:
            return
        losses = ", ".join(f"{key} {value:.3g}" for key, value in values.items())
        raise UserError(
            f"{state.useless} steps in a row up to step {state.step} had no finite loss and gradient ({losses}); the "
            f"weights were left as they were, and the images are named in {self.folder}. Lower optim.lr, set "
            "train.clip, or use train.precision=no"
        )

    def note_unreadable(self, state: TrainState, files: set[str]) -> None:
        """Take files into account that could not be read, those of every process.

        Raises:
            UserError: If there are too many.
        """
        state.faults |= set(gather_object(sorted(files)))
        if len(state.faults) > self.max_unreadable:
            named = ", ".join(sorted(state.faults)[:3])
            raise UserError(
                f"{len(state.faults)} samples cannot be read (more than data.max_faults allows), the first: {named}; "
                "repair or remove them, or raise data.max_faults"
            )


def new_faults(state: TrainState, micro_batches: Sequence[Batch]) -> set[str]:
    """Files that could not be read and of which `state` does not know."""
    return {fault for batch in micro_batches for fault in batch.faults} - state.faults


class ShortOfMemory(UserError):
    """A step for which memory did not suffice, in one of the run's processes."""


@contextmanager
def step_explained(batch: Batch, step: int) -> Iterator[None]:
    """Inside, what a device refuses is explained: how much memory was wanted and what to try, or which operation.

    Raises:
        ShortOfMemory: In its place.
        UserError: In place of an operation's refusal under `train.deterministic`.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if operation := undetermined(error):
            raise UserError(
                f"train.deterministic=true: {operation} has no deterministic form on this device; set it to false"
            ) from error
        if not (lack := out_of_memory(error)):
            raise
        count, _, height, width = batch.image.shape
        half = f"train.micro_batch={count // 2}, " if count > 1 else ""
        raise ShortOfMemory(
            f"{lack} in step {step + 1}: {count} images of {height}x{width} in one pass are too many; try "
            f"{half}train.precision=bf16, or a smaller data.crop"
        ) from error
