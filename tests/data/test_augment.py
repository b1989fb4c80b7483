from dataclasses import replace

import cv2
import numpy as np
import pytest

from distill.data.augment import Augmentation, Window, cover, resize, resize_image, within
from distill.data.sample import Sample
from distill.errors import UserError

PLAIN = Augmentation(flip=0, colour=0)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def smooth():
    """A sample of 90x140 whose colours change slowly, and whose depth is unique at every pixel."""
    y, x = np.mgrid[:90, :140].astype(np.float32)
    image = np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8)
    depth = 1 + y * 140 + x
    intrinsics = np.array([[100.0, 0, 71], [0, 101, 43], [0, 0, 1]])
    return Sample(image, depth, x % 7 > 0, "smooth", intrinsics)


def same(a, b):
    arrays = all(np.array_equal(getattr(a, key), getattr(b, key)) for key in ("image", "depth", "valid", "intrinsics"))
    return arrays and (a.name, a.faults) == (b.name, b.faults)


def test_nothing_enabled_changes_nothing(smooth, rng):
    assert same(PLAIN(smooth, rng), smooth)


def test_one_generator_state_gives_one_result(smooth):
    augmentation = Augmentation((60, 80), rotate_deg=2.5, flip=0.5, colour=0.5, brightness=0.25)
    results = [augmentation(smooth, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_image_depth_valid_and_camera_are_cropped_together(smooth, rng):
    augmentation = Augmentation((60, 80), flip=0, colour=0)
    corners = set()
    for _ in range(200):
        out = augmentation(smooth, rng)
        top, left = divmod(int(out.depth[0, 0]) - 1, 140)
        window = np.s_[top : top + 60, left : left + 80]
        assert np.array_equal(out.depth, smooth.depth[window])
        assert np.array_equal(out.valid, smooth.valid[window])
        assert np.array_equal(out.image, smooth.image[window])
        assert (smooth.intrinsics - out.intrinsics).tolist() == [[0, 0, left], [0, 0, top], [0, 0, 0]]
        corners.add((top, left))
    assert len(corners) > 150


def test_every_crop_position_is_drawn(make_sample, rng):
    sample = make_sample(4, 5)
    drawn = {tuple(Augmentation((3, 4), flip=0, colour=0)(sample, rng).intrinsics[:2, 2]) for _ in range(100)}
    assert len(drawn) == 4


def test_x_is_drawn_before_y(smooth):
    out = Augmentation((60, 80), flip=0, colour=0)(smooth, np.random.default_rng(3))
    expected = np.random.default_rng(3)
    left, top = expected.integers(61), expected.integers(31)
    assert out.depth[0, 0] == smooth.depth[top, left]


def test_a_mirrored_sample_mirrors_its_camera(smooth, rng):
    out = Augmentation(flip=1, colour=0)(smooth, rng)
    assert np.array_equal(out.depth, smooth.depth[:, ::-1])
    assert np.array_equal(out.valid, smooth.valid[:, ::-1])
    assert out.intrinsics.tolist() == [[100, 0, 139 - 71], [0, 101, 43], [0, 0, 1]]


def test_mirroring_twice_changes_nothing(smooth):
    mirror = Window(0, 0, 90, 140, mirrored=True)
    assert same(mirror.cut(mirror.cut(smooth)), smooth)


def test_mirroring_happens_as_often_as_asked(smooth, rng):
    augmentation = Augmentation(flip=0.3, colour=0)
    mirrored = sum(augmentation(smooth, rng).depth[0, 0] != 1 for _ in range(1000))
    assert 250 < mirrored < 350


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle_deg", [-2.5, -0.4, 1.0, 2.2])
def test_one_warp_equals_rotating_the_whole_then_cropping_then_mirroring(smooth, angle_deg, mirrored):
    out = Window(17, 31, 60, 80, angle_deg, mirrored).cut(smooth)
    turn = cv2.getRotationMatrix2D((139 / 2, 89 / 2), angle_deg, 1.0)
    for key in ("image", "depth", "valid"):
        array = getattr(smooth, key).astype(np.float32 if key == "depth" else np.uint8)
        interpolation = cv2.INTER_LINEAR if key == "image" else cv2.INTER_NEAREST
        whole = cv2.warpAffine(array, turn, (140, 90), flags=interpolation)
        expected = whole[17:77, 31:111].astype(np.float32)
        expected = expected[:, ::-1] if mirrored else expected
        gap = np.abs(getattr(out, key) - expected)
        # OpenCV rounds positions to a fraction of a pixel, from another origin here.
        assert (gap > 0).mean() < 0.005
        assert key != "image" or gap.max() <= 1


def test_a_positive_angle_turns_counter_clockwise_about_the_centre():
    depth = np.zeros((5, 5), np.float32)
    depth[2, 2:] = [1, 2, 3]  # pointing right
    sample = Sample(np.zeros((5, 5, 3), np.uint8), depth, depth > 0, "pointer")
    turned = Window(0, 0, 5, 5, angle_deg=90).cut(sample)
    assert turned.depth[:3, 2].tolist() == [3, 2, 1]  # pointing up
    assert turned.valid.sum() == 3
    assert turned.intrinsics is None


def test_rotation_mixes_no_depths_and_empties_the_corners(smooth, rng):
    out = Augmentation(rotate_deg=10, flip=0, colour=0)(smooth, rng)
    assert set(out.depth.ravel()) <= {0.0, *smooth.depth.ravel()}
    assert out.depth[0, 0] == out.depth[-1, -1] == 0
    assert not out.valid[out.depth == 0].any()
    assert np.array_equal(out.intrinsics, smooth.intrinsics)


def test_depth_and_valid_stay_together_when_rotated(make_sample, rng):
    for seed in range(5):
        out = Augmentation((60, 80), rotate_deg=2.5)(make_sample(70, 100, seed), rng)
        assert np.array_equal(out.valid, out.depth > 0)


def test_angles_cover_their_range(smooth):
    augmentation = Augmentation(rotate_deg=2.5)
    drawn = [augmentation._draw_window(smooth, np.random.default_rng(seed)).angle_deg for seed in range(300)]
    assert -2.5 <= min(drawn) < -2.3
    assert 2.3 < max(drawn) <= 2.5


def test_colours_follow_gamma_brightness_and_gain(smooth):
    out = Augmentation(flip=0, colour=1, brightness=0.25)(smooth, np.random.default_rng(5))
    draw = np.random.default_rng(5)
    draw.integers(1), draw.integers(1), draw.random(), draw.random()
    gamma, brightness, gain = draw.uniform(0.9, 1.1), draw.uniform(0.75, 1.25), draw.uniform(0.9, 1.1, 3)
    expected = ((smooth.image / 255.0) ** gamma * brightness * gain).clip(0, 1)
    np.testing.assert_allclose(out.image / 255.0, expected, atol=0.501 / 255)
    assert out.image.dtype == np.uint8
    assert np.array_equal(out.depth, smooth.depth)


def test_colours_are_the_same_for_bytes_and_for_floats(smooth):
    as_float = replace(smooth, image=smooth.image.astype(np.float32) / np.float32(255))
    augmentation = Augmentation((60, 80), flip=1, colour=1)
    byte, floating = (augmentation(sample, np.random.default_rng(0)).image for sample in (smooth, as_float))
    np.testing.assert_allclose(byte / 255.0, floating, atol=0.501 / 255)
    assert floating.dtype == np.float32


def test_colours_stay_in_range(make_sample, rng):
    bright = replace(make_sample(8, 9), image=np.full((8, 9, 3), 255, np.uint8))
    images = [Augmentation(colour=1, brightness=0.25)(bright, rng).image for _ in range(50)]
    assert max(image.max() for image in images) == 255
    assert 0.6 < min(image.min() for image in images) / 255 < 0.9


def test_a_crop_that_does_not_fit_is_refused(smooth, rng):
    with pytest.raises(
        UserError, match=r"91x140 does not fit into smooth of 90x140 .*: choose a crop of at most 90x140"
    ):
        Augmentation((91, 140))(smooth, rng)


def test_resizing_keeps_depths_and_moves_the_camera(smooth):
    half = resize(smooth, (45, 70))
    assert half.image.shape == (45, 70, 3)
    assert half.image.dtype == np.uint8
    blocks = smooth.image.reshape(45, 2, 70, 2, 3).mean(axis=(1, 3))
    assert np.abs(half.image - blocks).max() <= 0.5
    assert np.array_equal(half.depth, smooth.depth[1::2, 1::2])
    assert np.array_equal(half.valid, smooth.valid[1::2, 1::2])
    np.testing.assert_allclose(half.intrinsics, [[50, 0, 35.25], [0, 50.5, 21.25], [0, 0, 1]])


def test_enlarging_by_three_and_back_changes_nothing(smooth):
    back = resize(resize(smooth, (270, 420)), (90, 140))
    assert np.array_equal(back.depth, smooth.depth)
    assert np.array_equal(back.valid, smooth.valid)
    np.testing.assert_allclose(back.intrinsics, smooth.intrinsics)
    assert resize(smooth, (90, 140)) is smooth


def test_a_point_in_space_stays_on_its_pixel(smooth):
    """Project a point before and after: it must move as the picture does, pixel centres at whole numbers."""
    point = np.array([0.2, -0.1, 1.0])
    x, y, _ = smooth.intrinsics @ point
    moved = resize(smooth, (45, 70)).intrinsics @ point
    np.testing.assert_allclose(moved[:2], [(x + 0.5) / 2 - 0.5, (y + 0.5) / 2 - 0.5])


@pytest.mark.parametrize("size", [(7, 9), (31, 64), (64, 31), (100, 100), (1, 1)])
def test_what_covers_a_size_is_never_smaller(make_sample, size):
    for shape in [(30, 40), (41, 29), (100, 7)]:
        covered = cover(make_sample(*shape), size).depth.shape
        assert covered[0] >= size[0]
        assert covered[1] >= size[1]
        assert covered[0] == size[0] or covered[1] == size[1]


@pytest.mark.parametrize("size", [(4, 60), (60, 4)])
def test_a_side_that_shrinks_is_averaged_also_where_the_other_grows(size):
    image = np.zeros((16, 16, 3), np.uint8)
    (image if size[0] < 16 else image.transpose(1, 0, 2))[::4] = 200  # lines that single pixels would miss or double
    assert np.array_equal(resize_image(image, size), np.full((*size, 3), 50, np.uint8))


def test_what_is_not_nearer_than_the_cap_is_not_learnt_from(smooth):
    capped = within(smooth, 5000)
    assert np.array_equal(capped.valid, smooth.valid & (smooth.depth < 5000))
    assert capped.depth is smooth.depth
