"""What is written for an image: depth in 16 bits and exactly, colours, points, and everything beside each other."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from distill.data import Sample
from distill.data.files.list_files import Camera
from distill.data.files.png import encode_classes, encode_depth, encode_npy, is_written_depth
from distill.errors import UserError
from distill.evaluation import Prediction, Protocol
from distill.files import whole_or_absent, write_atomically
from distill.inference.agreement import agreement_panel
from distill.inference.network import Model
from distill.inference.panels import depth_panel
from distill.inference.stored import read_about, same_depth
from distill.predict.frames import Frame
from distill.predict.inputs import VIDEO_OUT, Input
from distill.report.pictures import (
    class_overlay,
    colourise,
    colourise_error,
    depth_scale,
    encode_png,
    error_scale,
    panel_strip,
    scale_bar,
)
from teachers import DepthModel
from teachers.model import Output, classes_of, is_relative, output_of

PNG_SCALE = 256.0  # depth units per metre in the 16-bit PNGs, as KITTI's
DEPTH, COLOUR, ARRAY, CLOUD, BESIDE = ".png", "_colour.png", ".npy", ".ply", "_compare.png"
UNSURE, UNSURE_COLOUR, UNSURE_ARRAY = (f"_uncertainty{suffix}" for suffix in (DEPTH, COLOUR, ARRAY))
UNSURE_LIMIT = 0.4  # of depth, at the end of the colours, as in the pictures of errors

OWN_FAULTS = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ENOTDIR, errno.EEXIST}  # of one name

LONGEST_STILL = 600.0  # seconds for which a film repeats a frame; more would be a fault of the video's clock
USUAL_ANGLE = 60.0  # degrees from the left edge to the right one, of a camera of which nothing is known
POINT = np.dtype([(axis, "<f4") for axis in "xyz"] + [(colour, "u1") for colour in ("red", "green", "blue")])

KINDS: dict[Output, str] = {"metric": "depth in metres", "relative": "relative depth", "classes": "classes"}
Limits = tuple[float, float]  # metres between which colours span


@dataclass(frozen=True)
class Predicted:
    """A frame with all that is known of its depth, maps in metres (H, W).

    Where `meaning` says so it is relative inverse depth instead, or numbers of the `classes`. `uncertainty` is the
    depth's standard deviation. `teacher` is as of `in_truths_place`, and `agreement` the rules by which both are
    compared where one of them is relative.
    """

    frame: Frame
    depth: np.ndarray
    limits: Limits
    teacher: np.ndarray | None = None
    truth: np.ndarray | None = None
    meaning: Output = "metric"
    classes: tuple[str, ...] = ()
    uncertainty: np.ndarray | None = None
    agreement: Protocol | None = None


def meaning_of(model: Model) -> tuple[Output, tuple[str, ...]]:
    """What the values of a model mean, and the names of its classes."""
    return output_of(model), classes_of(model)


def colour_range(model: Model, depth: np.ndarray) -> Limits:
    """The range that colours span: up to the model's own limit, or that of the picture where it has none.

    Of relative inverse depth it is what most of the picture has.
    """
    if is_relative(model):
        finite = depth[np.isfinite(depth)]
        low, high = np.percentile(finite, (2, 98)) if finite.size else (0.0, 1.0)
        return float(low), float(max(high, low + 1e-12))
    # The limit of a student of a canonical camera is no depth of this one.
    high = model.max_depth if isinstance(model, DepthModel) and model.canonical_focal is None else None
    if high is None:
        known = depth[np.isfinite(depth) & (depth > 0)]
        high = float(known.max()) if known.size else 10.0
    return max(high / 80, min(0.1, high / 2)), high


def coloured(depth: np.ndarray, limits: Limits, relative: bool) -> np.ndarray:
    """Depth in colours; of relative inverse depth the same colours."""
    if not relative:
        return colourise(depth, *limits)
    low, high = limits
    return colourise(np.exp(-((depth - low) / (high - low)).clip(0, 1)), math.exp(-1), 1.0)


def colour_picture(one: Predicted) -> np.ndarray:
    """The depth in colours, their scale in metres below, which relative depth has not."""
    if one.meaning == "classes":
        return class_overlay(one.frame.image, one.depth, one.classes)
    relative = one.meaning == "relative"
    picture = coloured(one.depth, one.limits, relative)
    return picture if relative else scale_bar(picture, depth_scale(*one.limits))


def uncertainty_picture(depth: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    """The standard deviation as a share of the depth, in the colours of errors, with their scale below."""
    picture = colourise_error(depth + uncertainty, depth, depth > 0, UNSURE_LIMIT)
    return scale_bar(picture, replace(error_scale(UNSURE_LIMIT), label="Standard deviation (% of depth)"))


def beside(one: Predicted) -> np.ndarray:
    """Image, truth, teacher and student on one scale of colours, and the student's error where there is truth."""
    truth = np.zeros(one.depth.shape, np.float32) if one.truth is None else one.truth
    if one.agreement and one.teacher is not None:
        taught = Sample(one.frame.image, one.teacher, one.teacher > 0, one.frame.name)
        prediction = Prediction(one.depth, relative=one.meaning == "relative")
        return panel_strip(agreement_panel(taught, prediction, one.agreement))
    depths = {"teacher": one.teacher} if one.teacher is not None else {}
    sample = Sample(one.frame.image, truth, truth > 0, one.frame.name)
    return panel_strip(depth_panel(one.frame.name, sample, {**depths, "student": one.depth}, np.inf))


