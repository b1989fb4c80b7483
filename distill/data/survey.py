"""What a half of a data set is like on this disk, and the checks of its files and ground truth before a run."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

import numpy as np

from distill.data.files.pairs import Contents, identity
from distill.data.files.probing import IMAGE_SUFFIXES, Progress, probe_all
from distill.data.files.reading import DecodeError, NotDepth
from distill.data.sample import DepthDataset
from distill.errors import UserError

MIN_DEPTH = 1e-3  # metres; what is not farther counts as not measured, in training and in evaluation
SAMPLES = 32  # pairs that are read of each half
MOST_NAMED = 3  # files that a message lists
LEAST_IN_RANGE = 0.01  # share of the measured pixels that lie below the cap in any unit but a wrong one
NEAR = 0.02  # share of the cap within which depth is hardly all
MOSTLY = 0.5  # share of the measured pixels that should lie below the cap
USUAL_SCALES = (100, 256, 1000, 5000, 10000)  # units per metre that depth PNGs come in
FLOAT_SCALES = (100, 1000)  # and floating-point numbers, where these are no metres

Item = TypeVar("Item")


@dataclass(frozen=True)
class Depths:
    """Depth maps that were read: metres of the measured pixels, and shares of pixels."""

    maps: int
    nearest: float
    median: float
    farthest: float
    far: float  # of 100 pixels, 99 are not farther
    measured: float  # of all pixels
    in_range: float  # of the measured ones


@dataclass(frozen=True)
class Survey:
    """What was seen of some pairs."""

    files: int  # how many they are
    faults: dict[str, str]  # why a file cannot be read, by path
    sizes: Counter[tuple[int, int]]  # height and width of the images, counted, of those whose size is known
    bits: Counter[int]  # of the depth maps, counted, likewise
    examples: dict[tuple[int, int], int]  # which pair is the first of each size
    marks: dict[str, bytes]  # of every image that can be read, by its path: copies share one
    prints: dict[str, str]  # of the list, its order and its files: digests that change with them
    wrong: tuple[str, ...]  # why pairs cannot be used although their files can be read, at most a few
    depths: Depths | None  # what sampled depth maps hold; None where none was read


def survey(contents: Contents, *, samples: int = SAMPLES, progress: Progress | None = None) -> Survey:
    """Look at the ends of every file that a data set consists of, and read `samples` of its pairs."""
    pairs = contents.usable
    facts = probe_all((path for pair in pairs for path in pair.files), progress)
    faults = {path: fact.fault for path, fact in facts.items() if fact.fault}
    sizes = {index: size for index, pair in enumerate(pairs) if (size := facts[pair.image].size)}
    wrong = [  # of pictures: a frame of another kind may hold its depth as well
        f"{pair.image} is a depth map (one channel of {facts[pair.image].bits} bits), expected an image: name the image"
        for pair in pairs
        if facts[pair.image].like_depth and os.path.splitext(pair.image)[1].lower() in IMAGE_SUFFIXES
    ]
    suspicious: dict[object, tuple[bool, int]] = {}  # of every kind of odd pair one, and whether its sizes agree
    for index, pair in enumerate(pairs):
        paths = pair.image, pair.depth, pair.mask, pair.label and pair.label.path
        image, depth, mask, label = (facts[path or pair.image] for path in paths)
        fits = image.size in (None, depth.size) and mask.size in (None, depth.size)
        maps = [one for one in (depth, label) if one is not image and one.size]
        sound = fits and all(one.like_depth and image.size in (None, one.size) for one in maps)
        if maps and not image.fault and not sound:
            suspicious.setdefault((image.size, depth, mask.size, label), (fits, index))
    depths: list[np.ndarray] = []
    odd = [index for _, index in sorted(suspicious.values())]
    for index in dict.fromkeys((*odd, *evenly(range(len(pairs)), samples))):
        if faults.keys() & {*pairs[index].files}:
            continue
        try:
            picture, values = contents.read(pairs[index])
            contents.read_label(pairs[index], picture)
        except (NotDepth, UserError) as error:
            wrong.append(str(error))
        except DecodeError as error:
            faults[error.path] = error.why
        else:
            depths.append(values)
            sizes.setdefault(index, picture.shape[:2])
    return Survey(
        files=len(facts),
        faults=faults,
        sizes=Counter(sizes.values()),
        bits=Counter(bits for pair in pairs if pair.depth and (bits := facts[pair.depth].bits)),
        examples={size: index for index, size in sorted(sizes.items(), reverse=True)},
        marks={pair.image: mark for pair in pairs if not pair.index and (mark := facts[pair.image].mark)},
        prints=fingerprints(
            [(pair.name, facts[pair.image].mark, facts[pair.depth or pair.image].mark) for pair in pairs],
            [(pair.name, facts[pair.label.path].mark) for pair in pairs if pair.label],
        ),
        wrong=tuple(wrong),
        depths=measure(depths, contents.max_depth) if samples else None,
    )


def fingerprints(
    frames: Sequence[tuple[str, bytes | None, bytes | None]], labels: Sequence[tuple[str, bytes | None]] = ()
) -> dict[str, str]:
    """By which a run that goes on sees what has changed, of frames' names and the marks of their files."""
    names, once = [name for name, *_ in frames], sorted(frames, key=repr)
    content: dict[str, object] = {"list": sorted(names), "order": names, "files": once}
    content |= {"labels": sorted(labels, key=repr)} if labels else {}
    return {what: blake2b(repr(one).encode(), digest_size=8).hexdigest() for what, one in content.items()}


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of some items, evenly spaced, the first and the last among them."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def measure(maps: Sequence[np.ndarray], max_depth: float) -> Depths | None:
    """What depth maps (H, W) in metres hold; None where nothing is measured in any."""
    depth: np.ndarray = np.concatenate([one[one > 0] for one in maps]) if maps else np.zeros(0)
    if not depth.size:
        return None
    return Depths(
        maps=len(maps),
        nearest=float(depth.min()),
        median=float(np.median(depth)),
        farthest=float(depth.max()),
        far=float(np.percentile(depth, 99)),
        measured=depth.size / sum(one.size for one in maps),
        in_range=float(((depth > MIN_DEPTH) & (depth < max_depth)).mean()),
    )


