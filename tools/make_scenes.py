"""Writes procedural scenes as KITTI's or NYU's files, or as a folder with the class of every pixel beside its depth.

    python tools/make_scenes.py --layout kitti --output data/streets --train 200 --test 50
    distill train configs/kitti/efficientnet_b0.yaml data.root=data/streets
    python tools/make_scenes.py --layout streets --output data/classes --size 64x224
    distill train configs/scenes_segmentation.yaml data.name=folder data.root=data/classes

The same settings always give the same files, and a frame does not depend on how many there are. One camera takes all
of a set, as in the real ones. `--zoom 1.5` makes its focal length half as long again; folders have it in
`intrinsics.json`. Pixels are square, so that the vertical focal length of rooms is 0.1 % off NYU's. NYU's reader knows
its one camera alone: at another size than 480x640 the intrinsics that it gives are not the pictures'.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from distill.data import default_split
from distill.data.kitti import drives
from distill.data.nyu import labelled
from distill.data.scenes.scene_dataset import Scene, kinect_like_holes, kitti_like_sparse, render
from distill.errors import UserError
from distill.files import write_atomically
from teachers.model import MIN_SIDE

DATE = "2011_09_26"
Part = Literal["train", "test"]
PARTS: tuple[Part, ...] = ("train", "test")
FRAMES = 20  # of each drive, and of each room
FIRST = {"train": 1, "test": 5001}  # number of a part's first drive or room, of four digits
MOST = 4999 * FRAMES
RECORD = "scenes.json"


class Files(NamedTuple):
    """A frame's image and depth as the list names them, and the folders of the root that hold these paths.

    Where there is a path for it, the surface of every pixel is written too.
    """

    image: str
    depth: str
    image_folder: str
    depth_folder: str
    surface: str | None = None


def kitti_files(part: Part, number: int) -> Files:
    drive, frame = f"{DATE}_drive_{FIRST[part] + number // FRAMES:04d}_sync", f"{number % FRAMES:010d}.png"
    depth = f"{drive}/proj_depth/groundtruth/image_02/{frame}"
    return Files(f"{DATE}/{drive}/image_02/data/{frame}", depth, "", "data_depth_annotated")


def nyu_files(part: Part, number: int) -> Files:
    room, frame = f"room_{FIRST[part] + number // FRAMES:04d}", f"{number % FRAMES:05d}"
    folder = "sync" if part == "train" else labelled.TEST_FOLDER
    return Files(f"{room}/rgb_{frame}.jpg", f"{room}/sync_depth_{frame}.png", folder, folder)


def folder_files(part: Part, number: int) -> Files:
    half = {"train": "training", "test": "validation"}[part]
    image, depth, surface = (f"{folder}/{half}/{number:05d}.png" for folder in ("images", "depth", "annotations"))
    return Files(image, depth, "", "", surface)


@dataclass(frozen=True)
class SceneRecipe:
    """What makes scenes into frames of a data set."""

    kind: str  # of scene
    size: tuple[int, int]  # height and width of its frames
    camera: tuple[float, float, float]  # focal length and centre (x, y) in pixels of such a frame
    depth_scale: float  # units per metre
    max_depth: float  # metres
    sense: Callable[[Scene, int], Tensor]  # what its sensor measures of a scene; the seed decides where it fails
    files: Callable[[Part, int], Files]
    listed: bool = True  # by lists of its frames; else its halves are folders

    def intrinsics(self, size: tuple[int, int], zoom: float = 1.0) -> np.ndarray:
        """The camera matrix (3, 3) in pixels of a frame of `size`; the focal length goes with the width.

        `zoom` is in focal lengths of the recipe's own camera.
        """
        focal, u, v = zoom * self.camera[0], *self.camera[1:]
        down, across = size[0] / self.size[0], size[1] / self.size[1]
        centre = (u + 0.5) * across - 0.5, (v + 0.5) * down - 0.5
        return np.array([[focal * across, 0, centre[0]], [0, focal * across, centre[1]], [0, 0, 1]])


RECIPES = {
    "kitti": SceneRecipe(
        kind="road",
        size=(375, 1242),
        camera=(721.5377, 609.5593, 172.854),  # the left colour camera on that date
        depth_scale=drives.DEPTH_SCALE,
        max_depth=drives.MAX_DEPTH,
        sense=lambda scene, seed: kitti_like_sparse(scene.depth, seed),
        files=kitti_files,
    ),
    "nyu": SceneRecipe(
        kind="room",
        size=labelled.FRAME,
        camera=(labelled.INTRINSICS[0, 0], labelled.INTRINSICS[0, 2], labelled.INTRINSICS[1, 2]),
        depth_scale=labelled.DEPTH_SCALE,
        max_depth=labelled.MAX_DEPTH,
        sense=kinect_like_holes,
        files=nyu_files,
    ),
}
RECIPES |= {  # 256 and 1000 units of depth per metre, as those that they are made of
    name: replace(RECIPES[of], sense=lambda scene, seed: scene.depth, files=folder_files, listed=False)
    for name, of in {"streets": "kitti", "rooms": "nyu"}.items()
}


class WrittenFrame(NamedTuple):
    """One frame of a set: enough for any process to make it."""

    layout: str
    part: Part
    number: int
    seed: int
    size: tuple[int, int]
    zoom: float = 1.0


def take(frame: WrittenFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A frame's RGB image (H, W, 3), uint8, the depth (H, W) that is measured of it, in metres, float32, its surfaces.

    These are numbers from 1, uint8 (H, W), as `SURFACES` has them.
    """
    recipe = RECIPES[frame.layout]
    entropy = np.random.SeedSequence([frame.seed, PARTS.index(frame.part), frame.number])
    seed = int(entropy.generate_state(1, np.uint64)[0])
    scene = render(recipe.kind, seed, frame.size, intrinsics=recipe.intrinsics(frame.size, frame.zoom))
    image = scene.image.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return image, recipe.sense(scene, seed).numpy(), scene.surface.byte().numpy()


