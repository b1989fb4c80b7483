"""A model of classes over annotated images: in one process, or shared by several, to the same counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate.utils import gather_object

from distill.data import DecodeError
from distill.data.files.annotations import Numbering, read_annotation
from distill.data.files.reading import read_image
from distill.errors import UserError
from distill.evaluation.origin import digest
from distill.evaluation.segmentation import Segmentation
from distill.inference.evaluating import Processes
from distill.inference.network import Network
from teachers.model import MIN_SIDE


def segment_shared(
    network: Network,
    pairs: Sequence[tuple[str, Path, Path]],
    numbering: Numbering,
    into: Segmentation,
    processes: Processes,
    progress: Callable[[], object],
) -> Segmentation:
    """Add every pair of image and annotation to `into`, on every process; what cannot be read is skipped and named.

    Raises:
        UserError: If an annotation holds other classes than the model's, on every process.
    """
    refusal: UserError | None = None
    try:
        for name, image, annotation in pairs[processes.process_index :: processes.num_processes]:
            try:
                add(network, name, image, annotation, numbering, into)
            except DecodeError as error:
                into.skipped.append(str(error))
            progress()
    except UserError as error:  # raised on every process, or the others would wait for this one
        refusal = error
    whole = Segmentation(into.names, into.convention)
    for part, other in gather_object([(into, refusal)]):
        if other is not None:
            raise other
        whole.merge(part)
    return whole


def add(network: Network, name: str, image: Path, annotation: Path, numbering: Numbering, into: Segmentation) -> None:
    """Predict one image and count what of it is right."""
    pixels = read_image(image)
    if network.size is None and min(pixels.shape[:2]) < MIN_SIDE:
        raise DecodeError(image, f"less than {MIN_SIDE} pixels on a side; enlarge images by --size HxW")
    truth = read_annotation(annotation, pixels, numbering, len(into.names))
    into.add(name, network.images([pixels])[0], truth, numbering.step, digest(pixels, truth))
