"""The training loop, on one page. What a step computes is the method's business; this file knows none by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from distill.console import StepProgress
from distill.data.sample import Batch
from distill.engine.faults import FaultLog, memory_explained
from distill.engine.processes import averages, largest
from distill.engine.signals import SignalWatch
from distill.engine.state import TrainState
from distill.engine.step import Learner, run_step
from distill.engine.tracking import Tracker
from distill.errors import Interrupted


@dataclass(frozen=True)
class LoopSettings:
    """How long a run is and how often it logs, validates and saves. Steps are optimizer steps."""

    steps: int
    steps_per_epoch: int
    micro_batches: int = 1
    log_every: int = 20
    validate_every: int = 0
    checkpoint_every: int = 500
    checkpoint_minutes: float = 10.0

    def due(self, every: int, step: int) -> bool:
        """Whether something that is done at every so many steps, and at the end, is done after this one."""
        return every > 0 and step > 0 and (step % every == 0 or step >= self.steps)


@dataclass
class Parts:
    """The objects of a run.

    Attributes:
        save: Writes a checkpoint and returns whether it could.
        validate: Evaluates the student and notes that in the state, unless `interrupted()` becomes true meanwhile.
        watch: Sees every record of training values that is logged.
    """

    learner: Learner
    save: Callable[[], bool]
    validate: Callable[[Callable[[], bool]], None]
    tracker: Tracker
    watch: Callable[[dict[str, float]], None]
    faults: FaultLog


def train(parts: Parts, batches: Iterable[Batch], settings: LoopSettings, state: TrainState) -> None:
    """Carry a run from `state.step` to `settings.steps`, in place.

    Raises:
        Interrupted: After SIGINT or SIGTERM, with the state saved.
        UserError: If the loss keeps diverging, or too many samples cannot be read.
    """
    accelerator, logged, images = parts.learner.accelerator, time.monotonic(), 0
    with SignalWatch() as signals, StepProgress(settings.steps, state.step, "training") as progress:
        between_steps = BetweenSteps(parts, settings, state, signals)
        between_steps()  # a validation that a signal cut short comes before the next step
        for micro_batches in grouped(batches, settings.micro_batches):
            with memory_explained(micro_batches[0], state.step):
                values, moved = run_step(parts.learner, micro_batches, state.step)
            state.step += 1
            images += sum(len(batch) for batch in micro_batches) * accelerator.num_processes
            parts.faults.note(state, micro_batches, values, moved)
            if settings.due(settings.log_every, state.step):
                rate, logged, images = images / (time.monotonic() - logged), time.monotonic(), 0
                record = averages(accelerator, values)
                record |= {"epoch": state.step / settings.steps_per_epoch, "images_per_second": rate}
                parts.tracker.log("train", state.step, record)
                parts.watch(record)
                progress.update(state.step, f"loss {record['loss']:.3f}, {rate:.1f} images/s")
            if between_steps():
                logged, images = time.monotonic(), 0
            if state.step >= settings.steps:
                return


@dataclass
class BetweenSteps:
    """What happens between two steps: a validation, a checkpoint, the end that a signal asks for."""

    parts: Parts
    settings: LoopSettings
    state: TrainState
    signals: SignalWatch

    def __post_init__(self) -> None:
        self.saved_step, self.saved_time = self.state.step, time.monotonic()

    def __call__(self) -> bool:
        """Do what is due, and say whether it took long."""
        state, settings = self.state, self.settings
        validating = settings.due(settings.validate_every, state.step) and state.validated < state.step
        if validating:
            self.parts.validate(lambda: self.signals.received is not None)
        late = time.monotonic() - self.saved_time > 60 * settings.checkpoint_minutes
        due = late or settings.due(settings.checkpoint_every, state.step)
        wish = [self.signals.save_asked or (due and state.step > self.saved_step), self.signals.received or 0]
        wanted, number = largest(self.parts.learner.accelerator, wish)
        if wanted or number:
            self.save(int(number))
        return validating

    def save(self, number: int) -> None:
        """Save the state, and stop if there is the number of a signal."""
        written = self.parts.save()
        self.saved_step, self.saved_time, self.signals.save_asked = self.state.step, time.monotonic(), False
        if number:
            raise Interrupted(number) if written else Interrupted(number, state="the state could not be saved")


def grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Lists of `size` micro-batches, one list a step."""
    iterator = iter(batches)
    while group := list(islice(iterator, size)):
        yield group