@dataclass
class Writer:
    """Writes the files of every frame into a folder, and a video of colours for what moves.

    Args:
        arrays: Write .npy as well.
        clouds: Write .ply as well, for `camera`; without one for the usual camera.
        compare: Write teacher and truth beside the student where there are any.
        confidence: Write the depth's standard deviation as well.
        meaning: Of relative depth, which has no unit, arrays and colours are all that is written; of classes their
            numbers and colours.
    """

    output: Path
    arrays: bool = False
    clouds: bool = False
    compare: bool = False
    camera: Camera | None = None
    meaning: Output = "metric"
    confidence: bool = False
    film: Film | None = field(default=None, init=False)

    @property
    def suffixes(self) -> list[str]:
        """Of the files that an image may get."""
        if self.meaning == "relative":
            return [COLOUR, ARRAY, *([BESIDE] if self.compare else [])]
        chosen = {ARRAY: self.arrays, CLOUD: self.clouds, BESIDE: self.compare}
        chosen |= {UNSURE: self.confidence, UNSURE_COLOUR: self.confidence}
        chosen |= {UNSURE_ARRAY: self.confidence and self.arrays}
        return [DEPTH, COLOUR, *(suffix for suffix, wanted in chosen.items() if wanted)]

    def strangers(self, inputs: Sequence[Input]) -> Iterator[Path]:
        """Files that the inputs' results would replace, and that no earlier call wrote: its depth is marked."""
        if read_about(self.output).output == "relative":  # all that is there is a call's, of relative depth
            return
        for source in (one for one in inputs if not one.fault):
            target = self.output / source.name
            first = target.with_name(f"{target.name}_{0:06d}{DEPTH}" if source.moving else target.name + DEPTH)
            suffixes = [VIDEO_OUT] if source.moving else self.suffixes
            if not is_written_depth(first):
                yield first
                yield from (target.with_name(target.name + suffix) for suffix in suffixes)

    def __call__(self, one: Predicted) -> None:
        frame = one.frame
        target = self.output / frame.source.name.with_name(frame.name)
        files = self._files(one)
        self._forget(target, set(files))
        for suffix, content in files.items():
            write_atomically(target.with_name(target.name + suffix), content)
        if frame.number is not None:
            self._film(frame, one.limits).add(one)

    def _forget(self, target: Path, written: set[str]) -> None:
        """Remove what an earlier call left of a frame that this one makes untrue; what is not surely such stays."""
        own = (CLOUD, BESIDE, UNSURE, UNSURE_COLOUR, UNSURE_ARRAY)
        place = {suffix: target.with_name(target.name + suffix) for suffix in (DEPTH, ARRAY, *own)}
        if DEPTH not in written or not is_written_depth(place[DEPTH]):
            return
        for suffix in {ARRAY, *own} - written:
            if suffix != ARRAY or same_depth(place[ARRAY], PNG_SCALE):
                place[suffix].unlink(missing_ok=True)

    def _files(self, one: Predicted) -> dict[str, bytes]:
        frame = one.frame
        if self.meaning == "relative":
            files = {ARRAY: encode_npy(one.depth)}
        else:
            classes = self.meaning == "classes"
            files = {DEPTH: encode_classes(one.depth) if classes else encode_depth(one.depth, PNG_SCALE)}
        if frame.number is None:
            files[COLOUR] = encode_png(colour_picture(one))
        if self.compare and (one.teacher is not None or one.truth is not None):
            files[BESIDE] = encode_png(beside(one))
        if self.meaning != "metric":
            return files
        if self.arrays:
            files[ARRAY] = encode_npy(one.depth)
        if self.clouds:
            height, width = one.depth.shape
            files[CLOUD] = point_cloud(one.depth, frame.image, self.camera or usual_camera(width, height))
        if one.uncertainty is not None:
            files |= self._uncertainty_files(one.depth, one.uncertainty, frame.number is None)
        return files

    def _uncertainty_files(self, depth: np.ndarray, uncertainty: np.ndarray, picture: bool) -> dict[str, bytes]:
        files = {UNSURE: encode_depth(uncertainty, PNG_SCALE)}
        if picture:
            files[UNSURE_COLOUR] = encode_png(uncertainty_picture(depth, uncertainty))
        return files | ({UNSURE_ARRAY: encode_npy(uncertainty)} if self.arrays else {})

    def _film(self, frame: Frame, limits: Limits) -> Film:
        path = self.output / frame.source.name.with_name(frame.source.name.name + VIDEO_OUT)
        if self.film is None or self.film.path != path:
            self.close()
            self.film = Film(path, frame.rate, limits)
        return self.film

    def close(self) -> None:
        """Finish the video in the making."""
        if self.film is not None:
            self.film.close()
        self.film = None


