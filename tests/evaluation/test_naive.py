"""Agreement with a second, plain implementation: whole frames, one step after the other, as public evaluators do it."""

import functools
import runpy
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from distill.evaluation import METRICS, PROTOCOLS

inputs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "reference" / "golden_inputs.py")))
ODD_FRAMES = {"odd_370x1224": (370, 1224)}
KITTI = [name for name in PROTOCOLS if name.startswith("kitti_eigen") and not name.endswith("affine")]


TTA = ("none", "flip", "flip-plain", "flip-edge")


def spread(frames, others):
    """Each frame with each of the others, and in turn with one way to look at an image twice."""
    return [(one, other, TTA[(i + j) % 4]) for i, one in enumerate(frames) for j, other in enumerate(others)]


@functools.cache
def case(name):
    """Dirty predictions: zeros, negatives, NaN, both infinities, values beyond the cap."""
    if name in ODD_FRAMES:
        return inputs._pair(7, ODD_FRAMES[name], 0.02, 0.05, True)
    return inputs.kitti_case(name) if name.startswith("k") else inputs.nyu_case(name)


def crop_mask(height, width, crop):
    """Garg's and Eigen's fractions, cut down to whole pixels."""
    mask = np.zeros((height, width), bool)
    if crop == "garg":
        rows = int(0.40810811 * height), int(0.99189189 * height)
        cols = int(0.03594771 * width), int(0.96405229 * width)
    elif crop == "eigen" and (height, width) == (480, 640):
        rows, cols = (45, 471), (41, 601)
    elif crop == "eigen":
        rows = int(0.3324324 * height), int(0.91351351 * height)
        cols = int(0.0359477 * width), int(0.96405229 * width)
    else:
        rows, cols = (0, height), (0, width)
    mask[rows[0] : rows[1], cols[0] : cols[1]] = True
    return mask


def flip_mean(pred, flipped, cap):
    """AdaBins: each is clipped, then un-mirrored and averaged; NaN stays."""
    a, b = np.clip(pred, np.float32(1e-3), np.float32(cap)), np.clip(flipped, np.float32(1e-3), np.float32(cap))
    return np.float32(0.5) * (a + b[:, ::-1])


def flip_edges(pred, flipped):
    """NeWCRFs: the mirrored prediction alone at the left, the plain one at the right, their mean between."""
    other = flipped[:, ::-1].astype(np.float64)
    pred, x = pred.astype(np.float64), np.linspace(0, 1, pred.shape[1])[None]
    left = 1 - np.clip(20 * (x - 0.05), 0, 1)
    right = left[:, ::-1]
    return (left * other + right * pred + (1 - left - right) * 0.5 * (pred + other)).astype(np.float32)


def clamp(pred, cap):
    """BTS' order."""
    pred = pred.astype(np.float32)
    pred[pred < np.float32(1e-3)] = 1e-3
    pred[pred > np.float32(cap)] = cap
    pred[np.isinf(pred)] = cap
    pred[np.isnan(pred)] = 1e-3
    return pred


def errors(gt, pred):
    """BTS' formulas, in float64."""
    gt, pred = gt.astype(np.float64), pred.astype(np.float64)
    ratio = np.maximum(gt / pred, pred / gt)
    log = np.log(pred) - np.log(gt)
    return {
        "d1": (ratio < 1.25).mean(),
        "d2": (ratio < 1.25**2).mean(),
        "d3": (ratio < 1.25**3).mean(),
        "abs_rel": np.mean(np.abs(gt - pred) / gt),
        "sq_rel": np.mean((gt - pred) ** 2 / gt),
        "rmse": np.sqrt(np.mean((gt - pred) ** 2)),
        "rmse_log": np.sqrt(np.mean(log**2)),
        "log10": np.mean(np.abs(np.log10(gt) - np.log10(pred))),
        "silog": np.sqrt(np.mean(log**2) - np.mean(log) ** 2) * 100,
    }


