"""`distill predict`: depth of images, folders and videos, as 16-bit PNG and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import nn

from distill import build
from distill.config import MIN_SIDE
from distill.data import DecodeError, to_tensor
from distill.data.files import read_image
from distill.data.folder import IMAGE_SUFFIXES
from distill.engine.files import write_atomically
from distill.engine.tracking import console
from distill.errors import UserError
from distill.judging import trained_size
from distill.report import colourise, depth_scale, encode_png, scale_bar

VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm"}
PNG_SCALE = 256.0  # depth units per metre in the 16-bit PNGs, as KITTI's


def find_inputs(inputs: Sequence[Path], output: Path) -> dict[Path, Path]:
    """Every image and video among files and folders, with the name of what is written for it, without a suffix.

    Folders keep their inner structure. What an earlier call wrote into an `output` inside of them is no input.

    Raises:
        UserError: If one does not exist, or a folder holds none.
    """
    found: dict[Path, Path] = {}
    for given in inputs:
        if given.is_dir():
            written = [] if given.resolve() == output.resolve() else list(output.rglob("*"))
            files = [p for p in given.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
            inside = sorted(set(files) - set(written))
            if not inside:
                raise UserError(
                    f"no image or video in {given}; known are {' '.join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))}"
                )
            found |= {path: path.relative_to(given).with_suffix("") for path in inside}
        elif not given.exists():
            raise UserError(f"no such input: {given}")
        else:
            found[given] = Path(given.stem)
    return found


def written_files(target: Path) -> tuple[Path, Path]:
    """The depth PNG and the colour picture of a target."""
    return target.with_name(f"{target.name}.png"), target.with_name(f"{target.name}_colour.png")


def name_outputs(found: Mapping[Path, Path], output: Path) -> dict[Path, Path]:
    """Where each input's files go, without a suffix.

    Raises:
        UserError: If two inputs would write one file, or one of them would be overwritten.
    """
    writers: dict[Path, Path] = {}
    inputs = {path.resolve(): path for path in found}
    for path, name in found.items():
        for file in written_files(output / name):
            if file in writers:
                raise UserError(f"{writers[file]} and {path} would both write {file}; predict them into two folders")
            if file.resolve() in inputs:
                raise UserError(f"{inputs[file.resolve()]} would be overwritten; choose another --output")
            writers[file] = path
    return {path: output / name for path, name in found.items()}


class Predictor:
    """A model that takes uint8 images (H, W, 3) of any size and gives float32 depth (H, W) in metres."""

    def __init__(self, model: nn.Module, size: tuple[int, int] | None, device: torch.device) -> None:
        self.model, self.size, self.device = model.to(device).eval(), size, device

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        tensor = to_tensor(image)[None].to(self.device)
        shape = tensor.shape[-2:]
        if self.size:
            tensor = F.interpolate(tensor, size=self.size, mode="bilinear", align_corners=False, antialias=True)
        depth = self.model(tensor)
        if self.size:
            depth = F.interpolate(depth, size=shape, mode="bilinear", align_corners=False)
        return depth[0, 0].float().cpu().numpy()

    def limits(self, depth: np.ndarray) -> tuple[float, float]:
        """The range that colours span: up to the model's own limit, or that of the picture where it has none."""
        high = float(getattr(self.model, "max_depth", None) or np.nanmax(depth))
        return max(high / 80, 0.1), high


def write_depth(target: Path, depth: np.ndarray, limits: tuple[float, float]) -> None:
    """`NAME.png`, 16 bits, metres * 256, and `NAME_colour.png` with its scale in metres."""
    stored = np.nan_to_num(depth * PNG_SCALE, nan=0.0, posinf=65535.0, neginf=0.0).round().clip(0, 65535)
    done, png = cv2.imencode(".png", stored.astype(np.uint16))
    assert done
    colour = scale_bar(colourise(depth, *limits), depth_scale(*limits))
    for file, content in zip(written_files(target), (png.tobytes(), encode_png(colour)), strict=True):
        write_atomically(file, content)


def large_enough(path: Path, image: np.ndarray) -> np.ndarray:
    """The image, unless no network takes one so small."""
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise DecodeError(path, f"{height}x{width} (height x width) is less than {MIN_SIDE} pixels; enlarge it")
    return image


def frames(path: Path) -> Iterator[np.ndarray]:
    """RGB frames (H, W, 3), uint8, of a video.

    Raises:
        DecodeError: If it cannot be opened or holds no frame.
    """
    video = cv2.VideoCapture(str(path))
    count = 0
    while True:
        there, frame = video.read()
        if not there:
            break
        count += 1
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    video.release()
    if count == 0:
        raise DecodeError(str(path), "no frame of it can be decoded")


def predict_video(predictor: Predictor, path: Path, target: Path) -> int:
    """Every frame as `NAME_000000.png` and so on; returns how many."""
    count = 0
    for count, image in enumerate(frames(path), start=1):
        depth = predictor(large_enough(path, image))
        write_depth(target.with_name(f"{target.name}_{count - 1:06d}"), depth, predictor.limits(depth))
    return count


def predict_image(predictor: Predictor, path: Path, target: Path) -> int:
    depth = predictor(large_enough(path, read_image(path)))
    write_depth(target, depth, predictor.limits(depth))
    return 1


def predict(model: str, inputs: Sequence[Path], output: Path, size: tuple[int, int] | None = None) -> list[str]:
    """Write depth for every input and return one line for each that could not be read.

    Raises:
        UserError: If there is no such model or input, or the output cannot be written.
    """
    targets = name_outputs(find_inputs(inputs, output), output)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    predictor = Predictor(build.open_model(model), size or trained_size(model), device)
    broken: list[str] = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for path, target in progress.track(targets.items(), description="predicting"):
            act = predict_video if path.suffix.lower() in VIDEO_SUFFIXES else predict_image
            try:
                act(predictor, path, target)
            except DecodeError as error:
                broken.append(str(error))
                console.print(f"skipped: {error}", highlight=False)
            except OSError as error:
                raise UserError(f"{target} cannot be written ({error.strerror}); choose another --output") from error
    console.print(f"{len(targets) - len(broken)} of {len(targets)} inputs written to {output}", highlight=False)
    return broken