def quantise(depth: np.ndarray, scale: float, max_depth: float) -> np.ndarray:
    """Depth (H, W) in metres as uint16, `scale` units per metre; 0, not measured, beyond the cap or 16 bits."""
    known = (depth > 0) & (depth <= min(max_depth, np.iinfo(np.uint16).max / scale))  # false for NaN as well
    return (np.where(known, depth, 0).astype(np.float64) * scale).round().astype(np.uint16)


def save(path: Path, picture: np.ndarray) -> None:
    """An RGB or single-channel picture as what the file's suffix says."""
    done, data = cv2.imencode(path.suffix, picture[..., ::-1] if picture.ndim == 3 else picture)
    assert done
    write_atomically(path, data.tobytes())


def make_frame(output: Path, frame: WrittenFrame) -> str:
    """Write a frame's files and return its line of the list."""
    recipe = RECIPES[frame.layout]
    files = recipe.files(frame.part, frame.number)
    image, depth, surface = take(frame)
    save(output / files.image_folder / files.image, image)
    save(output / files.depth_folder / files.depth, quantise(depth, recipe.depth_scale, recipe.max_depth))
    if files.surface:
        save(output / files.surface, surface)
    return f"{files.image} {files.depth} {recipe.intrinsics(frame.size, frame.zoom)[0, 0]:.4f}\n"