def wrong_unit(depths: Depths, max_depth: float, units: tuple[float, bool]) -> str:
    """What depth beyond the cap spans as it was read, and at how many units per metre it would lie below: a usual one.

    `units` are those of `Contents.units`.
    """
    scale, floating = units
    needed = scale * depths.far / max_depth
    turned = [round(1 / scale, 2)] if scale < 1 else []  # metres a unit, given for units a metre
    usual = (*turned, *(FLOAT_SCALES if floating else USUAL_SCALES))
    fits = next((one for one in usual if one > needed), math.ceil(needed))
    return (
        f"at {scale:g} unit{'s' * (scale != 1)} per metre it spans {depths.nearest:.4g} to {depths.farthest:.4g} m, "
        f"expected depth between {MIN_DEPTH:g} and {max_depth:g} m; {fits:g} units per metre would fit"
    )


def unit_remarks(seen: Survey, contents: Contents) -> Iterator[str]:
    """What of the depth that was seen suggests another unit."""
    depths, max_depth = None if contents.numbers else seen.depths, contents.max_depth
    if depths and MIN_DEPTH < depths.farthest < NEAR * max_depth:
        yield (
            f"the farthest of the depth is {depths.farthest:.3g} m, of the {max_depth:g} m that count: does the file "
            "hold the units that are expected?"
        )
    if depths and 0 < depths.in_range < MOSTLY:
        yield f"only {depths.in_range:.0%} of the depth lies below {max_depth:g} m: is the unit right?"


def shared_images(train: Contents, test: Contents) -> list[str]:
    """Names of the test images that are training images as well, whatever links lead to them."""
    seen = {identity(pair) for pair in train.usable}
    return [pair.name for pair in test.usable if identity(pair) in seen]


