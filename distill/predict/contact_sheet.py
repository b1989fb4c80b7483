"""A few labels in one picture, so that a person can look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distill.data import DecodeError
from distill.data.files.labels import Label, StoredLabel
from distill.data.files.reading import read_image
from distill.inference.network import Model
from distill.predict.writing import colour_range, coloured
from distill.report.pictures import PAPER, Panel, depth_scale, panel_strip, resize_to

SHEET = "depth_sheet.png"  # a name that no reader of photographs takes for one
SHOWN, WIDTH = 6, 320  # labels, and pixels of a picture's width


def contact_sheet(folder: Path, labels: Sequence[Label], model: Model) -> np.ndarray | None:
    """Image and label side by side, coloured as `distill predict` does, of some labels from first to last.

    None where none of their images can be read any more.
    """
    rows = []
    for label in (labels[round(at)] for at in np.linspace(0, len(labels) - 1, min(SHOWN, len(labels)))):
        try:
            image = read_image(folder / label.image)
            stored = StoredLabel(str(folder / label.depth), label.scale, label.offset, (label.height, label.width))
            quantity = stored.read()
        except DecodeError:
            continue
        size = (max(1, round(WIDTH * label.height / label.width)), WIDTH)
        limits, relative = colour_range(model, quantity), label.output == "relative"
        shown = {"image": resize_to(image, size), label.depth: resize_to(coloured(quantity, limits, relative), size)}
        rows.append(panel_strip(Panel(label.depth, shown, scales=() if relative else (depth_scale(*limits),))))
    if not rows:
        return None
    width = max(row.shape[1] for row in rows)
    return np.concatenate(
        [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=PAPER) for row in rows]
    )
