"""What is written for an image: depth in 16 bits and exactly, colours, points, and everything beside each other."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from distill.data import Sample
from distill.data.files.list_files import Camera
from distill.data.files.png import encode_depth, encode_npy
from distill.errors import UserError
from distill.files import write_atomically
from distill.inference.network import Model
from distill.inference.panels import depth_panel
from distill.predict.frames import Frame
from distill.predict.inputs import VIDEO_OUT
from distill.predict.point_cloud import point_cloud, usual_camera
from distill.report import colourise, depth_scale, encode_png, panel_strip, scale_bar
from teachers import DepthModel

PNG_SCALE = 256.0  # depth units per metre in the 16-bit PNGs, as KITTI's
DEPTH, COLOUR, ARRAY, CLOUD, BESIDE = ".png", "_colour.png", ".npy", ".ply", "_compare.png"

Limits = tuple[float, float]  # metres between which colours span


@dataclass(frozen=True)
class Predicted:
    """A frame with all that is known of its depth, maps in metres (H, W)."""

    frame: Frame
    depth: np.ndarray
    limits: Limits
    teacher: np.ndarray | None = None
    truth: np.ndarray | None = None


def colour_range(model: Model, depth: np.ndarray) -> Limits:
    """The range that colours span: up to the model's own limit, or that of the picture where it has none."""
    high = model.max_depth if isinstance(model, DepthModel) else None
    if high is None:
        known = depth[np.isfinite(depth) & (depth > 0)]
        high = float(known.max()) if known.size else 10.0
    return max(high / 80, min(0.1, high / 2)), high


def colour_picture(one: Predicted) -> np.ndarray:
    """The depth in colours, their scale in metres below."""
    return scale_bar(colourise(one.depth, *one.limits), depth_scale(*one.limits))


def beside(one: Predicted) -> np.ndarray:
    """Image, truth, teacher and student on one scale of colours, and the student's error where there is truth."""
    nothing = np.zeros(one.depth.shape, np.float32)
    truth = nothing if one.truth is None else one.truth
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
    """

    output: Path
    arrays: bool = False
    clouds: bool = False
    compare: bool = False
    camera: Camera | None = None
    film: Film | None = field(default=None, init=False)

    @property
    def suffixes(self) -> list[str]:
        """Of the files that an image may get."""
        chosen = {ARRAY: self.arrays, CLOUD: self.clouds, BESIDE: self.compare}
        return [DEPTH, COLOUR, *(suffix for suffix, wanted in chosen.items() if wanted)]

    def __call__(self, one: Predicted) -> None:
        frame = one.frame
        target = self.output / frame.source.name.with_name(frame.name)
        for suffix, content in self._files(one).items():
            write_atomically(target.with_name(target.name + suffix), content)
        if frame.number is not None:
            self._film(frame).add(one)

    def _files(self, one: Predicted) -> dict[str, bytes]:
        frame = one.frame
        files = {DEPTH: encode_depth(one.depth, PNG_SCALE)}
        if frame.number is None:
            files[COLOUR] = encode_png(colour_picture(one))
        if self.arrays:
            files[ARRAY] = encode_npy(one.depth)
        if self.clouds:
            height, width = one.depth.shape
            files[CLOUD] = point_cloud(one.depth, frame.image, self.camera or usual_camera(width, height))
        if self.compare and (one.teacher is not None or one.truth is not None):
            files[BESIDE] = encode_png(beside(one))
        return files

    def _film(self, frame: Frame) -> Film:
        path = self.output / frame.source.name.with_name(frame.source.name.name + VIDEO_OUT)
        if self.film is None or self.film.path != path:
            self.close()
            self.film = Film(path, frame.rate)
        return self.film

    def close(self) -> None:
        """Finish the video in the making."""
        if self.film is not None:
            self.film.close()
        self.film = None


class Film:
    """A video that is written frame by frame beside its place, and moved there when it is closed.

    The first frame's limits of colours are those of all, or a still wall would flicker.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self.part = path.with_name(f".{path.stem}.part{path.suffix}")
        self.limits: Limits | None = None
        self.video: cv2.VideoWriter | None = None

    def add(self, one: Predicted) -> None:
        self.limits = self.limits or one.limits
        picture = colour_picture(Predicted(one.frame, one.depth, self.limits))
        height, width = (side + side % 2 for side in picture.shape[:2])  # as video codecs want them
        picture = np.pad(picture, ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0)), mode="edge")
        if self.video is None:
            self.video = cv2.VideoWriter(str(self.part), cv2.VideoWriter.fourcc(*"mp4v"), self.rate, (width, height))
            if not self.video.isOpened():
                raise UserError(f"{self.path} cannot be written; choose another --output, or give frames as images")
        self.video.write(np.ascontiguousarray(picture[..., ::-1]))

    def close(self) -> None:
        if self.video is not None:
            self.video.release()
            os.replace(self.part, self.path)
