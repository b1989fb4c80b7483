"""Procedural streets and rooms with exact depth: training and test data that nobody has to download."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from distill.data.sample import DepthDataset, Sample
from distill.data.scenes.layout import MAX_DEPTH, Draw
from distill.data.scenes.rooms import interior
from distill.data.scenes.shading import photograph, shade, trace
from distill.data.scenes.streets import street
from distill.data.scenes.surfaces import SURFACES, surfaces_at


@dataclass(frozen=True)
class Scene:
    """A rendered view.

    `image` is RGB (3, H, W) in [0, 1], float32. `depth` is the exact z-depth (H, W) in metres, 0 for the sky and
    beyond the scene's `max_depth`. `intrinsics` is the float64 camera matrix (3, 3) in pixels, pixel centres at whole
    numbers. `grazing` (H, W) is the cosine between the ray and the surface's normal: 0 along the surface and for the
    sky, 1 face on. `surface` (H, W) is the number of what is seen, from 1, among the `SURFACES` of the kind of scene.
    """

    image: Tensor
    depth: Tensor
    intrinsics: Tensor
    grazing: Tensor
    surface: Tensor


SCENE_KINDS = {"road": street, "room": interior}


def render(
    kind: str,
    seed: int,
    size: tuple[int, int] = (64, 224),
    device: torch.device | str = "cpu",
    intrinsics: np.ndarray | None = None,
) -> Scene:
    """One scene, decided by its kind, seed and size (height, width) alone.

    Args:
        intrinsics: The camera matrix (3, 3) in pixels to see it with, square pixels; by default the seed decides.

    Raises:
        ValueError: If there is no such kind of scene.
    """
    check_kind(kind)
    draw = Draw(np.random.default_rng([list(SCENE_KINDS).index(kind), seed]))
    layout = SCENE_KINDS[kind](draw, size)
    if intrinsics is not None:
        focal, centre = float(intrinsics[0, 0]), (float(intrinsics[0, 2]), float(intrinsics[1, 2]))
        layout.camera = replace(layout.camera, focal_px=focal, centre_px=centre)
    rays = layout.camera.rays(device)
    depth, index = trace(layout, rays)
    # Beyond some kilometres the ground is a line of haze; without end its texture would overflow.
    index = torch.where(depth < 5000, index, -1)
    light, grazing = shade(layout, rays, depth, index)
    surface = surfaces_at(kind, layout, rays, depth, index)
    depth = torch.where((index >= 0) & (depth <= layout.max_depth), depth, 0.0)
    return Scene(photograph(light, draw), depth, layout.camera.intrinsics(), grazing, surface)


def check_kind(kind: str) -> None:
    """Refuse a kind of scene that there is not."""
    if kind not in SCENE_KINDS:
        raise ValueError(f"no scenes of kind {kind!r}; known: {', '.join(SCENE_KINDS)}")


def kitti_like_sparse(depth: Tensor, seed: int) -> Tensor:
    """What a 64-beam lidar would keep of a depth map (H, W): about one pixel in twenty, in rows, low in the image."""
    height, width = depth.shape
    rng = np.random.default_rng([2, seed])
    keep = np.zeros((height, width), dtype=bool)
    top = round(0.38 * height)
    beams = np.unique(np.linspace(top, height - 1, min(46, max((height - top) // 2, 1))).round().astype(int))
    # Where scan lines meet the sky fewer echoes come back; the others are dropped less often instead.
    echoes = max(int((depth[beams] > 0).sum()), 1)
    keep[beams] = rng.random((len(beams), width)) < min(0.05 * height * width / echoes, 0.9)
    return torch.where(torch.from_numpy(keep).to(depth.device), depth, 0.0)


def kinect_like_holes(scene: Scene, seed: int) -> Tensor:
    """What a structured-light sensor would measure of a scene (H, W): nothing at edges, on dark or grazing surfaces."""
    depth = scene.depth
    around = pad(depth[None], (1, 1, 1, 1), mode="replicate")[0]
    neighbours = torch.stack([around[2:, 1:-1], around[:-2, 1:-1], around[1:-1, 2:], around[1:-1, :-2]])
    jump = (neighbours - depth).abs().amax(0)
    chance = torch.from_numpy(np.random.default_rng([3, seed]).random(depth.shape, dtype=np.float32)).to(depth.device)
    faint = scene.grazing * (0.1 + scene.image.mean(0)) < 0.1 * chance + 0.01
    speckle = chance > 0.97
    return torch.where(faint | speckle | (jump > 0.08 * depth), 0.0, depth)


class SceneDataset(DepthDataset):
    """Scenes rendered as they are asked for: item i of a seed is always the same, and no two seeds share one.

    `sparse` leaves the ground truth that a sensor would give: scan lines in streets, holes in rooms. With `classes` the
    truth is not depth, but the number of what each pixel shows.
    """

    def __init__(
        self, kind: str, count: int, seed: int, size: tuple[int, int], sparse: bool = False, classes: bool = False
    ) -> None:
        check_kind(kind)
        self.kind, self.count, self.seed, self.size, self.sparse = kind, count, seed, size, sparse
        self.classes = classes
        self.max_depth = len(SURFACES[kind]) + 1.0 if classes else MAX_DEPTH[kind]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1, np.uint64)[0])
        scene = render(self.kind, seed, self.size)
        depth = scene.surface if self.classes else scene.depth
        if self.sparse and not self.classes:
            depth = kitti_like_sparse(depth, seed) if self.kind == "road" else kinect_like_holes(scene, seed)
        return Sample(
            image=scene.image.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy(),
            depth=depth.numpy(),
            valid=(depth > 0).numpy(),
            name=f"{self.kind}-{index:010d}",
            intrinsics=scene.intrinsics.numpy(),
        )
