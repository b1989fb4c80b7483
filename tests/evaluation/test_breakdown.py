"""Errors by distance, at depth edges, and by size."""

import numpy as np
import pytest
import torch

from distill.evaluation import PROTOCOLS, error_bounds
from distill.evaluation.breakdown import depth_edges, distance_bounds, error_counts, part_masks, part_names
from distill.evaluation.metrics import measure, measure_parts

ROAD = PROTOCOLS["scenes_road"]


def counted(pred, truth, protocol=ROAD):
    return protocol.pixels(np.asarray(pred, np.float32), np.asarray(truth, np.float32))


@pytest.mark.parametrize(
    ("cap", "bounds"),
    [(80, [0, 20, 50, 80]), (50, [0, 20, 50]), (30, [0, 20, 30]), (10, [0, 3, 10]), (15, [0, 3, 15]), (2, [0, 2])],
)
def test_distances_end_at_the_cap(cap, bounds):
    assert distance_bounds(cap) == bounds


def test_an_edge_is_both_sides_of_a_jump():
    truth = np.full((9, 20), 10, np.float32)
    truth[:, 10:] = 13
    assert np.array_equal(np.flatnonzero(depth_edges(truth)[4]), [8, 9, 10, 11])
    truth[:, 10:] = 12.5  # exactly a quarter more is no jump
    assert not depth_edges(truth).any()


def test_edges_of_sparse_truth_are_measured_pixels_only():
    truth = np.zeros((9, 20), np.float32)
    truth[4, [2, 8, 10, 16]] = [10, 10, 30, 30]
    assert np.flatnonzero(depth_edges(truth)).tolist() == [4 * 20 + 8, 4 * 20 + 10]


def test_nothing_measured_has_no_edges():
    assert not depth_edges(np.zeros((9, 20), np.float32)).any()


def test_every_pixel_is_in_one_distance_and_either_at_an_edge_or_not():
    truth = np.random.default_rng(0).uniform(0.5, 90, (30, 40)).astype(np.float32)
    pixels = counted(truth, truth)
    whole, near, middle, far, edge, elsewhere = part_masks(pixels, depth_edges(truth), 80)
    assert part_names(80) == ["0-20 m", "20-50 m", "50-80 m", "depth edges", "elsewhere"]
    assert whole.all()
    assert (near.astype(int) + middle + far == 1).all()
    assert (edge ^ elsewhere).all()
    assert middle.sum() == ((truth > 20) & (truth <= 50)).sum()


def test_errors_are_counted_by_sign_and_size():
    truth = np.full((1, 7), 10, np.float32)
    pred = np.array([[10, 10.4, 9.9, 4, 80, 0, 14.4]])
    counts = dict(zip([*error_bounds(), "beyond"], error_counts(counted(pred, truth)), strict=True))
    filled = {bound: count for bound, count in counts.items() if count}
    # Bins are named by their upper bound: 9.9 is within -5 %, a perfect pixel is the first of the positive ones.
    assert filled == {-0.45: 2, 0.0: 1, 0.05: 2, 0.45: 1, "beyond": 1}


def test_tensors_are_broken_down_as_arrays_are():
    rng = np.random.default_rng(1)
    truth = rng.uniform(1, 70, (20, 30)).astype(np.float32)
    pixels = counted(truth * rng.uniform(0.5, 1.5, truth.shape), truth)
    tensors = type(pixels)(*(torch.from_numpy(x) for x in (pixels.pred, pixels.target, pixels.places, pixels.broken)))
    assert error_counts(tensors) == error_counts(pixels)
    edges = depth_edges(truth)
    masks = part_masks(pixels, edges, 80)
    assert np.array_equal(part_masks(tensors, edges, 80).numpy(), masks)
    for (count, measured), (same, expected) in zip(
        measure_parts(tensors.pred, tensors.target, torch.from_numpy(masks)),
        measure_parts(pixels.pred, pixels.target, masks),
        strict=True,
    ):
        assert count == same
        assert measured == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_parts_are_measured_as_if_they_were_alone():
    rng = np.random.default_rng(2)
    truth = rng.uniform(1, 70, 40_000).astype(np.float32)  # more than one block
    pred = (truth * rng.uniform(0.5, 1.5, truth.shape)).astype(np.float32)
    masks = np.stack([truth > 0, truth > 50, truth < 1, rng.random(truth.shape) < 0.1])
    for mask, (count, measured) in zip(masks, measure_parts(pred, truth, masks), strict=True):
        assert count == mask.sum()
        assert measured == pytest.approx(measure(pred[mask], truth[mask]), rel=1e-12, nan_ok=True)
