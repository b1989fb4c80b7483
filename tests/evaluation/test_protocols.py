"""Named rules of evaluation: windows, limits, repairs, flips, fingerprints. What they compute: test_naive.py."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.errors import UserError
from distill.evaluation import METRICS, PROTOCOLS, SizeError, depth_metrics

ROAD, ROOM = PROTOCOLS["scenes_road"], PROTOCOLS["scenes_room"]

CROPS = [  # frame; garg; eigen; KB top, left; garg of the KB frame in full-frame pixels
    ((375, 1242), (153, 371, 44, 1197), (124, 342, 44, 1197), (23, 13), (166, 372, 56, 1185)),
    ((370, 1224), (151, 366, 43, 1180), (122, 337, 43, 1180), (18, 4), (161, 367, 47, 1176)),
    ((370, 1226), (151, 366, 44, 1181), (122, 337, 44, 1181), (18, 5), (161, 367, 48, 1177)),
    ((374, 1238), (152, 370, 44, 1193), (124, 341, 44, 1193), (22, 11), (165, 371, 54, 1183)),
    ((376, 1241), (153, 372, 44, 1196), (124, 343, 44, 1196), (24, 12), (167, 373, 55, 1184)),
    ((352, 1216), (143, 349, 43, 1172), (117, 321, 43, 1172), (0, 0), (143, 349, 43, 1172)),
]


def corners(window):
    rows, cols = window
    return rows.start, rows.stop, cols.start, cols.stop


def depths(seed, *size, low=1.0, high=70.0):
    return np.random.default_rng(seed).uniform(low, high, size).astype(np.float32)


@pytest.mark.parametrize(("frame", "garg", "eigen", "kb", "garg_kb"), CROPS)
def test_the_windows_of_kitti_frames(frame, garg, eigen, kb, garg_kb):
    assert corners(PROTOCOLS["kitti_eigen_garg_full"].window(*frame)) == garg
    assert corners(PROTOCOLS["kitti_eigen_crop_full"].window(*frame)) == eigen
    assert corners(PROTOCOLS["kitti_eigen_garg_kb"].window(*frame)) == garg_kb
    top, left = kb
    shown = (top, top + 352, left, left + 1216)
    assert corners(PROTOCOLS["kitti_eigen_garg_full"].input_window(*frame)) == shown
    assert corners(PROTOCOLS["kitti_eigen_garg_kb"].with_(crop=None).window(*frame)) == shown


def test_models_see_small_frames_and_other_data_whole():
    assert corners(PROTOCOLS["kitti_eigen_garg_full"].input_window(96, 320)) == (0, 96, 0, 320)
    assert corners(ROAD.input_window(375, 1242)) == (0, 375, 0, 1242)
    assert corners(PROTOCOLS["nyu_eigen"].input_window(480, 640)) == (0, 480, 0, 640)


def test_nyu_is_evaluated_in_one_window_of_one_size():
    nyu = PROTOCOLS["nyu_eigen"]
    assert corners(nyu.window(480, 640)) == (45, 471, 41, 601)
    with pytest.raises(SizeError, match="takes frames of 480x640, got 240x320"):
        nyu.window(240, 320)
    assert corners(nyu.with_(crop=None).window(240, 320)) == (0, 240, 0, 320)


def test_a_frame_too_small_for_the_cut_is_refused_naming_the_other_protocol():
    small = depths(0, 96, 320)
    with pytest.raises(SizeError, match=r"352x1216, got 96x320: use kitti_eigen_garg_full$"):
        PROTOCOLS["kitti_eigen_garg_kb"].score(small, small)
    assert issubclass(SizeError, UserError)
    assert issubclass(SizeError, ValueError)
    assert PROTOCOLS["kitti_eigen_garg_full"].score(small, small)["pixels"] == (95 - 39) * (308 - 11)


def test_a_protocol_holds_what_its_name_says():
    caps = {name: protocol.max_depth for name, protocol in PROTOCOLS.items() if protocol.alignment == "none"}
    assert caps == {
        "kitti_eigen_garg_full": 80,
        "kitti_eigen_garg_kb": 80,
        "kitti_eigen_crop_full": 80,
        "kitti_eigen_crop_kb": 80,
        "kitti_selection": 80,
        "nyu_eigen": 10,
        "scenes_road": 80,
        "scenes_room": 10,
        "folder": 80,
        "ibims1": 50,
        "diode_indoor": 350,
        "diode_outdoor": 350,
        "eth3d": 1000,
        "scannet": 10,
        "sunrgbd": 8,
        "tum": 10,
        "vkitti2": 80,
        "hypersim": 65,
        "ddad": 120,
    }
    assert {name + end for name in caps for end in ("", "_affine")} == {*PROTOCOLS}
    assert all(name == protocol.name and protocol.tta == "none" for name, protocol in PROTOCOLS.items())
    assert PROTOCOLS["folder"].with_(max_depth=3).max_depth == 3


def test_limits_are_strict_in_float32():
    millimetre = np.float32(1) / np.float32(1000)
    truth = np.array([[0, millimetre, 0.002, 9.999, 10, 11, np.nan, np.inf, -1]], np.float32)
    assert float(millimetre) > 1e-3  # after an upcast to float64 it would count
    assert ROOM.places(truth).tolist() == [2, 3]
    assert ROOM.places(truth.astype(np.float64)).tolist() == [2, 3]
    assert ROOM.places(torch.from_numpy(truth)).tolist() == [2, 3]


def test_inclusive_limits_count_a_truth_on_them():
    truth = np.array([[0, np.float32(1) / np.float32(1000), 5, 10, 10.001, np.nan]], np.float32)
    assert ROOM.with_(limits="inclusive").places(truth).tolist() == [1, 2, 3]


def test_the_selection_is_evaluated_whole_and_takes_no_full_frames():
    selection = PROTOCOLS["kitti_selection"]
    assert corners(selection.window(352, 1216)) == (0, 352, 0, 1216)
    with pytest.raises(SizeError, match=r"cut to 352x1216, got 375x1242: use kitti_eigen_garg_kb$"):
        selection.window(375, 1242)


def test_median_scaling_forgives_a_wrong_scale_and_only_that():
    scaled, truth = ROAD.with_(median_scaling=True), depths(0, 20, 31)
    pred = truth * depths(1, 20, 31, low=0.8, high=1.2)
    once = scaled.score(pred, truth)
    assert once == pytest.approx(scaled.score(7 * pred, truth), rel=1e-6)
    ratio = np.median(truth) / np.median(pred)
    assert once == pytest.approx(ROAD.score(ratio * pred, truth), rel=1e-6)
    assert 0 < once["abs_rel"] < ROAD.score(7 * pred, truth)["abs_rel"]


@pytest.mark.parametrize("value", [0.0, -3.0, math.nan, math.inf])
def test_a_prediction_without_a_positive_median_is_not_scaled(value):
    truth = depths(0, 20, 31)
    pred = np.full_like(truth, value)
    assert ROAD.with_(median_scaling=True).score(pred, truth) == ROAD.score(pred, truth)


def test_predictions_are_cut_to_the_limits():
    truth = np.full((1, 8), 5, np.float32)
    pred = np.array([[-3, 0, -0.0, 1e-4, 250, np.inf, -np.inf, np.nan]], np.float32)
    cut = np.array([[1e-3] * 4 + [80, 80, 1e-3, 1e-3]], np.float32)
    score = ROAD.score(pred, truth)
    expected = depth_metrics(cut, truth, truth > 0)
    assert {name: score[name] for name in METRICS} == expected
    assert score["mae"] == pytest.approx(np.abs(cut - 5).mean(), rel=1e-6)
    assert (score["pixels"], score["repaired"]) == (8, 3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_prediction_that_is_not_finite_improves_nothing(bad):
    truth = depths(0, 20, 30)
    pred = truth * depths(1, 20, 30, low=0.8, high=1.2)
    truth[0] = 0  # a row that does not count, and is not counted as repaired
    clean = ROAD.score(pred, truth)
    pred[:5] = bad
    broken = ROAD.score(pred, truth)
    assert broken["repaired"] == 4 * 30
    assert broken["d1"] < clean["d1"]
    assert broken["abs_rel"] > clean["abs_rel"]
    assert all(math.isfinite(value) for value in broken.values())


def test_without_a_pixel_every_metric_is_nan():
    score = ROAD.score(depths(0, 4, 5), np.zeros((4, 5), np.float32))
    assert all(math.isnan(score[name]) for name in (*METRICS, "mae"))
    assert (score["pixels"], score["repaired"]) == (0, 0)


def test_arrays_and_tensors_score_alike():
    pred, truth, flipped = depths(0, 375, 1242), depths(1, 375, 1242), depths(2, 375, 1242)
    for protocol in (PROTOCOLS["kitti_eigen_garg_kb"], PROTOCOLS["kitti_eigen_crop_full"]):
        arrays = protocol.score(pred, truth, flipped)
        tensors = protocol.score(*(torch.from_numpy(x) for x in (pred, truth, flipped)))
        mixed = protocol.score(torch.from_numpy(pred).double(), truth.astype(np.float64), flipped[:, ::-1][:, ::-1])
        assert arrays == tensors == mixed


@pytest.mark.parametrize("tta", ["none", "flip", "flip-plain"])
def test_flips_are_cut_before_they_are_averaged(tta):
    truth = np.full((1, 4), 5, np.float32)
    pred = np.array([[100, np.inf, np.nan, -4]], np.float32)
    other = np.array([[60, 2, 3, -np.inf]], np.float32)
    score = ROAD.with_(tta=tta).score(pred, truth, other[:, ::-1])
    merged = np.array([[70, 41, 1e-3, 1e-3]], np.float32)
    assert score == pytest.approx(ROAD.score(merged, truth) | {"repaired": 3}, rel=1e-6)


def test_a_coarse_prediction_is_brought_to_the_view():
    ramp = np.linspace(10, 20, 5, dtype=np.float32)[None].repeat(3, 0)
    truth = np.linspace(10, 20, 9, dtype=np.float32)[None].repeat(5, 0)
    aligned = ROAD.with_(align_corners=True).score(ramp, truth, view=(5, 9))
    assert aligned["rmse"] == pytest.approx(0, abs=1e-5)
    assert ROAD.score(ramp, truth, view=(5, 9))["rmse"] > 0.1
    ramp[0, 0] = np.inf
    assert ROAD.score(ramp, truth, view=(5, 9))["repaired"] > 0
    pred = np.full_like(truth, np.inf)
    assert ROAD.score(pred, truth, view=(5, 9)) == ROAD.score(pred, truth)  # of equal size: untouched


@pytest.mark.parametrize(
    ("name", "pred", "flipped", "message"),
    [
        ("scenes_road", (352, 1216), None, "pred is 352x1216, but the frame is 375x1242"),
        ("kitti_eigen_garg_full", (300, 900), None, "or its 352x1216 cut"),
        ("kitti_eigen_garg_kb", (375, 1242), (352, 1216), "of one size, got 375x1242, 352x1216"),
        ("folder", (1, 375, 1242), None, r"one depth map \(H, W\), got shape \(1, 375, 1242\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name, pred, flipped, message):
    with pytest.raises(ValueError, match=message):
        PROTOCOLS[name].score(np.ones(pred), np.ones((375, 1242)), None if flipped is None else np.ones(flipped))


def test_a_flip_protocol_wants_the_mirrored_prediction():
    with pytest.raises(ValueError, match="pass flipped"):
        ROAD.with_(tta="flip").score(np.ones((4, 4)), np.ones((4, 4)))


def test_the_documentation_lists_every_protocol_with_its_fingerprint():
    text = (Path(__file__).parents[2] / "docs" / "reference" / "protocols.md").read_text()
    lines = [f"| `{name}` | `{protocol.fingerprint}` |" for name, protocol in PROTOCOLS.items()]
    assert [line for line in lines if line not in text] == []


def test_a_protocol_says_everything_that_decides_a_number():
    description = PROTOCOLS["kitti_eigen_garg_kb"].with_(tta="flip", max_depth=50, median_scaling=True).describe()
    for part in (
        "accumulated lidar",
        "Garg crop of the 352x1216 cut",
        "0.001 < truth < 50 m",
        "TTA flip, median scaling",
        "bilinear, align_corners off",
        "mean of images",
        "limits in float32, metrics in float64",
    ):
        assert part in description
    assert "0.001 <= truth <= 10 m" in PROTOCOLS["nyu_eigen"].with_(limits="inclusive").describe()


CHANGES = {
    "dataset": "other",
    "ground_truth": "raw lidar",
    "max_depth": 50,
    "crop": "eigen",
    "min_depth": 1e-2,
    "tta": "flip",
    "align_corners": True,
    "frame": "kb",
    "limits": "inclusive",
    "median_scaling": True,
}


def test_every_setting_but_the_name_is_in_the_fingerprint():
    base = PROTOCOLS["kitti_eigen_garg_full"]
    assert {*base.settings} == {"name", "interpolation", "averaging", *CHANGES}
    prints = {base.fingerprint} | {base.with_(**{field: value}).fingerprint for field, value in CHANGES.items()}
    assert len(prints) == len(CHANGES) + 1


def test_a_fingerprint_is_twelve_digits_that_ignore_name_and_spelling():
    base = PROTOCOLS["kitti_eigen_garg_full"]
    assert len(base.fingerprint) == 12
    assert int(base.fingerprint, 16) >= 0
    assert base.with_(name="mine").fingerprint == base.fingerprint
    assert base.with_(max_depth=80).fingerprint == base.with_(max_depth=80.0).fingerprint
    assert len({protocol.fingerprint for protocol in PROTOCOLS.values()}) == len(PROTOCOLS)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: PROTOCOLS["kitti_eigen_garg_ful"], "did you mean kitti_eigen_garg_full.*known: .*nyu_eigen"),
        (lambda: ROAD.with_(tta="flip-egde"), "unknown tta 'flip-egde', did you mean flip-edge.*known: none, flip"),
        (lambda: ROAD.with_(crop="center"), "unknown crop 'center'.*known: garg, eigen, None"),
        (lambda: ROAD.with_(cap=80), "unknown protocol option 'cap'.*max_depth"),
        (lambda: ROAD.with_(max_depth=0), "0 < min_depth < max_depth"),
        (lambda: ROAD.with_(frame="kb"), "KITTI's frames.*'scenes': use 'full'"),
        (lambda: ROAD.with_(frame="cut"), "KITTI's frames.*'scenes': use 'full'"),
        (lambda: ROAD.with_(median_scaling="yes"), "unknown median_scaling 'yes'"),
    ],
)
def test_a_mistake_is_reported_with_what_would_have_worked(mistake, message):
    with pytest.raises(UserError, match=message):
        mistake()
    assert "missing" not in PROTOCOLS


def test_relative_inverse_depth_is_scored_after_its_scale_and_shift_were_fitted():
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 60, (8, 9)).astype(np.float32)
    protocol = PROTOCOLS["folder"].with_(aligned=True)
    scores = protocol.score(40 / truth + 3, truth)
    assert scores["abs_rel"] == pytest.approx(0, abs=1e-5)
    far = protocol.score(np.where(truth > 20, np.nan, 40 / truth), truth)
    assert far["repaired"] == (truth > 20).sum()
    flat = protocol.score(np.full_like(truth, 5.0), truth)
    assert flat["abs_rel"] == pytest.approx(np.mean(np.abs(1 / (1 / truth).mean() - truth) / truth), rel=1e-4)
