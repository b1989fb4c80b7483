from dataclasses import replace

import numpy as np
import pytest

from distill.data.augment import cover, resize
from distill.data.focal import CANONICAL, metres_of, to_canonical
from distill.errors import UserError


def camera(focal):
    return np.array([[focal, 0, 31.5], [0, focal, 23.5], [0, 0, 1.0]])


@pytest.mark.parametrize("focal", [500.0, 1000.0, 1700.0])
def test_canonical_depth_is_brought_back_to_the_same_metres(make_sample, focal):
    sample = replace(make_sample(48, 64), intrinsics=camera(focal))
    learnt = to_canonical(sample)
    assert np.allclose(learnt.depth, sample.depth * 1000 / focal)
    assert (learnt.valid == sample.valid).all()
    back = learnt.depth * metres_of(CANONICAL, sample, sample.depth.shape)
    assert np.allclose(back, sample.depth, rtol=1e-6)


@pytest.mark.parametrize("zoom", [1.5, 0.5])
@pytest.mark.parametrize("enlarge", [resize, cover])
def test_a_wall_that_is_zoomed_keeps_its_metres(make_sample, zoom, enlarge):
    wall = replace(make_sample(48, 64), depth=np.full((48, 64), 3, np.float32), intrinsics=camera(600.0))
    seen = round(48 * zoom), round(64 * zoom)
    learnt = to_canonical(enlarge(wall, seen))
    assert np.allclose(learnt.depth, 3 * 1000 / (600 * zoom))
    assert np.allclose(learnt.depth * metres_of(CANONICAL, wall, seen), 3)


def test_labels_in_metres_are_multiplied_and_relative_ones_are_not(make_sample):
    label = np.ones((48, 64), np.float32)
    sample = replace(make_sample(48, 64), intrinsics=camera(500.0), label=label)
    assert (to_canonical(sample).label == 2).all()
    assert (to_canonical(replace(sample, relative=True)).label == 1).all()


def test_an_image_of_an_unknown_camera_is_refused_with_the_ways_to_name_it(make_sample):
    with pytest.raises(UserError, match=r"focal length of sample 0 is not known.*data.camera.*intrinsics.json"):
        to_canonical(replace(make_sample(48, 64), intrinsics=None))
