from itertools import pairwise

import cv2
import numpy as np
import pytest

from distill.report.pictures import (
    NOTHING,
    Panel,
    colour_limits,
    colourise,
    colourise_error,
    colourise_weight,
    depth_scale,
    encode_jpeg,
    encode_png,
    error_scale,
    panel_strip,
    scale_bar,
    weight_scale,
)

GREY = [NOTHING] * 3


def luminance(picture):
    return picture.astype(float) @ [0.2126, 0.7152, 0.0722]


def test_worse_is_lighter_and_nearer_is_lighter_and_warmer():
    assert (np.diff(luminance(error_scale().colours[::5])) > 0).all()  # neighbours differ by rounding
    picture = colourise(np.geomspace(1, 80, 60)[None], 1, 80)
    assert (np.diff(luminance(picture)[0]) < 0).all()
    near, far = picture[0, 0].astype(int), picture[0, -1].astype(int)
    assert near[0] > near[2]
    assert far[2] > far[0]


def test_colours_follow_the_logarithm_of_depth_between_the_limits():
    picture = colourise(np.array([[0.5, 2.0, 8.0, 32.0, 900.0]]), 2, 32)
    plasma = cv2.applyColorMap(np.array([[255, 255, 128, 0, 0]], np.uint8), cv2.COLORMAP_PLASMA)[..., ::-1]
    assert np.array_equal(picture, plasma)


@pytest.mark.parametrize("nothing", [0.0, -1.0, np.nan, np.inf])
def test_what_is_no_depth_is_dark_grey(nothing):
    assert colourise(np.array([[nothing, 2.0]]), 1, 10)[0, 0].tolist() == GREY


def test_no_colour_is_near_the_grey_of_nothing():
    for scale in (depth_scale(1, 80), error_scale(), weight_scale()):
        assert np.abs(scale.colours.astype(int) - NOTHING).max(axis=1).min() > 30


def test_a_point_is_drawn_as_a_square_with_the_nearer_on_top():
    depth = np.zeros((5, 8))
    depth[2, 2], depth[2, 4] = 9.0, 2.0
    picture = colourise(depth, 1, 10, radius=1)
    alone = colourise(np.array([[9.0, 2.0]]), 1, 10)[0]
    assert np.array_equal(picture[1, 1], alone[0])
    assert np.array_equal(picture[3, 3], alone[1])
    assert picture[0, 0].tolist() == picture[2, 6].tolist() == GREY


@pytest.mark.parametrize(("low", "high"), [(0, 10), (10, 10), (5, 2), (1, np.inf), (np.nan, 3)])
def test_limits_without_a_range_are_refused(low, high):
    with pytest.raises(ValueError, match="0 < low < high"):
        colourise(np.ones((2, 2)), low, high)


def test_error_is_relative_to_the_truth():
    target = np.array([[10.0, 2.0, 10.0, 4.0]])
    pred = np.array([[11.0, 2.2, 14.0, 4.0]])  # 10 %, 10 %, 40 %, none
    picture = colourise_error(pred, target, np.ones_like(target, bool), limit=0.2)
    colours = error_scale(0.2).colours
    assert np.array_equal(picture[0, 0], picture[0, 1])
    assert np.abs(picture[0, 0].astype(int) - colours[128]).max() <= 2
    assert picture[0, 2:].tolist() == [colours[-1].tolist(), colours[0].tolist()]


def test_error_is_grey_without_truth_and_worst_where_the_prediction_is_not_finite():
    pred = np.array([[1.0, 1.0, np.nan, np.inf]])
    target = np.array([[0.0, 5.0, 1.0, 1.0]])
    picture = colourise_error(pred, target, np.array([[True, False, True, True]]))
    worst = error_scale().colours[-1].tolist()
    assert picture[0].tolist() == [GREY, GREY, worst, worst]


def test_weight_one_is_the_middle_and_zero_the_least():
    picture = colourise_weight(np.array([[0.0, 0.25, 1.0, 4.0, 9.0, np.nan]]), limit=4)
    colours = weight_scale(4).colours
    middle, low, high = colours[128].tolist(), colours[0].tolist(), colours[-1].tolist()
    assert picture[0].tolist() == [low, low, middle, high, high, GREY]


def test_limits_hold_most_of_what_was_measured():
    depth = np.concatenate([np.zeros(500), np.linspace(2.03, 41.9, 1000), [np.nan, 1e6]])
    low, high = colour_limits(depth)
    assert 2 <= low < 3
    assert 41 <= high <= 42
    assert colour_limits(np.zeros((4, 4))) == (1, 10)
    assert colour_limits(np.full(9, 5.0)) == (5, 10)


@pytest.mark.parametrize(("low", "high"), [(1e-3, 80), (0.5, 10), (2.2, 6.8), (4, 4.2), (1, 1e4)])
def test_a_depth_scale_has_few_ordered_ticks_from_end_to_end(low, high):
    ticks = depth_scale(low, high).ticks
    places = [place for place, _ in ticks]
    assert (places[0], places[-1]) == (0, 1)
    assert (ticks[0][1], ticks[-1][1]) == (f"{low:g}", f"{high:g}")
    assert len(ticks) <= 11
    assert all(b - a > 0.04 for a, b in pairwise(places))


def test_a_scale_bar_leaves_the_picture_as_it_is():
    picture = np.random.default_rng(0).integers(0, 255, (30, 200, 3), np.uint8)
    barred = scale_bar(picture, depth_scale(1, 10))
    assert np.array_equal(barred[:30], picture)
    assert barred.shape[0] > 30
    assert scale_bar(picture[:, :20], depth_scale(1, 10)).shape[1] == 160
    heights = [scale_bar(np.zeros((30, width, 3), np.uint8), depth_scale(1, 10)).shape[0] - 30 for width in (900, 3600)]
    assert heights[1] == 4 * heights[0]  # as legible


@pytest.mark.parametrize("encode", [encode_png, encode_jpeg])
def test_files_hold_rgb_and_not_bgr(encode):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 250
    decoded = cv2.imdecode(np.frombuffer(encode(red), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(decoded.astype(int) - red).max() < 6


def test_what_is_no_picture_is_not_encoded():
    with pytest.raises(ValueError, match=r"uint8 RGB \(H, W, 3\), got float64 \(4, 4\)"):
        encode_png(np.zeros((4, 4)))


def test_a_strip_shows_wide_pictures_in_two_columns_and_others_in_a_row():
    def strip(height, width, count):
        return panel_strip(Panel("a", {f"{i}": np.zeros((height, width, 3), np.uint8) for i in range(count)}))

    cell = 24 + 2 * 4  # its label and margins
    assert strip(100, 400, 1).shape == (100 + cell, 408, 3)
    assert strip(100, 400, 3).shape == (2 * (100 + cell), 2 * 408, 3)
    assert strip(240, 320, 3).shape == (240 + cell, 3 * 328, 3)
    assert strip(40, 160, 2).shape == (80 + cell, 2 * 328, 3)


def test_a_panel_without_pictures_is_refused():
    with pytest.raises(ValueError, match="'a' has no pictures"):
        panel_strip(Panel("a", {}))
