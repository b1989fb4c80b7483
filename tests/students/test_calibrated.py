"""A calibrated student: its numbers are behind the network in every way that it is used, and in its folder."""

import json

import pytest
import torch

from students import create_student, load_student, save_student
from students.calibration import Calibration
from teachers import FrozenTeacher

KINDS = [
    ("test_resnet", {"pretrained": False, "width": 16, "bins": 8}),
    ("dpt_micro", {"hooks": (0, 1), "attention": "performer"}),
]


@pytest.fixture(params=KINDS, ids=[name for name, _ in KINDS])
def student(request):
    torch.manual_seed(0)
    name, options = request.param
    return create_student(name, **options, min_depth=0.5, max_depth=10.0).eval()


@torch.no_grad()
def test_it_gives_the_reciprocal_of_scale_and_shift(student, images):
    own = student(images(32, 64))
    student.calibrate(0.5, 0.1, cap=20.0)
    torch.testing.assert_close(student(images(32, 64)), 1 / (0.5 / own + 0.1))
    torch.testing.assert_close(FrozenTeacher(student)(images(32, 64)), 1 / (0.5 / own + 0.1))


@torch.no_grad()
def test_its_folder_holds_the_numbers(student, images, tmp_path):
    student.calibrate(0.5, 0.1, cap=20.0)
    save_student(student, tmp_path)
    loaded = load_student(tmp_path)
    assert loaded.calibration == student.calibration
    assert (loaded.limits, loaded.output) == (student.limits, "metric")
    assert torch.equal(loaded(images(32, 64)), student(images(32, 64)))
    card = (tmp_path / "README.md").read_text()
    assert "1 / (0.5 / d + 0.1)" in card
    assert f"{student.max_depth:g} m" in card


@torch.no_grad()
def test_calibrated_again_it_is_as_by_both(student, images):
    own = student(images(32, 64))
    student.calibrate(0.5, 0.1, cap=20.0)
    student.calibrate(2.0, -0.05, cap=20.0)
    torch.testing.assert_close(student(images(32, 64)), 1 / (2 * (0.5 / own + 0.1) - 0.05))


@pytest.mark.parametrize(
    ("fit", "cap", "limits"),
    [
        ((0.5, 0.0), 80.0, (1.0, 20.0)),
        ((2.0, 0.0), 80.0, (0.25, 5.0)),
        ((0.5, 0.0), 5.0, (1.0, 10.0)),  # its own is farther than what was measured
        ((0.5, -0.1), 80.0, (1 / 0.9, 80.0)),  # what would be beyond infinity is the cap
    ],
)
def test_its_limits_go_along_but_not_beyond_what_was_measured(student, fit, cap, limits):
    student.calibrate(*fit, cap=cap)
    assert student.limits == pytest.approx(limits)
    near, far = student.calibration(torch.tensor([0.5, 10.0])).tolist()
    assert (near, far) == pytest.approx(limits)


def test_a_relative_student_becomes_metric_and_its_far_limit_means_nothing(student):
    student.output = "relative"
    student.calibrate(0.01, 0.0, cap=80.0)
    assert (student.output, student.limits) == ("metric", pytest.approx((50.0, 80.0)))


@pytest.mark.parametrize(
    ("calibration", "fault"),
    [
        (3, "expected scale, shift, min_depth, max_depth"),
        ({"scale": 1.0}, "expected scale, shift, min_depth, max_depth"),
        ({"scale": "1", "shift": 0.0, "min_depth": 1.0, "max_depth": 2.0}, "scale must be a finite number"),
        ({"scale": -1.0, "shift": 0.0, "min_depth": 1.0, "max_depth": 2.0}, "scale > 0"),
        ({"scale": 1.0, "shift": 0.0, "min_depth": 3.0, "max_depth": 2.0}, "min_depth < max_depth"),
    ],
)
def test_numbers_that_cannot_be_are_refused(student, tmp_path, calibration, fault):
    save_student(student, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "calibration" not in config
    (tmp_path / "config.json").write_text(json.dumps(config | {"calibration": calibration}))
    with pytest.raises(ValueError, match=fault):
        load_student(tmp_path)


def test_training_does_not_go_on_from_it_as_that_would_lose_the_numbers(student, tmp_path):
    student.calibrate(0.5, 0.0, cap=20.0)
    save_student(student, tmp_path)
    with pytest.raises(ValueError, match=r"is calibrated.*start from the folder that it was made of"):
        create_student(student.recipe["student"], checkpoint=tmp_path)


def test_half_precision_is_left_for_the_reciprocal():
    calibrated = Calibration(1.0, 0.0, 1e-3, 80.0)(torch.tensor([70.0], dtype=torch.float16))
    assert calibrated.dtype == torch.float32


@torch.no_grad()
def test_a_student_of_a_canonical_camera_gives_metres_of_the_one_it_is_settled_for(student, images, tmp_path):
    student.canonical_focal = 1000.0
    save_student(student, tmp_path)
    own, loaded = student(images(32, 64)), load_student(tmp_path)
    assert loaded.canonical_focal == 1000.0
    assert "of 1000 pixels: times the image's focal length" in (tmp_path / "README.md").read_text()
    assert torch.equal(loaded(images(32, 64)), own)
    loaded.settle_focal(250.0)
    assert (loaded.canonical_focal, loaded.limits) == (None, (0.125, 2.5))
    torch.testing.assert_close(loaded(images(32, 64)), own / 4)
