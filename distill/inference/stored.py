"""Predictions on disk: what `--save-predictions` writes, and a folder of depth maps in the place of a model."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from distill.data import Sample
from distill.data.files.png import MOST, depth_scale, encode_depth, encode_npy
from distill.data.files.probing import IMAGE_SUFFIXES
from distill.data.files.reading import DecodeError, Units, read_depth
from distill.errors import UserError
from distill.evaluation import Predict, Prediction, Protocol
from distill.evaluation.arrays import as_array
from distill.files import checksum, read_whole, write_atomically, write_json
from teachers.model import Output

ABOUT = "predictions.json"
PICTURE = re.compile(r"((_uncertainty)?_colour|_compare|_uncertainty)\.png$|_uncertainty\.npy$")  # beside a depth map
SUFFIXES = (".npy", ".png")  # of two files of one name, the first counts: it is exact


def parts_of(name: str) -> list[str]:
    """A sample's name or a file's as folders and a stem: `2011_09_26/drive 0000000005` has three parts."""
    parts = [part for part in re.split(r"[/\\ ]+", name) if part not in ("", ".", "..")]
    stem, dot, suffix = parts[-1].rpartition(".")
    return [*parts[:-1], stem] if dot + suffix.lower() in IMAGE_SUFFIXES | set(SUFFIXES) else parts


@dataclass
class Recorder:
    """Predicts as `predict` does and writes what it predicts.

    NAME.npy holds float32 (1, h, w) exactly as the model gave it, with the mirrored image's as (2, h, w): evaluating it
    gives the same numbers. NAME.png (for `scale`) holds the depth as it is scored, 16 bits, metres * scale, rounded:
    evaluating it gives the same numbers but for half a step, 1 / (2 * scale) metres.

    Args:
        protocol: By which a PNG's depth is merged and cut to the limits.
        scale: Units per metre of PNGs; None writes arrays.
    """

    predict: Predict
    folder: Path
    protocol: Protocol
    scale: float | None = None
    written: set[Path] = field(default_factory=set)

    def __call__(self, sample: Sample) -> Prediction:
        prediction = self.predict(sample)
        path = self.place(sample.name)
        if path in self.written:
            raise UserError(f"two images would both be saved as {path}; give the images names of their own")
        self.written.add(path)
        try:
            write_atomically(path, self._content(prediction))
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({error.strerror}); choose another --save-predictions"
            ) from error
        return prediction

    def place(self, name: str) -> Path:
        """Where the prediction of an image of that name is written."""
        path = self.folder.joinpath(*parts_of(name))
        return path.with_name(path.name + SUFFIXES[self.scale is not None])

    @property
    def described(self) -> bool:
        """Whether an earlier call wrote into the folder."""
        return (self.folder / ABOUT).is_file()

    def _content(self, prediction: Prediction) -> bytes:
        if self.scale is None:
            maps = [as_array(one) for one in (prediction.depth, prediction.flipped) if one is not None]
            return encode_npy(np.stack(maps))
        depth = as_array(self.protocol.combined(prediction.depth, prediction.flipped, prediction.view)[0])
        limits = self.protocol.min_depth, self.protocol.max_depth
        return encode_depth(np.nan_to_num(np.clip(depth, *limits), nan=limits[0]), self.scale)

    def describe(self, **facts: object) -> None:
        """Write what must be known to read the folder again."""
        write_json(self.folder / ABOUT, {"scale": self.scale, "tta": self.protocol.tta, **facts})


def holds_predictions(folder: str) -> bool:
    """Whether MODEL is a folder of depth maps rather than one of a trained model."""
    path = Path(folder)
    if not path.is_dir() or (path / "student").exists() or (path / "config.json").exists():
        return False
    return bool(find_maps(path))


def find_maps(folder: Path) -> dict[str, Path]:
    """Depth maps by the parts of their names, joined by "_". The pictures of `distill predict` are none."""
    maps: dict[str, Path] = {}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for suffix in SUFFIXES:
        for path in (file for file in files if file.suffix.lower() == suffix):
            plain = path.with_name(PICTURE.sub(path.suffix, path.name))
            picture = plain != path and (plain.exists() or plain.with_suffix(".npy").exists())
            if path.name.startswith(".") or picture:
                continue
            maps.setdefault("_".join(parts_of(path.relative_to(folder).as_posix())), path)
    return maps


class MapsInfo(BaseModel):
    """What a folder may state of its maps: units per metre of PNGs, and the size of the images that a model saw.

    `output` is what the values mean: those of a relative model are relative inverse depth, of another numbers from 0 of
    its `classes`.
    """

    output: Output = "metric"
    classes: tuple[str, ...] = ()
    scale: float | None = None
    input_size: tuple[int, int] | None = None


def read_about(folder: Path) -> MapsInfo:
    """What a folder states of its maps, or what is usual of one that states nothing.

    Raises:
        UserError: If it states something that cannot be read: its depth may be relative, or of any scale.
    """
    try:
        return MapsInfo.model_validate_json(read_whole(folder / ABOUT))
    except (FileNotFoundError, NotADirectoryError):
        return MapsInfo()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is damaged, or another program's"
        raise UserError(
            f"{folder / ABOUT} should state what the maps beside it mean and cannot be read ({why}): write them again, "
            "or remove it if they are plain metres"
        ) from None


def twin_of(array: Path) -> Path:
    """NAME.png beside NAME.npy."""
    return array.with_name(array.name.removesuffix(SUFFIXES[0]) + SUFFIXES[1])


def same_depth(array: Path, scale: float) -> bool | None:
    """Whether NAME.npy and the NAME.png beside it hold one depth; None where there is nothing to compare."""
    try:
        shown = read_depth(twin_of(array), Units(usual=scale), saturated=True)
        exact = read_depth(array)
        units = depth_scale(twin_of(array).read_bytes()) or scale
    except (DecodeError, UserError, OSError):  # a picture of depth, or two maps in one array
        return None
    return shown.shape == exact.shape and np.allclose(shown, exact.clip(0, MOST / units), rtol=0, atol=1.01 / units)


class StoredPredictions:
    """A folder of depth maps, one for each image, in the place of a model.

    A map belongs to the image whose name ends like its own, with "/" or "_" between the parts: `kitchen/rgb_00045.png`,
    `kitchen_rgb_00045.png` and `rgb_00045.png` are all good for `official_splits/test/kitchen/rgb_00045.jpg`, as long
    as no two images would share one.

    Args:
        folder: Holds float .npy in metres or 16-bit PNGs, in any subfolders.
        scale: Units per metre of PNGs, where the folder does not state it.
        protocol: Defines what a model is shown of a frame: maps of that size or of the whole frame are taken.
    """

    def __init__(self, folder: Path, scale: float, protocol: Protocol) -> None:
        self.folder, self.protocol = folder, protocol
        self.maps = find_maps(folder)
        about = read_about(folder)
        if about.output == "classes":
            raise UserError(f"{folder} holds classes, and depth is wanted here; give a folder of depth, or a model")
        self.scale, self.size, self.relative = about.scale or scale, about.input_size, about.output == "relative"
        self.users: dict[Path, str] = {}

    @property
    def fingerprint(self) -> str:
        """A digest of all maps, by name and content."""
        content = "".join(f"{name} {checksum(path)} " for name, path in sorted(self.maps.items()))
        return hashlib.sha256(os.fsencode(content)).hexdigest()[:16]

    def find(self, name: str) -> Path | None:
        """The file of an image: the one with the longest common end of the name."""
        words = "_".join(parts_of(name)).split("_")
        ends = ("_".join(words[start:]) for start in range(len(words)))
        return next((self.maps[end] for end in ends if end in self.maps), None)

    def check(self, names: Sequence[str]) -> None:
        """Refuse, before anything is scored, a folder that does not hold every image's depth.

        Raises:
            UserError: If maps are missing, or two images would share one.
        """
        missing = [name for name in names if self.find(name) is None]
        if missing:
            expected = "/".join(parts_of(missing[0]))
            raise UserError(
                f"{len(missing)} of {len(names)} images have no prediction in {self.folder}, the first: {missing[0]}; "
                f"expected a file named {expected}{SUFFIXES[0]} or {SUFFIXES[1]}, or by the end of that name"
            )
        for name in names:
            self._claim(name)

    def _claim(self, name: str) -> Path:
        path = self.find(name)
        if path is None:
            self.check([name])
        assert path is not None
        if self.users.setdefault(path, name) != name:
            raise UserError(
                f"{path} would be the prediction of both {self.users[path]} and {name}; give every image its own, "
                f"such as {'/'.join(parts_of(name))}{path.suffix}"
            )
        return path

    def __call__(self, sample: Sample) -> Prediction:
        path = self._claim(sample.name)
        if path.suffix == SUFFIXES[0] and same_depth(path, self.scale) is False:
            raise UserError(
                f"{path} and {twin_of(path).name} beside it hold different depth, of two models or calls: remove one"
            )
        try:
            maps = (
                self._arrays(path)
                if path.suffix.lower() == SUFFIXES[0]
                else read_depth(path, Units(usual=self.scale), saturated=True)[None]
            )
        except DecodeError as error:
            raise UserError(f"{error}; every image needs its prediction: write it again") from None
        frame = sample.depth.shape
        rows, cols = self.protocol.input_window(*frame)
        view = (rows.stop - rows.start, cols.stop - cols.start)
        if maps.shape[1:] not in (frame, view, self.size):
            size, wanted = ("x".join(map(str, size)) for size in (maps.shape[1:], frame))
            also = f" or {view[0]}x{view[1]}" if view != frame else ""
            raise UserError(f"{path} is {size}, but {sample.name} is {wanted}; expected a depth map of {wanted}{also}")
        if len(maps) < 2 and self.protocol.tta != "none":
            raise UserError(
                f"{path} holds no prediction for the mirrored image, which --tta {self.protocol.tta} needs; leave "
                "--tta out, or save predictions with it"
            )
        flipped = maps[1] if self.protocol.tta != "none" else None
        return Prediction(maps[0], flipped, view if maps.shape[1:] != frame else None, self.relative)

    def _arrays(self, path: Path) -> np.ndarray:
        """Depth in metres, float32 (1, h, w), or (2, h, w) with that of the mirrored image."""
        try:
            # Mapped, it is no larger than its file, whatever its header claims; a pickle would be code.
            array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError):
            raise DecodeError(path, "not a NumPy array of numbers, or cut short") from None
        if not isinstance(array, np.ndarray):
            raise DecodeError(path, "an archive, expected one array")
        maps = array[None] if array.ndim == 2 else array
        if maps.ndim != 3 or len(maps) not in (1, 2) or array.dtype.kind != "f":
            raise UserError(f"{path} holds {array.dtype} {array.shape}, expected depth in metres, float32 (H, W)")
        return maps.astype(np.float32)