class Film:
    """A video that is written frame by frame beside its place, and moved there when it is closed.

    Its limits of colours are those of all frames, or a still wall would flicker. Its rate is constant, and a frame is
    repeated until the time of the next one.
    """

    def __init__(self, path: Path, rate: float, limits: Limits) -> None:
        self.path, self.rate, self.limits = path, rate, limits
        self.video: cv2.VideoWriter | None = None
        self.frames, self.open = 0, ExitStack()
        self.picture: np.ndarray | None = None

    def add(self, one: Predicted) -> None:
        """Take a frame: the one before it is shown until then."""
        picture = colour_picture(replace(one, limits=self.limits))
        height, width = (side + side % 2 for side in picture.shape[:2])  # as video codecs want them
        picture = np.pad(picture, ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0)), mode="edge")
        if self.video is None:
            self.part = self.open.enter_context(whole_or_absent(self.path, self.path.suffix))
            video = cv2.VideoWriter(str(self.part), cv2.VideoWriter.fourcc(*"mp4v"), self.rate, (width, height))
            if not video.isOpened():
                with self.open:
                    raise UserError(f"{self.path} cannot be written; choose another --output, or give frames as images")
            self.video = video
        self._show(min(round(one.frame.seconds * self.rate), self.frames + round(LONGEST_STILL * self.rate)))
        self.picture = np.ascontiguousarray(picture[..., ::-1])

    def _show(self, until: int) -> None:
        """Write the picture until there are so many; one whose time has passed is left out."""
        while self.video is not None and self.picture is not None and self.frames < until:
            self.video.write(self.picture)
            self.frames += 1

    def close(self) -> None:
        """Finish the file and move it to its place, if all of it is there: OpenCV says nothing of a full disk.

        Raises:
            OSError: If it is not.
        """
        if self.video is None:
            return
        self._show(self.frames + 1)
        with self.open:
            self.video.release()
            if cv2.VideoCapture(str(self.part)).get(cv2.CAP_PROP_FRAME_COUNT) != self.frames:
                raise OSError(errno.EIO, "the video was not written whole, as on a full disk", str(self.path))


def usual_camera(width: int, height: int) -> Camera:
    """(fx, fy, cx, cy) in pixels of a camera with square pixels that sees `USUAL_ANGLE` degrees across."""
    focal_px = width / 2 / math.tan(math.radians(USUAL_ANGLE / 2))
    return focal_px, focal_px, (width - 1) / 2, (height - 1) / 2


def point_cloud(depth: np.ndarray, image: np.ndarray, camera: Camera) -> bytes:
    """A binary PLY file: one coloured point for each pixel whose depth is positive and finite.

    x points right, y down and z forward, in metres: x = (column - cx) / fx * depth, y = (row - cy) / fy * depth.

    Args:
        depth: Metres along the optical axis, (H, W).
        image: RGB, uint8 (H, W, 3).
        camera: (fx, fy, cx, cy) in pixels of this image; the middle of its first pixel is (0, 0).
    """
    fx, fy, cx, cy = camera
    rows, columns = np.nonzero(np.isfinite(depth) & (depth > 0))
    points = np.empty(len(rows), POINT)
    metres = depth[rows, columns]
    points["x"], points["y"], points["z"] = (columns - cx) / fx * metres, (rows - cy) / fy * metres, metres
    points["red"], points["green"], points["blue"] = image[rows, columns].T
    types = {"<f4": "float", "|u1": "uchar"}
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment metres; x right, y down, z forward",
        f"comment camera fx {fx:.6g} fy {fy:.6g} cx {cx:.6g} cy {cy:.6g} pixels",
        f"element vertex {len(points)}",
        *(f"property {types[POINT[name].str]} {name}" for name in POINT.names or ()),
        "end_header",
    ]
    return "\n".join(header).encode() + b"\n" + points.tobytes()
