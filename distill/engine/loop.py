"""The training loop, on one page. What a step computes is the method's business; this file knows none by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import NamedTuple

from distill.console import StepProgress, warn
from distill.data.sample import Batch
from distill.engine.faults import FaultLog, ShortOfMemory, new_faults, step_explained
from distill.engine.processes import averages, exchange
from distill.engine.signals import SignalWatch
from distill.engine.state import TrainState
from distill.engine.step import Learner, count_pixels, run_step
from distill.engine.tracking import Tracker
from distill.errors import Interrupted, UserError

BREATH = 60.0  # seconds at most between attempts to save the end of a run


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


def train(parts: Parts, batches: Iterable[Batch], settings: LoopSettings, state: TrainState) -> bool:
    """Carry a run from `state.step` to `settings.steps`, in place, and return whether its end is saved.

    Raises:
        Interrupted: After SIGINT or SIGTERM, with the state saved.
        UserError: If the loss keeps diverging, or data cannot be used; with the state saved.
    """
    accelerator, logged, images = parts.learner.accelerator, time.monotonic(), 0
    batches = iter(batches)
    with (
        SignalWatch() as signals,
        StepProgress(settings.steps, state.step, "training") as progress,
        BetweenSteps(parts, settings, state, signals) as between_steps,
    ):
        while True:
            micro_batches, fault = fetch(batches, settings.micro_batches) if state.step < settings.steps else ([], None)
            counts = count_pixels(parts.learner, micro_batches)
            unread = new_faults(state, micro_batches)
            # Also before the first step: a validation that a signal cut short is made up for.
            agreed = between_steps(fault, bool(unread), counts.total)
            if agreed.validated:
                logged, images = time.monotonic(), 0
            if not micro_batches:
                return between_steps.saved is not False
            with step_explained(micro_batches[0], state.step):
                values, moved = run_step(parts.learner, micro_batches, state.step, counts._replace(total=agreed.pixels))
            state.step += 1
            images += sum(len(batch) for batch in micro_batches) * accelerator.num_processes
            if agreed.unread:
                parts.faults.note_unreadable(state, unread)
            parts.faults.note(state, micro_batches, values, moved)
            if settings.due(settings.log_every, state.step):
                rate, logged, images = images / (time.monotonic() - logged), time.monotonic(), 0
                record = averages(accelerator, values)
                record |= {"epoch": state.step / settings.steps_per_epoch, "images_per_second": rate}
                parts.tracker.log("train", state.step, record)
                parts.watch(record)
                progress.update(state.step, f"loss {record['loss']:.3f}, {rate:.1f} images/s")


def fetch(batches: Iterator[Batch], size: int) -> tuple[list[Batch], Exception | None]:
    """The micro-batches of one step, none at the end; or what is wrong, which all processes have to learn of."""
    try:
        return list(islice(batches, size)), None
    except Exception as error:
        return [], error


class Agreed(NamedTuple):
    """What every process knows of all before a step: whether one has met new unreadable files, pixels that count."""

    validated: bool
    unread: bool
    pixels: float


@dataclass
class BetweenSteps:
    """What happens between two steps: a validation, a checkpoint, the end that a signal asks for.

    All that processes have to learn of each other for a step goes into one exchange here. Whether its gradient is
    finite they need not ask: it is the same for all.

    Left by an exception, it saves what was done since the last checkpoint, and the exception says so.

    Attributes:
        saved: Whether the last attempt to save succeeded, None before the first.
    """

    parts: Parts
    settings: LoopSettings
    state: TrainState
    signals: SignalWatch
    saved: bool | None = None

    def __enter__(self) -> BetweenSteps:
        self.saved_step, self.saved_time = self.state.step, time.monotonic()
        self.safe_since, self.agreed = self.saved_time, self.parts.learner.accelerator.num_processes == 1
        return self

    def __call__(self, fault: Exception | None, unread: bool, pixels: float) -> Agreed:
        """Do what is due, and share what this process knows of the next step.

        Raises:
            Exception: `fault`, or that another process has one.
        """
        state, settings = self.state, self.settings
        validating = settings.due(settings.validate_every, state.step) and state.validated < state.step
        if validating:
            self.parts.validate(lambda: self.signals.received is not None)
        late = time.monotonic() - self.saved_time > 60 * settings.checkpoint_minutes
        due = late or settings.due(settings.checkpoint_every, state.step)
        wish = [self.signals.save_asked or (due and state.step > self.saved_step), self.signals.received or 0]
        known = exchange(self.parts.learner.accelerator, [*wish, fault is not None, unread, pixels])
        wanted, number, faulty, unread, _ = known.amax(dim=0).tolist()
        if faulty:
            self.agreed = True
            raise fault or UserError("another process of this run cannot go on, and says why")
        if wanted or number:
            self.save(int(number))
        return Agreed(validating, bool(unread), known[:, -1].sum().item())

    def save(self, number: int = 0) -> None:
        """Save the state, and stop if there is the number of a signal."""
        self.saved_step, self.saved, self.signals.save_asked = self.state.step, None, False
        self.saved = self.parts.save()
        if not (self.saved or number) and self.state.step >= self.settings.steps:
            self.saved = self.wait_for_room()
        self.saved_time = time.monotonic()
        if self.saved:
            self.safe_since = self.saved_time
        if number:
            raise Interrupted(number) if self.saved else Interrupted(number, state="the state could not be saved")

    def wait_for_room(self) -> bool:
        """Try to save again, for as long as the steps took that would be lost, and return whether it succeeded."""
        begun = time.monotonic()
        worth = begun - self.safe_since
        warn(f"training is over and not saved: trying again for {worth:.0f} seconds. Make room, or stop with Ctrl-C")
        while True:
            time.sleep(min(worth / 10, BREATH))
            wish = [self.signals.received or 0, time.monotonic() - begun > worth]
            number, over = exchange(self.parts.learner.accelerator, wish).amax(dim=0).tolist()
            if self.parts.save():
                return True
            if number:
                raise Interrupted(int(number), state="the state could not be saved")
            if over:
                return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, Interrupted):
            return
        # Of several processes all must come here, or one would wait for the others for ever.
        if not self.agreed and (isinstance(error, ShortOfMemory) or not isinstance(error, UserError)):
            return
        if self.state.step > self.saved_step:
            self.save()
        if self.saved is None:
            return
        outcome = "is saved: then continue with --resume" if self.saved else "could not be saved"
        outcome = f"The state of step {self.state.step} {outcome}"
        if isinstance(error, UserError):
            raise UserError(f"{error}. {outcome}") from error
        warn(outcome)
