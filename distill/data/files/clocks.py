"""Images and depth maps that two clocks have named: which belong together by time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distill.errors import UserError

LATEST = 0.02  # seconds between an image and its depth
DIGITS = {19: 1e9, 16: 1e6, 13: 1e3}  # of a time since 1970 in nanoseconds, microseconds, milliseconds: ticks a second


def seconds(text: str) -> float | None:
    """The time that a number in a name stands for; None of a frame's number."""
    whole, point, _ = text.partition(".")
    if not (point or len(whole) >= 10):
        return None
    return float(text) / next((ticks for digits, ticks in DIGITS.items() if len(whole) >= digits), 1.0)


def partners(images: Mapping[float, str], depths: Mapping[float, str]) -> dict[str, str]:
    """The image of each depth map that has one: the nearest in time, each but once, at most `LATEST` seconds away."""
    times = np.array(sorted(depths))
    near = [
        (abs(time - other), time, other)
        for time in images
        for other in times[np.searchsorted(times, time - LATEST) : np.searchsorted(times, time + LATEST)]
    ]
    free = [set(images), set(depths)]
    matches: dict[str, str] = {}
    for _, time, other in sorted(near):
        if time in free[0] and other in free[1]:
            free[0].remove(time)
            free[1].remove(other)
            matches[depths[other]] = images[time]
    return matches


def joined(images: Mapping[float, str], depths: Mapping[float, str]) -> dict[str, str]:
    """The same of a recording, whose clocks have to have time in common.

    Raises:
        UserError: If every image was taken before or after every depth map, or none is near enough.
    """
    spans = [f"{min(clock):.3f} to {max(clock):.3f} s" for clock in (images, depths)]
    apart = max(min(images), min(depths)) > min(max(images), max(depths)) + LATEST
    if not apart and (matches := partners(images, depths)):
        return matches
    what = "do not overlap" if apart else f"have no image within {LATEST:g} s of a depth map"
    raise UserError(
        f"the clocks of a recording {what}: images such as {next(iter(images.values()))} are of {spans[0]}, depth maps "
        f"such as {next(iter(depths.values()))} of {spans[1]}; record both by one clock, or write a list of pairs "
        "(train.csv with the columns image,depth)"
    )