def start_worker() -> None:
    """Workers leave Ctrl-C to their parent, and one thread each makes pictures independent of the machine's cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def write_set(
    layout: str,
    output: Path,
    train: int,
    test: int,
    seed: int,
    size: tuple[int, int] | None,
    workers: int | None,
    zoom: float = 1.0,
) -> None:
    """All frames, and behind them the lists: a set that was interrupted has none, and is finished by a repetition."""
    size = size or RECIPES[layout].size
    settings: dict[str, str | int | float] = {
        "layout": layout,
        "train": train,
        "test": test,
        "seed": seed,
        "size": f"{size[0]}x{size[1]}",
    }
    claim(output, settings | ({"zoom": zoom} if zoom != 1 else {}))
    camera = RECIPES[layout].intrinsics(size, zoom)
    if layout == "kitti":
        write_calibration(output / DATE / "calib_cam_to_cam.txt", size, camera)
    elif not RECIPES[layout].listed:
        write_atomically(output / "intrinsics.json", json.dumps(camera.tolist()) + "\n")
    counts: dict[Part, int] = {"train": train, "test": test}
    frames = [WrittenFrame(layout, part, number, seed, size, zoom) for part in PARTS for number in range(counts[part])]
    with ProcessPoolExecutor(workers, initializer=start_worker) as pool:
        lines = pool.map(make_frame, [output] * len(frames), frames)
        done = list(track(lines, "rendering", total=len(frames), console=Console(stderr=True)))
    for part in PARTS if RECIPES[layout].listed else ():
        listed = [line for frame, line in zip(frames, done, strict=True) if frame.part == part]
        write_atomically(default_split(output, part), "".join(listed))


def claim(output: Path, settings: dict[str, str | int | float]) -> None:
    """Make the folder and record what it is for.

    Raises:
        UserError: If it holds anything but scenes of these very settings.
    """
    record, content = output / RECORD, json.dumps(settings)
    output.mkdir(parents=True, exist_ok=True)
    if record.is_file():
        there = " ".join(record.read_text(encoding="utf-8", errors="replace").split())
        if there != content:
            raise UserError(
                f"{output} holds scenes of other settings, {there[:200]}, asked for are {content}: name another "
                "--output, or remove that folder"
            )
    elif names := sorted(path.name for path in output.iterdir()):
        some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise UserError(f"{output} already holds {some}, expected a new or empty folder: name another --output")
    write_atomically(record, content + "\n")


def write_calibration(path: Path, size: tuple[int, int], camera: np.ndarray) -> None:
    """KITTI's file, as far as it concerns the left colour camera."""
    projection = np.hstack([camera, np.zeros((3, 1))])
    numbers = " ".join(repr(float(number)) for number in projection.flat)  # repr keeps every bit
    write_atomically(path, f"S_rect_02: {size[1]:.6e} {size[0]:.6e}\nP_rect_02: {numbers}\n")


def count(text: str) -> int:
    """A number of frames, or a seed."""
    if not re.fullmatch(r"\d{1,5}", text) or int(text) > MOST:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {MOST}, got {text!r}")
    return int(text)


def factor(text: str) -> float:
    """A focal length in those of the layout's own camera."""
    value = float(text)
    if not 0.1 <= value <= 10:
        raise argparse.ArgumentTypeError(f"expected a factor from 0.1 to 10, got {text!r}")
    return value


def frame_size(text: str) -> tuple[int, int]:
    """'375x1242' as (375, 1242)."""
    parts = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if parts is None or min(int(parts[1]), int(parts[2])) < MIN_SIDE:
        raise argparse.ArgumentTypeError(
            f"expected HEIGHTxWIDTH such as 375x1242, at least {MIN_SIDE} each, got {text!r}"
        )
    return int(parts[1]), int(parts[2])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", required=True, choices=list(RECIPES), help="whose files to write")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--train", type=count, default=40, metavar="N", help="training frames (default: %(default)s)")
    parser.add_argument("--test", type=count, default=10, metavar="N", help="test frames (default: %(default)s)")
    parser.add_argument("--seed", type=count, default=0, metavar="S", help="decides every scene (default: %(default)s)")
    parser.add_argument("--size", type=frame_size, metavar="HxW", help="default: the data set's, 375x1242 or 480x640")
    parser.add_argument(
        "--zoom", type=factor, default=1.0, metavar="K", help="of the camera's focal length (default: 1)"
    )
    parser.add_argument("--workers", type=count, default=0, metavar="N", help="processes (default: one for each core)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 a mistake, with one line that explains it, 130 after Ctrl-C."""
    args = parse(arguments)
    try:
        if args.layout == "nyu" and args.zoom != 1:
            raise UserError("NYU's reader knows its one camera: leave --zoom out, or take --layout rooms")
        write_set(
            args.layout, args.output, args.train, args.test, args.seed, args.size, args.workers or None, args.zoom
        )
    except UserError as error:
        print(f"make_scenes: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"make_scenes: {args.output} cannot be written ({error}): choose another --output", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(f"{args.train} training and {args.test} test frames in {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
