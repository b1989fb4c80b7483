"""The training loop, on one page. What a step computes is the method's business; this file knows none by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from distill.data.sample import Batch
from distill.engine.signals import SignalWatch
from distill.engine.tracking import StepProgress, Tracker
from distill.errors import Interrupted, UserError

MAX_SKIPPED = 20  # steps in a row whose gradients are not finite, after which a run gives up


@dataclass
class TrainState:
    """What a resumed run continues from, beside weights and generators. `best` is the lowest abs_rel so far."""

    step: int = 0
    best: float = float("inf")
    best_step: int = 0
    skipped: int = 0
    faults: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class LoopSettings:
    """How long a run is and how often it looks up. Steps are optimizer steps."""

    steps: int
    steps_per_epoch: int
    micro_batches: int = 1
    clip: float | None = None
    log_every: int = 20
    validate_every: int = 0
    checkpoint_every: int = 500
    checkpoint_minutes: float = 10.0
    max_faults: float = float("inf")


@dataclass
class Parts:
    """The objects of a run. `module` and `optimizer` are prepared by `accelerator`; `guide` asks the teacher.

    `watch` sees every record of training values that is logged.
    """

    accelerator: Accelerator
    module: nn.Module
    guide: Callable[[Batch], Any]
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    save: Callable[[], None]
    validate: Callable[[], None]
    tracker: Tracker
    watch: Callable[[dict[str, float]], None]


def train(parts: Parts, batches: Iterable[Batch], settings: LoopSettings, state: TrainState) -> None:
    """Carry a run from `state.step` to `settings.steps`, in place.

    Raises:
        Interrupted: After SIGINT or SIGTERM, with the state saved.
        UserError: If the loss keeps diverging, or too many samples cannot be read.
    """
    main = parts.accelerator.is_main_process
    saved = logged = time.monotonic()
    images, skipped_in_a_row = 0, 0
    with SignalWatch() as signals, StepProgress(settings.steps, state.step, "training", main) as progress:
        for micro_batches in grouped(batches, settings.micro_batches):
            values, moved = run_step(parts, micro_batches, settings, state)
            state.step += 1
            images += sum(len(batch) for batch in micro_batches) * parts.accelerator.num_processes
            skipped_in_a_row = 0 if moved else skipped_in_a_row + 1
            stop_if_hopeless(skipped_in_a_row, values, settings, state)
            last = state.step >= settings.steps
            if last or state.step % settings.log_every == 0:
                rate, logged, images = images / (time.monotonic() - logged), time.monotonic(), 0
                record = {key: float(value) for key, value in values.items()}
                record |= {"epoch": state.step / settings.steps_per_epoch, "images_per_second": rate}
                parts.tracker.log("train", state.step, record)
                parts.watch(record)
                progress.update(state.step, f"loss {record['loss']:.3f}, {rate:.1f} images/s")
            if settings.validate_every and (last or state.step % settings.validate_every == 0):
                parts.validate()
                logged, images = time.monotonic(), 0
            due = state.step % settings.checkpoint_every == 0
            late = time.monotonic() - saved > 60 * settings.checkpoint_minutes
            if last or due or late or signals.received:
                parts.save()
                saved = time.monotonic()
            if signals.received and not last:
                raise Interrupted(signals.received)
            if last:
                return


def run_step(
    parts: Parts, micro_batches: list[Batch], settings: LoopSettings, state: TrainState
) -> tuple[dict[str, Tensor], bool]:
    """One optimizer step: its mean values, and whether the weights moved.

    Losses over pixels are weighted by each micro-batch's share of the step's valid pixels, losses over images by its
    share of images, so that neither accumulation nor the number of processes changes what is minimised.
    """
    accelerator = parts.accelerator
    values: dict[str, Tensor] = {}
    shares = pixel_shares(accelerator, micro_batches)
    statistics = [buffer.clone() for buffer in parts.module.buffers()]  # BatchNorm's move before a loss is known
    for i, (batch, share) in enumerate(zip(micro_batches, shares, strict=True)):
        state.faults.update(batch.faults)
        batch = batch.to(accelerator.device)
        last = i == len(micro_batches) - 1
        with nullcontext() if last else accelerator.no_sync(parts.module):
            with accelerator.autocast():
                guide = parts.guide(batch)
                result = parts.module(batch.image, batch.depth, batch.valid, guide, state.step)
            loss = result.pixel_loss * share
            if result.image_loss is not None:
                loss = loss + result.image_loss / len(micro_batches)
            accelerator.backward(loss)
        for key, value in {"loss": result.loss.detach(), **result.logs}.items():
            values[key] = values.get(key, torch.zeros_like(value)) + value / len(micro_batches)
    norm = accelerator.clip_grad_norm_(parts.module.parameters(), settings.clip or float("inf"))
    finite = bool(torch.isfinite(norm))
    if finite or accelerator.scaler is not None:  # a scaler skips such steps itself and learns from them
        parts.optimizer.step()
    if not finite:
        for buffer, former in zip(parts.module.buffers(), statistics, strict=True):
            buffer.copy_(former)
    values |= {"grad_norm": norm, "lr": torch.tensor(parts.schedule.get_last_lr()[0])}
    state.skipped += not finite
    parts.optimizer.zero_grad(set_to_none=True)
    parts.schedule.step()
    return values, finite


def pixel_shares(accelerator: Accelerator, micro_batches: list[Batch]) -> list[float]:
    """Each micro-batch's share of the step's valid pixels, times the processes that gradients are averaged over."""
    if len(micro_batches) == 1 and accelerator.num_processes == 1:
        return [1.0]
    # An image without truth is taught by its teacher at every pixel, so it counts whole.
    counts = torch.stack([valid_pixels(batch.valid) for batch in micro_batches]).to(accelerator.device)
    total = accelerator.reduce(counts.sum(), reduction="sum")
    return (counts * accelerator.num_processes / total.clamp(min=1)).tolist()


def valid_pixels(valid: Tensor) -> Tensor:
    """Pixels of (B, 1, H, W) that a loss counts."""
    per_image = valid.flatten(1).sum(dim=1)
    return torch.where(per_image > 0, per_image, valid[0].numel()).sum().double()


def stop_if_hopeless(skipped: int, values: dict[str, Tensor], settings: LoopSettings, state: TrainState) -> None:
    """Raise UserError after too many useless steps or unreadable samples."""
    if skipped >= MAX_SKIPPED:
        said = ", ".join(f"{key} {float(value):.3g}" for key, value in values.items())
        raise UserError(
            f"{skipped} steps in a row up to step {state.step} had no finite gradient ({said}); the weights were left "
            "as they were. Lower optim.lr, set train.clip, or use train.precision=no"
        )
    if len(state.faults) > settings.max_faults:
        named = ", ".join(sorted(state.faults)[:3])
        raise UserError(
            f"{len(state.faults)} samples cannot be read (more than data.max_faults allows), the first: {named}; "
            "repair or remove them, or raise data.max_faults"
        )


def grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Lists of `size` micro-batches, one list a step."""
    iterator = iter(batches)
    while group := list(islice(iterator, size)):
        yield group
