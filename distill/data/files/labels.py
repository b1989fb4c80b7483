"""A teacher's depth of many images on disk: a line of `manifest.jsonl` and a 16-bit PNG each.

A PNG's value v means `v / scale + offset`, in metres, or inverse depth up to a scale and a shift that nobody knows; 0
means that the teacher said nothing. Its text chunks hold what its line says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import cv2
import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from distill.data.files import png
from distill.data.files.reading import NotDepth, decode, read_file
from distill.errors import UserError
from distill.files import MOST_BYTES, read_whole

MANIFEST, DEPTHS, IMAGES = "manifest.jsonl", "depth", "images"  # of a folder of labels
METRIC_SCALES = (1000.0, 256.0)  # units per metre: the finest that the teacher's depth fits into
LEVELS = png.MOST - 1  # between the least and the greatest of a relative map
MOST_MANIFEST = 8 * MOST_BYTES

Output = Literal["metric", "relative"]


def inside(path: str) -> str:
    """Refuse what leaves the folder, or is no path."""
    if not path or "\0" in path or ".." in path.split("/"):
        raise ValueError(f"{path!r} leaves the folder or is no path, expected one without '..'")
    return path


def below(path: str) -> str:
    """Refuse an absolute path as well."""
    if path.startswith("/"):
        raise ValueError(f"{path} is absolute, expected a path below the folder of the manifest")
    return inside(path)


class Label(BaseModel):
    """A line of a manifest: whose depth of which image lies where, and what its values mean.

    `image` is relative to the folder, or absolute; `sha256` is of its bytes. `low` and `high` are of the quantity.
    `source` is the film or camera that an image is a frame of; for the teacher it was resized to `input_size`.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    image: Annotated[str, AfterValidator(inside)]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    depth: Annotated[str, AfterValidator(below)]
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    teacher: str
    fingerprint: str
    revision: str | None = None
    licence: str | None = None
    output: Output
    scale: float = Field(gt=0)
    offset: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    seconds: float = Field(ge=0)
    source: str | None = None
    input_size: tuple[int, int] | None = None

    def line(self) -> str:
        """What is appended to a manifest, its end included."""
        return self.model_dump_json() + "\n"


class Coding(NamedTuple):
    """What the values of one map mean: quantity = value / scale + offset, which spans `low` to `high`."""

    scale: float
    offset: float
    low: float
    high: float


def encode(quantity: np.ndarray, output: Output, cap: float | None = None) -> tuple[np.ndarray, Coding]:
    """A teacher's map (H, W) as uint16, and what that means. What is not finite is nothing, 0.

    Metres that are not positive, or beyond what 16 bits hold at the scale, are nothing too; they are never clamped.

    Args:
        cap: The teacher's largest depth in metres, which decides on the scale; without one the map itself does.
    """
    known = np.isfinite(quantity) & ((quantity > 0) | (output == "relative"))
    values = quantity.astype(np.float64)
    if output == "metric":
        farthest = values[known].max(initial=0.0) if cap is None else cap
        scale = next((one for one in METRIC_SCALES if farthest * one <= png.MOST), METRIC_SCALES[-1])
        known &= values * scale < png.MOST + 0.5
        stored, offset = np.rint(values * scale, where=known, out=np.ones_like(values)).clip(1), 0.0
    low, high = (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 0.0)
    if output == "relative":
        scale = LEVELS / (high - low) if high > low else 1.0
        stored, offset = 1 + np.rint((np.where(known, values, low) - low) * scale), low - 1 / scale
    return np.where(known, stored, 0).astype(np.uint16), Coding(scale, offset, low, high)


def decode_values(values: np.ndarray, scale: float, offset: float) -> np.ndarray:
    """The quantity (H, W), float32, of values as stored; NaN where the teacher said nothing."""
    return np.where(values > 0, values / scale + offset, np.nan).astype(np.float32)


def encode_png(values: np.ndarray, label: Label) -> bytes:
    """The PNG file of stored values, which states what its line says. Metres are read of it as of any depth map."""
    texts = {f"label_{key}".encode(): str(value) for key, value in label.model_dump(exclude_none=True).items()}
    if label.output == "metric":
        texts = {png.SCALE: f"{label.scale:g}", png.UNIT: "metre", **texts}
    raw: bytes = cv2.imencode(".png", values)[1].tobytes()
    return png.with_texts(raw, texts)


class StoredLabel(NamedTuple):
    """Where the label of one image lies, and what its values mean."""

    path: str
    scale: float
    offset: float
    size: tuple[int, int]

    def read(self) -> np.ndarray:
        """The quantity, as of `decode_values`.

        Raises:
            DecodeError: If the file cannot be read; `NotDepth` if it is not what its line says.
        """
        values = decode(read_file(self.path), self.path, png.GREY16)
        if values.dtype != np.uint16 or values.shape != self.size:
            raise NotDepth(
                self.path,
                f"is {values.dtype} of {'x'.join(map(str, values.shape))}, but the manifest says uint16 of "
                f"{self.size[0]}x{self.size[1]} (height x width): label that image again",
            )
        return decode_values(values, self.scale, self.offset)


def read_manifest(folder: Path) -> list[Label]:
    """The lines of a folder of labels, by one teacher; of an image that comes twice the last counts.

    A last line that was cut off while it was written is passed over: its image has no label.

    Raises:
        UserError: If there is none, a line is wrong, or there are labels of several teachers.
    """
    path = folder / MANIFEST
    try:
        *whole, rest = read_whole(path, MOST_MANIFEST).split(b"\n")
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}), expected the manifest of distill label: name the folder that "
            "it wrote"
        ) from None
    labels: dict[str, Label] = {}
    read: list[Label] = []
    for number, line in enumerate([*whole, rest], start=1):
        try:
            if line.strip():
                label = Label.model_validate_json(line)
                labels[label.image] = label
                read.append(label)
        except ValidationError as error:
            if number > len(whole):
                break
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise UserError(
                f"{path}:{number}: {place + ': ' if place else ''}{first['msg']}: label again into another folder, or "
                "remove the line"
            ) from None
    if not labels:
        raise UserError(f"{path} holds no line: label images into {folder} first (distill label)")
    check_one_teacher(folder, read)
    return list(labels.values())


def check_one_teacher(folder: Path, labels: list[Label]) -> None:
    """Refuse labels of several teachers, or of one whose values mean two things: no student could tell them apart."""
    kinds = {(label.teacher, label.fingerprint, label.output): label for label in reversed(labels)}
    if len({key[1:] for key in kinds}) > 1:
        some = " and ".join(f"{one.teacher} ({one.fingerprint[:12]}, {one.output})" for one in kinds.values())
        raise UserError(
            f"{folder} holds labels of {some}, expected one teacher's: write each teacher's into a folder of its own"
        )
