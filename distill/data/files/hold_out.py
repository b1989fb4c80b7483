"""A share of the images that nobody trains on: whole recordings, or the end of each, beside nothing that is learnt."""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b

from distill.data.files.pairs import Contents, Pair
from distill.errors import UserError

LEAST, MOST = 0.5, 1.5  # of the share asked for, that whole recordings may come to
GAP = 0.5  # of the frames held out of a recording: so many before them are in neither half
NAMED_ALIKE = 10  # frames that a name before their numbers has on average, if it is that of a recording
FEW = 3  # recordings that are listed
NUMBERS = re.compile(r"[\d._\- ]+$")  # that end a name: a frame's, or its date and time

Places = Sequence[int]


def hold_out(contents: Contents, share: float) -> tuple[Contents, Contents]:
    """Divide images into those to train on and those held out, about `share` of them, the same whoever asks.

    Whole recordings are held out where there are enough; else the end of each, and of the frames before that end half
    as many again are left out, so that no frame is held out beside one that is learnt.

    Raises:
        UserError: If nothing is left in one of them.
    """
    frames = recordings(contents.pairs)
    held, gap, how = by_recording(frames, share) or by_time(frames, share)
    lost = {*held, *gap}
    pairs = (contents.pairs[index] for index in sorted(held))
    test = [pair for pair in pairs if pair.depth is not None or contents.images_only]
    training = [pair for index, pair in enumerate(contents.pairs) if index not in lost]
    halves = (
        replace(contents, pairs=tuple(training), left_out=(*contents.left_out, f"held out: {how}")),
        replace(contents, pairs=tuple(test), left_out=(), missing=(), source=f"{contents.source}, held out: {how}"),
    )
    for half, what in zip(halves, ("train", "validate"), strict=True):
        if not half.usable:
            raise UserError(
                f"data.hold_out={share:g} of {len(contents.pairs)} images in {len(frames)} recordings of "
                f"{contents.source} leaves nothing to {what} on: change it, record more, name a test half (test/ or "
                "test.csv), or leave it out (null)"
            )
    return halves


def recordings(pairs: Sequence[Pair]) -> dict[str, list[int]]:
    """The places of each recording's frames, in the order of their time, which the numbers in names tell.

    A recording is a scene that a data set knows, or else a folder, or the folder of many that hold a few frames each;
    or of a folder the frames of one name, where only few names come before the numbers.
    """
    known: dict[str, list[int]] = {}
    for folder, places in by_folder(pairs).items():
        by_name: defaultdict[str, list[int]] = defaultdict(list)
        for place in sorted(places, key=lambda place: in_time(pairs[place])):
            by_name[NUMBERS.sub("", os.path.splitext(pairs[place].name)[0])].append(place)
        alike = not pairs[places[0]].scene and len(places) >= NAMED_ALIKE * len(by_name)
        known |= by_name if alike else {folder: [place for some in by_name.values() for place in some]}
    return known


def by_folder(pairs: Sequence[Pair]) -> dict[str, list[int]]:
    """The places of the frames of each scene or folder; folders of few frames on average count as that above them."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    inside: defaultdict[str, list[int]] = defaultdict(list)
    for place, pair in enumerate(pairs):
        (groups if pair.scene else inside)[pair.scene or os.path.dirname(pair.name)].append(place)
    while True:
        siblings: defaultdict[str, list[str]] = defaultdict(list)
        for folder in filter(None, inside):
            siblings[os.path.dirname(folder)].append(folder)
        few = {
            parent: some
            for parent, some in siblings.items()
            if sum(len(inside[one]) for one in some) < NAMED_ALIKE * len(some)
        }
        if not few:
            return groups | inside
        for parent, some in few.items():
            inside[parent] += [place for one in some for place in inside.pop(one)]


def in_time(pair: Pair) -> list[tuple[int, str]]:
    """What sorts names as their numbers go."""
    parts = re.split(r"(\d+)", pair.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts if part]


def by_recording(frames: Mapping[str, Places], share: float) -> tuple[list[int], list[int], str] | None:
    """Whole recordings of about that share of the frames, by the digests of their names; None where none fit."""
    total = sum(map(len, frames.values()))
    chosen: dict[str, Places] = {}
    for name in sorted(frames, key=lambda name: blake2b(os.fsencode(name), digest_size=8).digest()):
        if sum(map(len, chosen.values())) + len(frames[name]) <= min(MOST * share, (1 + share) / 2) * total:
            chosen[name] = frames[name]
            if sum(map(len, chosen.values())) >= share * total:
                break
    held = [place for places in chosen.values() for place in places]
    if len(held) < max(LEAST * share * total, 1):
        return None
    some = ", ".join(sorted(chosen)[:FEW]) + ", ..." * (len(chosen) > FEW)
    return held, [], f"{len(chosen)} of {len(frames)} recordings ({some}), {len(held)} of {total} images"


def by_time(frames: Mapping[str, Places], share: float) -> tuple[list[int], list[int], str]:
    """The end of every recording, and the frames between it and what is learnt."""
    held: list[int] = []
    gap: list[int] = []
    for places in frames.values():
        count = round(share * len(places))
        between = math.ceil(GAP * count)
        held += places[len(places) - count :]
        gap += places[max(len(places) - count - between, 0) : len(places) - count]
    whose = "a recording" if len(frames) == 1 else f"each of {len(frames)} recordings"
    total = sum(map(len, frames.values()))
    return held, gap, f"the end of {whose}, {len(held)} of {total} images; the {len(gap)} before are in neither half"
