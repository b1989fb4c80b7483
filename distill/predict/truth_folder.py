"""Ground truth beside predictions: a folder of depth maps that are called like the images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distill.data import DecodeError
from distill.data.files.reading import read_depth
from distill.data.files.rgb_depth import DEPTH_SUFFIXES
from distill.errors import UserError
from distill.predict.frames import Frame
from distill.predict.inputs import Input


@dataclass(frozen=True)
class TruthFolder:
    """Depth maps NAME.png, .npy, .tif or .tiff; `scale` is their units per metre, None where they say or are usual."""

    folder: Path
    scale: float | None = None

    def check(self, sources: Sequence[Input]) -> None:
        """Refuse a folder without a map for any image; frames of what moves are looked for when they are there.

        Raises:
            UserError: If there is no map, or no such folder.
        """
        if not self.folder.is_dir():
            raise UserError(f"--truth {self.folder} is no folder; give one of depth maps called like the images")
        still = [source for source in sources if not source.moving]
        if len(still) == len(sources) and not any(self.find(source.name) for source in still):
            raise UserError(
                f"no depth map in {self.folder} belongs to an input; expected {self.folder / still[0].name}.png or .npy"
            )

    def find(self, name: Path) -> Path | None:
        """The file of an image's name, which has no suffix; NYU's `rgb_7` may be `sync_depth_7`."""
        names = dict.fromkeys((name.name, re.sub("^rgb_", "sync_depth_", name.name)))
        paths = (self.folder / name.with_name(one + suffix) for one in names for suffix in sorted(DEPTH_SUFFIXES))
        return next((path for path in paths if path.is_file()), None)

    def read(self, frame: Frame) -> np.ndarray | None:
        """Metres, float32 (H, W), 0 where nothing was measured; None where the frame has no map.

        Raises:
            DecodeError: If its map cannot be read, or is of another size.
        """
        path = self.find(frame.source.name.with_name(frame.name))
        if path is None:
            return None
        try:
            depth = read_depth(path, self.scale)
        except UserError as error:
            raise DecodeError(path, str(error).removeprefix(f"{path} is ")) from error
        if depth.shape != frame.image.shape[:2]:
            options, wanted = ("x".join(map(str, size)) for size in (depth.shape, frame.image.shape[:2]))
            raise DecodeError(path, f"it is {options}, but {frame.source} is {wanted} (height x width)")
        return depth
