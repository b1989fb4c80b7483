"""Images and the classes of their pixels: folders as ADE20K has them, and two ways in which files number classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from distill.data.files.disk import HALVES, IMAGE_FOLDERS, check_root, names_in, wrong_layout
from distill.data.files.list_files import Part
from distill.data.files.pairs import Contents, Pair
from distill.data.files.probing import IMAGE_SUFFIXES
from distill.data.files.reading import DecodeError, NotDepth, read_file, read_image
from distill.errors import UserError

ANNOTATION_FOLDERS = ("annotations", "annotation", "labels", "label", "masks", "segmentation")
ANNOTATION_SUFFIXES = {".png", ".tif", ".tiff", ".bmp"}  # without loss


@dataclass(frozen=True)
class Numbering:
    """How files number classes: the `first` of them, and the value of pixels without one."""

    first: int
    nothing: int
    otherwise: str

    @property
    def step(self) -> int:
        """By how much a prediction would lie beside the truth as read, if the files counted otherwise."""
        return 1 if self.first else -1


NUMBERINGS = {"ade20k": Numbering(1, 0, "from-zero"), "from-zero": Numbering(0, 255, "ade20k")}


@dataclass(frozen=True)
class Annotated:
    """Images that have annotations, by name, and how many files have no partner."""

    pairs: list[tuple[str, Path, Path]]
    images_alone: int
    annotations_alone: int
    source: str

    def contents(self, numbering: Numbering, classes: int) -> Contents:
        """The same as a data set, whose truth is the number of each pixel's class from 1, 0 where it has none."""
        alone = {"images": self.images_alone, "annotations": self.annotations_alone}
        return Contents(
            root=self.pairs[0][1].parent,
            source=self.source,
            layout="images and annotations of the same name",
            truth=f"{classes} classes",
            max_depth=classes + 1.0,
            pairs=tuple(Pair(name, str(image), str(annotation)) for name, image, annotation in self.pairs),
            read=AnnotationReader(numbering, classes),
            numbers=f"{classes} classes from {numbering.first} on, {numbering.nothing} where there is none",
            left_out=tuple(f"{count} {what} have no partner of their name" for what, count in alone.items() if count),
        )


@dataclass(frozen=True)
class AnnotationReader:
    """Reads an image, and the numbers of its classes from 1 as float32 (H, W), 0 where a pixel has none."""

    numbering: Numbering
    classes: int

    def __call__(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        image = read_image(pair.image)
        numbers = read_annotation(Path(pair.depth or ""), image, self.numbering, self.classes)
        return image, (numbers + 1).astype(np.float32)


def has_annotated(root: Path, part: Part) -> bool:
    """Whether a folder has a half to train on, or one to validate on; a folder without halves is to train on."""
    folders = _folders(root) if root.is_dir() else None
    if folders is None or part == "test":
        return folders is not None and _half(*folders, part) is not None
    return _half(*folders, part) is not None or _half(*folders, "test") is None


def find_annotated(root: Path, part: Part = "test") -> Annotated:
    """A half of `images/` and `annotations/` in a folder, or all of them where they have no halves.

    Raises:
        UserError: If there are no such folders, or no image has an annotation of its name.
    """
    check_root(root, "a folder with images/ and annotations/")
    folders = _folders(root)
    if folders is None:
        raise wrong_layout(root, "segmentation", ["images/ and annotations/, as ADEChallengeData2016 has"])
    if part == "train" and not has_annotated(root, part):
        raise UserError(f"{root} holds the test half alone, nothing to train on: add training/ to both of its folders")
    images, annotations = _half(*folders, part) or folders
    seen, known = _stems(images, IMAGE_SUFFIXES), _stems(annotations, ANNOTATION_SUFFIXES)
    names = sorted(seen.keys() & known.keys())
    if not names:
        some = next(iter(seen), "none")
        raise UserError(
            f"no image of {images} ({len(seen)}, such as {some}) has an annotation of its name in {annotations} "
            f"({len(known)}); expected {annotations / some}.png"
        )
    pairs = [(name, seen[name], known[name]) for name in names]
    return Annotated(pairs, len(seen) - len(names), len(known) - len(names), f"{images} and {annotations}")


def _folders(root: Path) -> tuple[Path, Path] | None:
    images, annotations = _named(root, IMAGE_FOLDERS), _named(root, ANNOTATION_FOLDERS)
    return (images, annotations) if images and annotations else None


def _half(images: Path, annotations: Path, part: Part) -> tuple[Path, Path] | None:
    """The first of a half's folders that both have."""
    halves = ((_named(images, (half,)), _named(annotations, (half,))) for half in HALVES[part])
    return next(((one, other) for one, other in halves if one and other), None)


def _named(folder: Path, names: tuple[str, ...]) -> Path | None:
    there = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    return next((there[name] for name in names if name in there), None)


def _stems(folder: Path, suffixes: set[str]) -> dict[str, Path]:
    paths = (path for path in names_in(folder) if path.suffix.lower() in suffixes)
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}


def read_annotation(path: Path, image: np.ndarray, numbering: Numbering, classes: int) -> np.ndarray:
    """The class of each pixel from 0, int16 (H, W), -1 where it has none.

    Raises:
        DecodeError: If the file cannot be read, or is of another size than its image (H, W, 3).
        UserError: If it holds more than the classes: its numbers would mean others than are scored.
    """
    values = _numbers(path)
    if values.shape != image.shape[:2]:
        sizes = ["x".join(map(str, shape)) for shape in (values.shape, image.shape[:2])]
        raise NotDepth(path, f"is {sizes[0]} but its image is {sizes[1]} (height x width), expected one size")
    last = numbering.first + classes - 1
    beyond = (values != numbering.nothing) & ((values < numbering.first) | (values > last))
    if beyond.any():
        raise UserError(
            f"{path} holds {int(values[beyond].max())} and {int(beyond.sum())} pixels beyond the {classes} classes, "
            f"numbered {numbering.first} to {last} (nothing is {numbering.nothing}); if its classes count from "
            f"{1 - numbering.first}, give --labels {numbering.otherwise} (of a run: "
            f"data.numbering={numbering.otherwise}), else a model of its classes"
        )
    return np.where(values == numbering.nothing, -1, values.astype(np.int32) - numbering.first).astype(np.int16)


def _numbers(path: Path) -> np.ndarray:
    """The numbers in a picture, those of a palette included."""
    read_file(path)  # names what is no file
    try:
        with Image.open(path) as picture:
            values = np.asarray(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DecodeError(path, str(error)) from None
    if values.ndim != 2 or values.dtype.kind not in "iu":
        raise NotDepth(path, f"holds colours ({picture.mode}), expected one number a pixel: that of its class")
    return values
