"""Before fine-tuning: the scale and shift that turn a DPT's affine-invariant output into inverse depth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from distill.console import inform, progress_bar
from distill.data import TrainingSet, collate
from distill.engine.processes import on_main
from distill.engine.run_folder import CONFIG
from distill.errors import UserError
from distill.files import write_json
from distill.method import Alignment, average_alignment, fit_affine, within
from students import DPTStudent

FILE = "alignment.json"
MIN_PIXELS = 10  # of measured depth, below which an image decides nothing


def align(student: DPTStudent, samples: TrainingSet, accelerator: Accelerator, folder: Path) -> None:
    """Let a DPT student's output mean metres, as the training images say or as a resumed run's folder remembers."""
    kept = folder / FILE
    # Only beside the configuration is it this run's: one that was killed any earlier starts afresh.
    alignment = on_main(accelerator, lambda: remembered(kept) if (folder / CONFIG).is_file() else None)
    if alignment is None:
        alignment = fit_samples(student, samples, accelerator)
        if accelerator.is_main_process:
            inform(f"aligned: {alignment}")
            write_json(kept, asdict(alignment))
    student.set_conversion(alignment.scale, alignment.shift)


def remembered(path: Path) -> Alignment | None:
    """The alignment that a run kept; None where it is lost or damaged, and fitted again to the same."""
    try:
        content = json.loads(path.read_text())
        return Alignment(float(content["scale"]), float(content["shift"]), content["used"], content["left_out"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def fit_samples(student: DPTStudent, samples: TrainingSet, accelerator: Accelerator) -> Alignment:
    """Fit the raw output y of a DPT student to the inverse depth of every training image, and average the fits.

        scale * y + shift = 1 / depth       least squares in each image, then the mean over images (DPT, section 4.1)

    Images are taken whole and as they are, without augmentation, so the result depends on nothing random. Processes
    share them; each gets the same result.

    Raises:
        UserError: If no image has enough measured depth, or most of them contradict the output.
    """
    mine = range(accelerator.process_index, len(samples), accelerator.num_processes)
    student.to(accelerator.device).eval()
    fits = []
    with raw_output(student), torch.inference_mode(), progress_bar("aligning", len(mine)) as update:
        for index in mine:
            if fit := fit_sample(student, samples, index, accelerator.device):
                fits.append((index, *fit))
            update(advance=1)
    student.train()
    fits = sorted(gather_object(fits))
    if not fits:
        raise UserError(
            f"student.align: none of {len(samples)} training images has {MIN_PIXELS} pixels of depth between "
            f"{student.min_depth:g} and {student.max_depth:g} m; give images with depth, or scale and shift by hand"
        )
    try:
        return average_alignment([(scale, shift) for _, scale, shift in fits])
    except ValueError as error:
        raise UserError(f"student.align: {error}; is student.checkpoint a network for inverse depth?") from error


@contextmanager
def raw_output(student: DPTStudent) -> Iterator[None]:
    """Inside, a DPT gives what its network says, neither converted to depth nor limited."""
    decoder = student.decoder
    former = decoder.config
    decoder.config = replace(former, invert=False, min_depth=None, max_depth=None)
    try:
        yield
    finally:
        decoder.config = former


def fit_sample(
    student: DPTStudent, samples: TrainingSet, index: int, device: torch.device
) -> tuple[float, float] | None:
    """Scale and shift of one training image, None where too little of it was measured."""
    batch = collate([samples.unvaried(index)]).to(device)
    low, high = student.min_depth, student.max_depth
    assert low is not None
    assert high is not None
    valid = within(batch.depth, batch.valid, (low, high))
    if batch.faults or valid.sum() < MIN_PIXELS:
        return None
    scale, shift = fit_affine(student(batch.image), batch.depth.reciprocal(), valid)
    return scale.item(), shift.item()
