"""The checker: what is on disk of a data set, what is missing or wrong with it, and what to do about that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from distill.data.files.known_lists import UNKNOWN, nearest_list
from distill.data.files.pairs import Contents
from distill.data.kitti.drives import KB_CROP
from distill.data.kitti.listing import eigen_test_drives
from distill.data.nyu.labelled import FRAME
from distill.data.opening import USUAL, kind_of_truth
from distill.data.survey import (
    LEAST_IN_RANGE,
    MIN_DEPTH,
    SAMPLES,
    Survey,
    copies,
    file_problems,
    nothing_counts,
    shared_images,
    unit_remarks,
    wrong_unit,
)
from distill.errors import UserError
from teachers.model import MIN_SIDE

Report = dict[str, Any]  # in types that JSON knows

FEW = 5  # names that are listed
FRAME_SIZES: dict[
    str, tuple[str, Callable[[tuple[int, int]], bool]]
] = {  # sizes that a data set has: in words, and a test
    "kitti": (f"at least {KB_CROP[0]}x{KB_CROP[1]}", lambda size: size[0] >= KB_CROP[0] and size[1] >= KB_CROP[1]),
    "nyu": (f"{FRAME[0]}x{FRAME[1]}", lambda size: size == FRAME),
}


@dataclass(frozen=True)
class Half:
    """A half of a data set, and what was seen of it.

    Attributes:
        name: "train", "test", "split" of a list that may be either, or what a configuration trains on.
        dataset: The name of the data set.
    """

    name: str
    dataset: str
    contents: Contents
    seen: Survey
    max_faults: float  # share of its samples that training would pass over

    @property
    def trained_on(self) -> bool:
        """Whether it is known to be of training images."""
        return self.name not in ("test", "split")


def make_report(data: str, root: str, halves: list[Half]) -> Report:
    """Everything in types that JSON knows. `problems` stand in the way of a run, `notes` should be known.

    Args:
        data: What is looked at, in words; root: where it lies.
        halves: Parts that are trained on, and the test half at most once.
    """
    report: Report = {"data": data, "root": root}
    report["halves"] = {half.name: describe(half) for half in halves}
    problems = [f"{half.name}: {problem}" for half in halves for problem in problems_of(half)]
    notes = [f"{half.name}: {note}" for half in halves for note in notes_on(half)]
    training, test = [half for half in halves if half.trained_on], [half for half in halves if half.name == "test"]
    if training and test:
        images = [image for one in training for image in shared_images(one.contents, test[0].contents)]
        scenes = sorted(scenes_of(training) & scenes_of(test))
        copied = copies((one.seen for one in training), test[0].seen)
        report["shared"] = {"images": len(images), "copies": len(copied), "scenes": scenes}
        if copied:
            notes.append(f"{len(copied)} test images have a copy in training: {copied[0]}")
        if images:
            problems.append(f"{len(images)} test images are training images too, such as {images[0]}: take them out")
        elif scenes:
            notes.append(f"training and test share {len(scenes)} scenes, such as {scenes[0]}")
    else:
        notes.append("only one half was looked at, so nothing is known of an overlap")
        if test:
            notes.append("there is no training half: this can be evaluated on, not trained on")
    return report | {"ok": not problems, "problems": problems, "notes": notes}


def scenes_of(halves: list[Half]) -> set[str]:
    """Drives or rooms that some halves show, where they are known."""
    return {pair.scene for half in halves for pair in half.contents.usable} - {""}


def describe(half: Half) -> Report:
    """What is known of one half."""
    contents, seen = half.contents, half.seen
    return {
        "source": contents.source,
        "list": contents.list_name,
        "layout": contents.layout,
        "truth": contents.truth,
        "lines": contents.lines,
        "usable": len(contents.usable),
        "without_truth": len(contents.without_truth),
        "repeated": len(contents.repeated),
        "missing": len(contents.missing),
        "missing_first": list(contents.missing[:FEW]),
        "unreadable": len(seen.faults),
        "unreadable_first": dict(sorted(seen.faults.items())[:FEW]),
        "sizes": {f"{height}x{width}": count for (height, width), count in seen.sizes.most_common()},
        "depth_bits": {str(bits): count for bits, count in seen.bits.most_common()},
        "max_depth": contents.max_depth,
        "depth": asdict(seen.depths) if seen.depths and not contents.numbers else None,
        "scenes": len(scenes_of([half])),
    }


def problems_of(half: Half) -> Iterator[str]:
    """What stands in the way of a run, each with what to do."""
    contents, seen = half.contents, half.seen
    try:
        contents.check()
    except UserError as error:
        yield str(error)
    yield from file_problems(contents, seen, half.max_faults)
    expected, fits = FRAME_SIZES.get(half.dataset, ("", lambda size: True))
    if odd := {size: count for size, count in seen.sizes.items() if not fits(size)}:
        height, width = min(odd)
        name = contents.usable[seen.examples[height, width]].name
        yield f"{sum(odd.values())} images are not {expected}, such as {name} of {height}x{width}: give whole frames"
    if half.name == "test" and (repeated := contents.repeated):
        yield f"{len(repeated)} lines name an image a second time, such as {repeated[0]}: drop them"
    unknown = seen.depths is None and seen.faults  # none of those looked at could be read
    if contents.usable and not contents.images_only and not (seen.wrong or unknown):
        yield from depth_problems(half)


def depth_problems(half: Half) -> Iterator[str]:
    """What is wrong with the sampled depth, and which scale would fit depth that lies beyond the cap."""
    depths, cap = half.seen.depths, half.contents.max_depth
    if depths is None:
        looked_at = min(SAMPLES, len(half.contents.usable))
        yield f"of {looked_at} that were looked at none is of use: {nothing_counts(half.contents, cap)}"
    elif depths.in_range < LEAST_IN_RANGE and depths.far >= cap:
        yield f"wrong unit or cap: {wrong_unit(depths, cap, half.contents.units)}"
    elif depths.in_range == 0:
        span = f"{depths.nearest:.4g} to {depths.farthest:.4g} m"
        yield f"depth spans {span}, expected {MIN_DEPTH:g} to {cap:g} m"


def notes_on(half: Half) -> Iterator[str]:
    """What should be known of a half that can be used."""
    contents, dataset = half.contents, half.dataset
    part = "test" if half.name == "test" else "training" if half.trained_on else ""
    if contents.list_name == UNKNOWN and (nearest := nearest_list(dataset, contents.lines, part)):
        yield f"{contents.source} with its {contents.lines} lines is no public list (the nearest: {nearest})"
    test_drives = eigen_test_drives()
    if half.trained_on and (leaked := sum(pair.scene in test_drives for pair in contents.usable)):
        yield f"{leaked} of its frames are from the drives of Eigen's test: results on these would not be fair"
    if half.name != "test" and (repeated := contents.repeated):
        yield f"{len(repeated)} lines name an image a second time, such as {repeated[0]}: these count twice"
    yield from contents.remarks
    if (one := contents.labels) is not None:
        count = sum(pair.label is not None for pair in contents.usable)
        whose = f"{one.output} labels of {one.teacher} ({one.fingerprint[:12]})"
        yield f"{count} of {len(contents.usable)} images have {whose}"
    if half.seen.faults:
        yield f"{len(half.seen.faults)} files that cannot be read would be passed over"
    if contents.without_truth:
        yield f"{len(contents.without_truth)} frames without ground truth are left out"
    if dataset == "folder" and len(half.seen.sizes) > 1:
        yield f"images of {len(half.seen.sizes)} sizes cannot form a batch: train with data.size or data.crop"
    if small := [size for size in half.seen.sizes if min(size) < MIN_SIDE]:
        yield f"images of {small[0][0]}x{small[0][1]} are smaller than {MIN_SIDE}: enlarge them with data.size"
    if (kind := kind_of_truth(dataset, contents)) != contents.truth:
        yield (
            f"{contents.measured:.0%} of the pixels are measured: this is {kind}, not the {USUAL[dataset]} of "
            "published results; an evaluation says so and has a fingerprint of its own"
        )
    if contents.images_only:
        yield "images alone: they can be distilled from a teacher, not evaluated"
    yield from unit_remarks(half.seen, contents)