def copies(training: Iterable[Survey], test: Survey) -> list[str]:
    """Which test image has the bytes of which one in training: `a is b`."""
    by_mark = {mark: path for seen in training for path, mark in seen.marks.items()}
    matches = ((path, by_mark.get(mark, path)) for path, mark in test.marks.items())
    return [f"{path} is {copy}" for path, copy in matches if copy != path]


def file_problems(contents: Contents, seen: Survey, max_faults: float) -> Iterator[str]:
    """Why files of a half cannot be used: depth maps that are none or do not fit, and too many that cannot be read.

    Args:
        max_faults: Share of samples that may be unreadable.
    """
    if seen.wrong:
        more = f" (and {len(seen.wrong) - 1} more of those looked at)" if len(seen.wrong) > 1 else ""
        yield f"{seen.wrong[0]}{more}"
    if len(seen.faults) > max_faults * len(contents.usable):
        first = "; ".join(f"{path} ({why})" for path, why in sorted(seen.faults.items())[:MOST_NAMED])
        yield (
            f"{len(seen.faults)} of {seen.files} files cannot be read (more than data.max_faults allows), such as "
            f"{first}: get them again, remove them, or raise data.max_faults"
        )


# -------------------------------------------------------------------------------------------------- before the training


def check_files(dataset: DepthDataset, max_faults: float, progress: Progress | None = None) -> Survey | None:
    """Refuse a set of which files cannot be used, by a look at every one of them; None where there are none.

    Raises:
        UserError: For the first of `file_problems`, or ground truth that cannot be used.
    """
    contents = dataset.contents
    if contents is None:
        return None
    seen = survey(contents, progress=progress)
    for problem in file_problems(contents, seen, max_faults):
        raise UserError(problem)
    if not (contents.images_only or (seen.depths and seen.depths.in_range >= LEAST_IN_RANGE)):
        check_truth(dataset)
    return seen


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


def nothing_counts(contents: Contents | None, cap: float) -> str:
    """What it means that no pixel has a truth, and what was expected."""
    if contents and contents.numbers:
        return f"no pixel has a class, expected {contents.numbers}; check that these are annotations"
    if contents and contents.images_only:
        return (
            f"{contents.source} holds images alone: name the folder above that has their depth maps too, or learn from "
            "a teacher (method.name=output)"
        )
    units = f" at {contents.units[0]:g} units per metre" if contents else ""
    return (
        f"nothing is measured farther than {MIN_DEPTH:g} m{units}, expected depth between {MIN_DEPTH:g} and {cap:g} m; "
        "check that these are depth maps, and of that unit"
    )


def check_truth(dataset: DepthDataset, samples: int = SAMPLES) -> None:
    """Refuse a set whose ground truth cannot be used, by a look at a few evenly spaced samples.

    A wrong depth scale shows itself here: if every value lies beyond the cap, the refusal names the scale that fits.
    """
    pairs, cap = dataset.contents.usable if dataset.contents else (), dataset.max_depth
    measured = [index for index, pair in enumerate(pairs) if pair.depth is not None]  # others may have labels
    looked_at = evenly(measured or range(len(dataset)), samples)
    kind = "annotations" if dataset.contents and dataset.contents.numbers else "depth maps"
    seen = f"no valid ground truth in the whole set ({len(looked_at)} of {len(dataset)} {kind} looked at)"
    maps, unread = [], []
    for index in looked_at:
        try:
            sample = dataset[index]
        except DecodeError as error:
            unread.append(str(error))
            continue
        maps.append(np.where(sample.valid, sample.depth, 0))
        if (one := measure(maps[-1:], cap)) and one.in_range >= LEAST_IN_RANGE:
            return
    depths = measure(maps, cap)
    if not maps:
        raise UserError(f"{seen}: {unread[0]}")
    if depths is None or depths.far < cap:
        raise UserError(f"{seen}: {nothing_counts(dataset.contents, cap)}")
    raise UserError(f"{seen}: {wrong_unit(depths, cap, dataset.units)}")
