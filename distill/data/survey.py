"""What a half of a data set is like on this disk: which files cannot be read, their sizes and bits, how deep it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from distill.data.files.pairs import Contents, Pair
from distill.data.files.probe import Facts, probe_all
from distill.data.files.reading import DecodeError
from distill.data.sample import DepthDataset
from distill.data.truth import MIN_DEPTH, evenly
from distill.errors import UserError

MOST_READ = 3  # suspicious pairs that are read for their message

Progress = Callable[[int, int], object]  # files done, of how many


@dataclass(frozen=True)
class Depths:
    """Depth maps that were read: metres of the measured pixels, and shares of pixels."""

    maps: int
    nearest: float
    median: float
    farthest: float
    measured: float  # of all pixels
    in_range: float  # of the measured ones


@dataclass(frozen=True)
class Survey:
    """What was seen of some pairs.

    Args:
        files: How many files they are.
        faults: Why a file cannot be read, by path.
        sizes: Height and width of the images, counted, where they are told quickly.
        bits: Bits of the depth maps, counted, likewise.
        examples: Which pair is the first of each size.
        marks: The mark of every image that can be read, by its path: copies share one.
        wrong: Why pairs cannot be used although their files can be read, at most a few.
        depths: What sampled depth maps hold; None where none was read.
    """

    files: int
    faults: dict[str, str]
    sizes: Counter[tuple[int, int]]
    bits: Counter[int]
    examples: dict[tuple[int, int], int]
    marks: dict[str, bytes]
    wrong: tuple[str, ...]
    depths: Depths | None


def survey(contents: Contents, *, samples: int = 0, progress: Progress | None = None) -> Survey:
    """Look at the ends of every file that a data set consists of, and read `samples` of its depth maps."""
    pairs = contents.usable
    paths = dict.fromkeys(path for pair in pairs for path in (pair.image, pair.depth) if path)
    facts = probe_all(paths, (lambda done: progress(done, len(paths))) if progress else None)
    sizes = [(index, size) for index, pair in enumerate(pairs) if (size := facts[pair.image].size)]
    suspicious = [pair for pair in pairs if _is_suspicious(pair, facts)]
    read, wrong = read_some(contents, [*suspicious[:MOST_READ], *evenly(pairs, samples)])
    return Survey(
        files=len(paths),
        faults={path: fact.fault for path, fact in facts.items() if fact.fault},
        sizes=Counter(size for _, size in sizes),
        bits=Counter(bits for pair in pairs if pair.depth and (bits := facts[pair.depth].bits)),
        examples={size: index for index, size in reversed(sizes)},
        marks={pair.image: mark for pair in pairs if not pair.index and (mark := facts[pair.image].mark)},
        wrong=tuple(wrong),
        depths=measure(read, contents.max_depth) if samples else None,
    )


def _is_suspicious(pair: Pair, facts: dict[str, Facts]) -> bool:
    """Whether a pair's depth is a picture, or of another size than its image."""
    if pair.depth is None or pair.depth == pair.image or facts[pair.image].fault or facts[pair.depth].fault:
        return False
    image, depth = facts[pair.image], facts[pair.depth]
    picture = depth.channels is not None and (depth.bits, depth.channels) != (16, 1)
    return picture or (image.size is not None and depth.size is not None and image.size != depth.size)


def read_some(contents: Contents, pairs: Sequence[Pair]) -> tuple[list[np.ndarray], list[str]]:
    """The depth maps of some pairs in metres, and why others cannot be used."""
    read: list[np.ndarray] = []
    wrong: list[str] = []
    for pair in {id(pair): pair for pair in pairs}.values():
        try:
            read.append(contents.read(pair)[1])
        except (DecodeError, UserError) as error:
            wrong.append(str(error))
    return read, wrong


def measure(maps: Sequence[np.ndarray], max_depth: float) -> Depths | None:
    """What depth maps (H, W) in metres hold; None where nothing is measured in any."""
    depth = np.concatenate([one[one > 0] for one in maps]) if maps else np.zeros(0)
    if not depth.size:
        return None
    return Depths(
        maps=len(maps),
        nearest=float(depth.min()),
        median=float(np.median(depth)),
        farthest=float(depth.max()),
        measured=depth.size / sum(one.size for one in maps),
        in_range=float(((depth > MIN_DEPTH) & (depth < max_depth)).mean()),
    )


# -------------------------------------------------------------------------------------------------- before the training


def check_files(dataset: DepthDataset, max_faults: float, progress: Progress | None = None) -> Survey | None:
    """Refuse a set of which files cannot be used, by a look at every one of them; None where there are none.

    Args:
        max_faults: Share of samples that may be unreadable.

    Raises:
        UserError: If more are, or a depth map is none, or does not fit its image.
    """
    contents = dataset.contents
    if contents is None:
        return None
    found = survey(contents, progress=progress)
    if found.wrong:
        raise UserError(found.wrong[0])
    if len(found.faults) > max_faults * len(dataset):
        first = "; ".join(f"{path} ({why})" for path, why in sorted(found.faults.items())[:3])
        raise UserError(
            f"{len(found.faults)} samples cannot be read (more than data.max_faults allows), the first: {first}; "
            "repair or remove them, or raise data.max_faults"
        )
    return found


def check_apart(train: DepthDataset, test: DepthDataset) -> None:
    """Refuse halves that share images: results on them would say nothing."""
    halves = train.contents, test.contents
    if halves[0] is not None and halves[1] is not None and (shared := shared_images(halves[0], halves[1])):
        raise UserError(
            f"{len(shared)} of {len(halves[1].usable)} test images are training images as well, such as {shared[0]}: "
            f"take them out of {halves[0].source} or {halves[1].source}"
        )


def check_once(test: DepthDataset) -> None:
    """Refuse to evaluate on a list that names an image twice: it would count twice in the mean."""
    contents = test.contents
    if contents and (repeated := contents.repeated):
        raise UserError(
            f"{len(repeated)} lines of {contents.source} name an image a second time, such as {repeated[0]}, which "
            "would count twice: drop them"
        )


def shared_images(train: Contents, test: Contents) -> list[str]:
    """Names of the test images that are training images as well."""
    seen = {(pair.image, pair.index) for pair in train.usable}
    return [pair.name for pair in test.usable if (pair.image, pair.index) in seen]


def copies(train: Survey, test: Survey) -> list[tuple[str, str]]:
    """Test images of which a copy under another path is among the training images: both paths."""
    seen = {mark: path for path, mark in train.marks.items()}
    pairs = ((path, seen.get(mark)) for path, mark in test.marks.items())
    return [(path, copy) for path, copy in pairs if copy is not None and copy != path]


def shared_scenes(train: Contents, test: Contents) -> list[str]:
    """Drives and rooms that both halves show, sorted."""
    return sorted({pair.scene for pair in train.usable} & {pair.scene for pair in test.usable} - {""})