def naive(gt, pred, cap, crop, frame, flipped=None, tta="none", median=False):
    """(metrics, pixels, how many of these were not finite) of one image."""
    top, left = gt.shape[0] - 352, (gt.shape[1] - 1216) // 2
    broken = ~np.isfinite(pred) if flipped is None else ~(np.isfinite(pred) & np.isfinite(flipped[:, ::-1]))
    if tta == "flip-edge":
        pred = flip_edges(pred, flipped)
    elif flipped is not None:
        pred = flip_mean(pred, flipped, cap)
    if frame == "kb":  # the truth is cut as well, and fractions are taken of 352x1216
        gt = gt[top : top + 352, left : left + 1216]
        if pred.shape != gt.shape:
            pred, broken = (x[top : top + 352, left : left + 1216] for x in (pred, broken))
    elif pred.shape != gt.shape:
        pasted, marks = np.zeros(gt.shape, np.float32), np.zeros(gt.shape, bool)
        pasted[top : top + 352, left : left + 1216] = pred
        marks[top : top + 352, left : left + 1216] = broken
        pred, broken = pasted, marks
    valid = (gt > np.float32(1e-3)) & (gt < np.float32(cap)) & crop_mask(*gt.shape, crop)
    if median:
        finite = pred[valid][np.isfinite(pred[valid])]
        pred = pred * (np.median(gt[valid]) / np.median(finite) if len(finite) and np.median(finite) > 0 else 1)
    return errors(gt[valid], clamp(pred, cap)[valid]), valid.sum(), (valid & broken).sum()


def check(protocol, gt, pred, flipped, tta):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        crop, frame, median = protocol.crop, protocol.frame, protocol.alignment == "median"
        expected, pixels, broken = naive(gt, pred, protocol.max_depth, crop, frame, flipped, tta, median)
    score = protocol.with_(tta=tta).score(pred, gt, flipped)
    assert (score["pixels"], score["repaired"]) == (pixels, broken)
    assert {name: score[name] for name in METRICS} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("frame", "name", "tta"), spread([*ODD_FRAMES, *inputs.KITTI_CASES], KITTI))
def test_kitti_frames_of_every_size(frame, name, tta):
    arrays = case(frame)
    for key in ("pred", "pred_kb"):
        check(PROTOCOLS[name], arrays["gt"], arrays[key], None if tta == "none" else arrays[f"{key}_flip"], tta)


@pytest.mark.parametrize("key", ["pred", "pred_kb"])
@pytest.mark.parametrize("options", [{"crop": None}, {"crop": None, "frame": "kb"}, {"max_depth": 50}])
def test_options_of_kitti(options, key):
    arrays = case("k1_dirty")
    check(PROTOCOLS["kitti_eigen_garg_full"].with_(**options), arrays["gt"], arrays[key], None, "none")


@pytest.mark.parametrize(("name", "crop", "tta"), spread([*inputs.NYU_CASES], ["eigen", None]))
def test_nyu_frames(name, crop, tta):
    arrays = case(name)
    flipped = None if tta == "none" else arrays["pred_flip"]
    check(PROTOCOLS["nyu_eigen"].with_(crop=crop), arrays["gt"], arrays["pred"], flipped, tta)


BAD = np.float32([np.nan, np.inf, -np.inf, -3, -0.0, 0, 5e-4, 1e-3, 80, 80.5, 10, 1e30])


def dirty_map(rng, size, share):
    """Depth of 0.5 to 100 m, a share of it replaced by values that no map should hold."""
    depth = rng.uniform(0.5, 100, size).astype(np.float32)
    bad = rng.random(size) < share
    depth[bad] = rng.choice(BAD, bad.sum())
    return depth


@pytest.mark.parametrize("median", [False, True])
@pytest.mark.parametrize("tta", TTA)
@pytest.mark.parametrize("crop", ["garg", "eigen", None])
def test_random_dirt_in_prediction_and_truth(crop, tta, median):
    """Also in the truth: no pixel of it may count that is not a depth within the limits."""
    for seed in range(12):
        rng = np.random.default_rng((seed, len(tta), median))
        size = tuple(int(side) for side in rng.integers((24, 30), (60, 90)))
        gt, pred, mirrored = (dirty_map(rng, size, share) for share in rng.choice([0, 0.1, 0.6], 3))
        protocol = PROTOCOLS["kitti_eigen_garg_full"].with_(
            crop=crop, median_scaling=median, max_depth=float(rng.choice([10, 50, 80]))
        )
        check(protocol, gt, pred, None if tta == "none" else mirrored, tta)


def test_median_scaling_is_that_of_monodepth2():
    arrays = case("k0_clean")
    score = PROTOCOLS["kitti_eigen_garg_full"].with_(median_scaling=True).score(arrays["pred"], arrays["gt"])
    assert score["rmse"] == pytest.approx(2.254, abs=5e-4)


@pytest.mark.parametrize(("align_corners", "abs_rel"), [(True, 0.0837), (False, 0.0802)])
def test_a_prediction_at_half_the_resolution_is_upsampled_as_the_protocol_says(align_corners, abs_rel):
    arrays = case("k0_clean")
    protocol = PROTOCOLS["kitti_eigen_garg_kb"].with_(align_corners=align_corners)
    score = protocol.score(arrays["pred_half"], arrays["gt"], view=(352, 1216))
    assert score["abs_rel"] == pytest.approx(abs_rel, abs=5e-5)
