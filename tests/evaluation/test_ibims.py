"""Depth boundaries, planes and the 3 m border of iBims-1, on scenes of which the answer is known."""

import math

import numpy as np
import pytest

from distill.data.files.pairs import Shapes
from distill.evaluation import PROTOCOLS
from distill.evaluation.ibims import (
    ShapeErrors,
    boundary_errors,
    directed_errors,
    mean_shape_errors,
    plane_errors,
    shape_errors,
)

CAMERA = (50.0, 50.0, 32.0, 24.0)


def wall(normal, offset):
    """Depth of the plane normal . (x, y, z) = offset; x right, y forward, z up, pixels counted from 1."""
    cols, rows = np.meshgrid(np.arange(1, 65), np.arange(1, 49))
    return offset / (normal[0] * (cols - 32) / 50 + normal[1] - normal[2] * (rows - 24) / 50)


@pytest.fixture
def step():
    """A step of depth between columns 29 and 30, and its true edge."""
    depth, edges = np.full((48, 64), 4.0), np.zeros((48, 64))
    depth[:, :30], edges[:, 29] = 2.0, 1
    return depth, edges


@pytest.mark.parametrize("shift", [0, 2, 5])
def test_a_boundary_is_as_inaccurate_as_it_is_displaced(step, shift):
    depth, edges = step
    here, moved = (boundary_errors(np.roll(depth, n, 1)[:, 8:-8], edges[:, 8:-8], "v0.9") for n in (0, shift))
    assert abs(moved[0] - here[0]) == pytest.approx(shift, abs=1)


@pytest.mark.parametrize("version", ["v0.9", "v1"])
def test_a_prediction_without_boundaries_misses_all_and_an_image_without_true_ones_says_nothing(step, version):
    depth, edges = step
    assert boundary_errors(wall((0, 1, 0), 3.0), edges, version) == (10, 10)
    assert all(map(math.isnan, boundary_errors(depth, 0 * edges, version)))


def test_a_missed_boundary_counts_in_full_in_one_version_and_up_to_ten_pixels_in_the_others(step):
    depth, edges = step
    edges[:, 55] = 1
    full, both, cut = (boundary_errors(depth, edges, version)[1] for version in ("v0.9", "v1", "depthart"))
    assert full > 10 > cut > both


def test_a_plane_of_any_scale_is_flat_and_its_turn_is_measured():
    true, where = wall((-0.6, 0.8, 0.0), 3.0), np.ones((48, 64), bool)
    planes = [(where, np.array([-0.6, 0.8, 0.0])), (where, np.array([0.0, 1.0, 0.0])), (where & False, np.ones(3))]
    (flat, straight), (_, turned), small = plane_errors(1.3 * true, true, planes, CAMERA)
    assert (flat, straight) == pytest.approx((0, 0), abs=1e-5)
    assert turned == pytest.approx(math.degrees(math.acos(0.8)))
    assert all(map(math.isnan, small))


def test_sides_of_three_metres_are_counted():
    sides = directed_errors(np.array([2.0, 3, 4, 5]), np.array([2.5, 4, 1, 6]))
    assert sides == {"dde_0": 0.5, "dde_m": 0.25, "dde_p": 0.25}


def test_an_image_has_the_errors_of_its_parts_where_its_truth_counts(step):
    depth, edges = step
    camera, where = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]), np.zeros((48, 64), bool)
    where[:, 31:] = True
    valid = np.ones((48, 64), bool)
    valid[:2] = False
    shapes = Shapes(edges != 0, ((where, np.array([0.0, 1.0, 0.0])),), camera)
    one = shape_errors(1.2 * depth, depth, valid, shapes)
    assert one.boundary == boundary_errors(1.2 * depth, edges)
    assert one.planes[0] == pytest.approx((0, 0), abs=1e-5)
    assert one.directed == {"dde_0": 1, "dde_m": 0, "dde_p": 0}
    nothing = shape_errors(0 * depth, depth, valid, Shapes(None, (), None))
    assert all(map(math.isnan, (*nothing.boundary, *nothing.directed.values())))


def test_means_leave_out_what_is_not_known_and_planes_count_alike():
    sides = {"dde_0": 1.0, "dde_m": 0.0, "dde_p": 0.0}
    many = ShapeErrors(sides, (1.0, 2.0), ((1.0, 10.0), (2.0, 20.0), (math.nan, math.nan)))
    one = ShapeErrors(sides | {"dde_0": 0.5}, (math.nan, math.nan), ((6.0, 60.0),))
    means = mean_shape_errors([many, one])
    assert means == {"dde_0": 0.75, "dde_m": 0, "dde_p": 0, "dbe_acc": 1, "dbe_com": 2, "pe_fla": 3, "pe_ori": 30}


@pytest.mark.parametrize("name", ["ibims1", "ibims1_affine"])
def test_the_whole_map_is_aligned_as_the_pixels_that_count(name):
    draws, protocol = np.random.default_rng(0), PROTOCOLS[name]
    target = draws.uniform(1, 9, (32, 48)).astype(np.float32)
    target[draws.random(target.shape) < 0.3] = 0
    pred = (draws.uniform(1, 9, target.shape) + 1).astype(np.float32)
    pred[0, :3] = np.nan
    places = protocol.places(target)
    whole = protocol.depth_map(pred, target, places=places)
    scored = protocol.pixels(pred, target, places=places, relative=False)
    finite = np.isfinite(pred.ravel()[places])
    np.testing.assert_allclose(whole.ravel()[places][finite], scored.pred[finite], rtol=1e-6)
    assert not whole[0, :3].any()
