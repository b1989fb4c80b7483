"""What scenes say of the surface of every pixel."""

import numpy as np
import pytest
import torch

from distill.data import SURFACES, SceneDataset
from distill.data.scenes.scene_dataset import render

SIZE = (48, 96)


@pytest.mark.parametrize("kind", SURFACES)
def test_every_pixel_has_a_surface_of_its_kind_of_scene(kind):
    surface = render(kind, 5, SIZE).surface
    assert surface.shape == SIZE
    assert set(surface.unique().tolist()) <= set(range(1, len(SURFACES[kind]) + 1))
    assert len(surface.unique()) > 3


@pytest.mark.parametrize("kind", SURFACES)
def test_classes_take_the_place_of_depth_and_change_no_image(kind):
    depth, classes = (SceneDataset(kind, 3, 7, SIZE, sparse=True, classes=one)[2] for one in (False, True))
    assert np.array_equal(depth.image, classes.image)
    assert classes.valid.all()
    assert not depth.valid.all()
    assert (classes.depth == classes.depth.round()).all()


def test_what_a_street_shows_lies_where_it_must():
    scene = render("road", 11, SIZE)
    sky, road = (scene.surface == SURFACES["road"].index(name) + 1 for name in ("sky", "road"))
    assert not scene.depth[sky].any()
    rows = torch.arange(SIZE[0])[:, None].expand(SIZE).float()
    assert rows[sky].mean() < rows[road].mean()


def test_the_floor_of_a_room_lies_below_its_ceiling():
    surface = torch.stack([render("room", seed, SIZE).surface for seed in range(4)])
    rows = torch.arange(SIZE[0])[:, None].expand_as(surface).float()
    floor, ceiling = (rows[surface == SURFACES["room"].index(name) + 1] for name in ("floor", "ceiling"))
    assert floor.min() > ceiling.max() - SIZE[0] / 2
    assert floor.mean() > ceiling.mean()
