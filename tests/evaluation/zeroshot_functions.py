"""What public zero-shot evaluators compute, put together of this package's parts: `FUNCTIONS` by the names of goldens.

A function takes the arrays of one case: `gt` in metres, `mask`, and the predictions `disp`, `depth` and `metric`.
"""

import math
from dataclasses import replace
from functools import partial

import numpy as np

from distill.evaluation import PROTOCOLS, depth_metrics
from distill.evaluation.aligning import (
    ALIGNMENTS,
    least_absolute,
    least_absolute_scale,
    least_squares,
)
from distill.evaluation.ibims import THRESHOLDS, boundary_errors, directed_errors, plane_errors
from distill.evaluation.metrics import measure
from distill.evaluation.pixels import repair, resize

LSQ_DEPTH, LSQ_DISPARITY = ALIGNMENTS["affine"], ALIGNMENTS["disparity"]
CAPS = {  # of set and evaluator: what of the truth counts, and to what an aligned prediction is cut
    ("marigold", "nyu"): ((1e-3, 10), (1e-3, 10)),
    ("marigold", "eth3d"): ((1e-5, math.inf), (1e-5, math.inf)),
    ("marigold", "diode"): (None, (0.6, 350)),
    ("zipdepth", "nyu"): ((1e-3, 10), (1e-3, 10)),
    ("zipdepth", "eth3d"): ((1e-5, 60), (1e-5, 60)),
    ("zipdepth", "diode"): ((0.6, 80), (0.6, 80)),
}


def measured(pred, truth, **more):
    return measure(pred, truth) | {"n": len(truth)} | more


def raw_measured(pred, truth, **more):
    """The same of predictions that nobody has cut: where both ratios of a negative one are small, it is a hit there."""
    with np.errstate(all="ignore"):
        ratio = np.maximum(pred / truth, truth / pred)
        hits = {f"d{k}": (ratio < 1.25**k).mean() if len(truth) else math.nan for k in (1, 2, 3)}
    return measured(pred, truth, **hits, **more)


def moved(x, scale, shift):
    """Aligned; without a shift, -0 stays -0, of which both ratios are small."""
    return scale * x + shift if shift else scale * x


def within(gt, low, high):
    """The truth that counts, limits compared in float32."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(gt) & (gt > np.float32(low)) & (gt < np.float32(high))


def thin(case, most, both):
    """The grid that Marigold's (columns only) and ZipDepth's (both) alignment_max_res fit to."""
    height, width = case["gt"].shape
    ratio = min(1.0, most / max(height, width))
    cols, rows = (
        np.floor(np.arange(n) * (side / n)).astype(int) for side in (width, height) for n in [int(side * ratio)]
    )
    return np.ix_(rows if both else np.arange(height), cols)


def range_evaluator(case, who, data, kind, most=None):
    """Marigold's and ZipDepth's `eval`: fit where the prediction is positive, floor at 1 / 1000 m, cut to the range."""
    span, cut = CAPS[who, data]
    gt, pred = case["gt"], case[kind]
    valid = case["mask"] if data == "diode" else np.ones(gt.shape, bool)
    valid = valid & (within(gt, *span) if span else np.isfinite(gt))
    fit = valid & (gt > 0) & (pred > 0) if kind == "disp" else valid
    aligner = LSQ_DISPARITY if kind == "disp" else LSQ_DEPTH
    if who == "zipdepth" and valid.sum() < 10:
        return {"n": valid.sum(), "n_fit": fit.sum(), **dict.fromkeys(("abs_rel", "rmse", "d1"), math.nan)}
    grid = np.ix_(*map(np.arange, gt.shape)) if most is None else thin(case, most, who == "zipdepth")
    some = fit[grid]
    _, (scale, shift) = aligner(pred[grid][some], gt[grid][some], 1e-3)
    if who == "zipdepth" and fit.sum() < 10:
        scale, shift = 1.0, 0.0
    fixed = replace(aligner, solve=lambda x, y: (scale, shift))
    depth, _ = fixed(pred[valid], gt[valid], 1e-3, np.ones(valid.sum(), bool))
    depth = repair(depth, (max(cut[0], 1e-6), cut[1]))
    return measured(depth, gt[valid], n_fit=fit.sum(), scale=scale, shift=shift)


def moge_score(depth, gt, valid, **more):
    """MoGe divides by g + 1e-6."""
    scores = raw_measured(depth, gt[valid].astype(float), **more)
    return scores | {"abs_rel": np.mean(abs(depth - gt[valid].astype(float)) / (gt[valid].astype(float) + 1e-6))}


def moge_disparity(case):
    gt, valid = case["gt"], within(case["gt"], 0, math.inf)
    pred = case["disp"][valid]
    floor = 1 / float(gt[valid].max(initial=1e-8))
    depth, (scale, shift) = LSQ_DISPARITY(pred, gt[valid], floor, np.ones(len(pred), bool))
    return moge_score(depth, gt, valid, scale=scale, shift=shift)


def moge_sample(valid, side=64):
    """Flat places of MoGe's masked nearest sample: of every cell the valid pixel nearest to its centre."""
    shape, steps = valid.shape, [n / side for n in valid.shape]
    centres = [(np.arange(side) + 0.5) * step for step in steps]
    firsts = [np.round(c - max(1.0, step) / 2).astype(int) for c, step in zip(centres, steps, strict=True)]
    best, places = np.full((side, side), math.inf), np.full((side, side), -1)
    for r, c in np.ndindex(*(math.ceil(step) for step in steps)):
        rows, cols = firsts[0] + r, firsts[1] + c
        inside = ((rows >= 0) & (rows < shape[0]))[:, None] & ((cols >= 0) & (cols < shape[1]))
        at = np.ix_(rows.clip(0, shape[0] - 1), cols.clip(0, shape[1] - 1))
        away = (rows + 0.5 - centres[0])[:, None] ** 2 + (cols + 0.5 - centres[1]) ** 2
        nearer = inside & valid[at] & (away < best)
        best, places = np.where(nearer, away, best), np.where(nearer, rows[:, None] * shape[1] + cols, places)
    return places[places >= 0]


def moge_depth(case, kind, solve):
    gt, valid = case["gt"], within(case["gt"], 0, math.inf)
    places = moge_sample(valid)
    x, y = case[kind].ravel()[places].astype(float), gt.ravel()[places].astype(float)
    scale, shift = solve(x, y) if len(x) else (math.nan, math.nan)
    return moge_score(
        moved(case[kind][valid].astype(float), scale, shift), gt, valid, scale=scale, shift=shift, n_fit=len(x)
    )


def moge_metric(case):
    valid = within(case["gt"], 0, math.inf)
    return moge_score(case["metric"][valid].astype(float), case["gt"], valid)


def midas(case, cap):
    gt, valid = case["gt"], within(case["gt"], 0, cap)
    aligner = replace(LSQ_DISPARITY, solve=partial(least_squares, flat=(0.0, 0.0)))
    depth, (scale, shift) = aligner(case["disp"][valid], gt[valid], 1 / cap, np.ones(valid.sum(), bool))
    ratio = np.maximum(depth / gt[valid], gt[valid] / depth)
    bad = {f"bad_{k}": (ratio > 1.25**k).mean() for k in (1, 2, 3)}
    return measured(depth, gt[valid], scale=scale, shift=shift, **bad)


def plumbline_score(depth, gt, valid, **more):
    """Pixels whose result is no depth are left out of its metrics."""
    with np.errstate(invalid="ignore"):
        used = valid & np.isfinite(depth) & (depth > 0)
    scores = measure(depth[used], gt[used])
    if scores["silog"] < 1e-6:  # what is left of a difference of equal numbers
        del scores["silog"]
    return scores | {"n": valid.sum(), "n_used": used.sum()} | more


def plumbline(case, kind, name, floor=1e-8, clip=math.inf):
    gt, valid, pred = case["gt"], within(case["gt"], 0, math.inf), case[kind]
    if kind == "disp":  # its adapter's depth, of which the inverse is taken again
        pred = 1 / (1 / np.maximum(pred, np.float32(1e-8))).astype(np.float64)
    with np.errstate(invalid="ignore"):
        fit = valid & np.isfinite(pred) & (pred > 0)
    if floor == "truth":
        floor = 1 / float(gt[fit].max(initial=1e-8))
    depth, (scale, shift) = ALIGNMENTS[name](pred.ravel(), gt.ravel(), floor, fit.ravel())
    return plumbline_score(np.minimum(depth.reshape(gt.shape), clip), gt, valid, scale=scale, shift=shift)


def plumbline_log(case):
    valid = within(case["gt"], 0, math.inf) & np.isfinite(case["metric"]) & (case["metric"] > 0)
    logs = (np.log(one[valid].astype(float)) for one in (case["metric"], case["gt"]))
    return dict(zip(("scale", "shift"), least_squares(*logs), strict=True))


def lower_medians(x, y, more=0.0):
    """PyTorch's medians: the lower of two, NaN where any is; `more` is added to the divisor."""
    middles = [np.sort(v)[(len(v) - 1) // 2] + 0 * v.sum() for v in (x, y)]
    return middles[1] / (middles[0] + more), 0.0


def metric3d(case, solve, **more):
    gt, valid = case["gt"], within(case["gt"], 0, math.inf)
    x, y = case["metric"][valid].astype(float), gt[valid].astype(float)
    scale, shift = solve(x, y) if len(x) > 10 else (1.0, 0.0)
    if solve is least_squares and scale < 0:
        scale, shift = lower_medians(x, y, 1e-8)
    scores = measured(scale * x + shift, y, scale=scale)
    return {key: scores[key] for key in ("n", "scale", "abs_rel", "sq_rel", "rmse")}


def capped(
    case, solve, low, high, keys=("n", "abs_rel", "sq_rel", "rmse", "d1", "d2", "d3"), kind="metric", clip=lambda p: p
):
    """Aligned in depth on all of the truth within limits, and scored there."""
    valid = within(case["gt"], low, high)
    x, y = case[kind][valid].astype(float), case["gt"][valid].astype(float)
    scale, shift = solve(x, y) if len(x) else (1.0, 0.0)
    scores = raw_measured(clip(moved(x, scale, shift)), y, scale=scale, shift=shift)
    return {key: scores[key] for key in keys}


def positive_or_mean(x, y):
    """LeReS: where the slope is not positive, the ratio of the means."""
    scale, shift = least_squares(x, y)
    return (scale, shift) if scale > 0 else (y.mean() / x.mean(), 0.0)


def trimmed_ridge(x, y):
    """UniK3D's: fitted where the error before any alignment is below its 95 % quantile, by normal equations + 1e-4."""
    error = abs(y - x)
    kept = error < np.quantile(error, 0.95)
    terms = np.stack([x[kept], np.ones(kept.sum())])
    return np.linalg.solve(terms @ terms.T + 1e-4 * np.eye(2), terms @ y[kept])


def ratios_median(x, y):
    """DepthART's: NaN where any prediction is."""
    with np.errstate(all="ignore"):
        return np.median(y / x), 0.0


def log_median(x, y):
    """DepthART's: NaN where any prediction is not positive."""
    with np.errstate(all="ignore"):
        return np.exp(np.median(np.log(y) - np.log(x))), 0.0


def monst3r_disparity(case):
    valid = within(case["gt"], 0, 70)
    x, y = case["disp"][valid].astype(float), case["gt"][valid].astype(float)
    scale, shift = least_squares(x, 1 / (y + 1e-8)) if len(x) else (1.0, 0.0)
    aligned = scale * x + shift
    scores = measured(np.where(aligned <= 0, 0, np.minimum(1 / aligned, 70)), y)
    return {key: scores[key] for key in ("n", "abs_rel", "sq_rel", "rmse")}


def depth_anything_metric(case):
    """Depth Anything V2: limits count, fewer than 10 pixels are skipped."""
    pred, gt = case["metric"], case["gt"]
    valid = (gt >= np.float32(1e-3)) & (gt <= 10)
    return raw_measured(pred[valid].astype(float), gt[valid].astype(float)) if valid.sum() >= 10 else {}


def same(x, y):
    return 1.0, 0.0


def mean_of_images(cases, function, skip_nan=True):
    """The mean over images; ZipDepth and MoGe leave NaN out, in Marigold's it spoils the mean."""
    rows = [function(case) for case in cases]
    mean = np.nanmean if skip_nan else np.mean
    return {key: mean([row[key] for row in rows]) for key in ("abs_rel", "rmse", "d1")}


def zoe_frame(frame, name):
    """ZoeDepth's reading of iBims-1 and DIODE: a metric prediction of half the size, corners aligned."""
    outdoor = name == "diode_outdoor"
    rows, cols = slice(45, 471), slice(41, 601)
    if outdoor:
        rows, cols = PROTOCOLS["kitti_eigen_garg_full"].window(*frame["gt"].shape)
    high = 80 if outdoor else 10
    low = 0 if name == "ibims" else 1e-3
    valid = np.zeros(frame["gt"].shape, bool)
    valid[rows, cols] = within(frame["gt"], low, high)[rows, cols]
    pred = repair(resize(frame["metric"].astype(float), frame["gt"].shape, align_corners=True), (1e-3, high))
    return depth_metrics(pred, frame["gt"], valid) | {"n": valid.sum()}


def ibims_scene(scene, version):
    """The official iBims-1 script by its versions, and DepthART's, which leaves images without true edges out."""
    pred, gt = scene["pred"], scene["gt"]
    acc, com = boundary_errors(pred, scene["edges"], version)
    if version == "depthart":
        return {"dbe_acc": acc, "dbe_com": com, "counted": 1} if scene["edges"].any() else {"counted": 0}
    valid = (scene["mask_invalid"] * scene["mask_transp"] != 0) & (gt != 0) & (pred != 0)
    planes = []
    for kind in ("wall", "table", "floor"):
        for number, paras in enumerate(scene[f"{kind}_paras"], 1):
            planes.append(((scene[f"mask_{kind}"] == number) & valid, paras[4:7]))
    calib = scene["calib"]
    camera = calib[0, 0], calib[1, 1], calib[2, 0], calib[2, 1]
    flat, turned = zip(*plane_errors(pred, gt, planes, camera), strict=True)
    sides = directed_errors(pred[valid], gt[valid])
    return measured(pred[valid], gt[valid]) | sides | {"dbe_acc": acc, "dbe_com": com, "pe_fla": flat, "pe_ori": turned}


RESIZED = {
    "torch align_corners=False": {},
    "torch align_corners=True": {"align_corners": True},
    "torchvision antialias=True": {"interpolation": "antialiased"},
    "torch antialias=True": {"interpolation": "antialiased"},
    "torch bicubic align_corners=False": {"interpolation": "bicubic"},
    "torch nearest": {"interpolation": "nearest"},
    "torch nearest-exact": {"interpolation": "nearest-exact"},
    "cv2 INTER_LINEAR (float32)": {},
    "PIL BILINEAR (float32)": {"interpolation": "antialiased"},
}
PLUMBLINE = {  # golden: prediction, alignment, and what else
    "none": ("metric", "none"),
    "median": ("metric", "median_ratio"),
    "median_lineage": ("metric", "median"),
    "scale_weiszfeld": ("metric", "scale_weiszfeld"),
    "lstsq": ("metric", "scale"),
    "scale_shift": ("disp", "disparity"),
    "scale_shift_robust": ("disp", "disparity_huber"),
    "scale_shift_clamped": ("disp", "disparity", "truth"),
    "scale_shift_depth": ("depth", "affine"),
    "scale_shift.clip10": ("disp", "disparity", 1e-8, 10),
}


def functions():
    yield "moge.disp", moge_disparity
    yield "moge.depth_affine", partial(moge_depth, kind="depth", solve=least_absolute)
    yield "moge.depth_scale", partial(moge_depth, kind="metric", solve=least_absolute_scale)
    yield "moge.metric", moge_metric
    yield "metric3d.none", partial(metric3d, solve=same)
    yield "metric3d.scale", partial(metric3d, solve=partial(lower_medians, more=1e-8))
    yield "metric3d.scale_shift", partial(metric3d, solve=least_squares)
    yield "plumbline.fit.log", plumbline_log
    yield "unidepth.none", partial(capped, solve=same, low=0, high=10)
    yield "unidepth.si", partial(capped, solve=lower_medians, low=0, high=10)
    yield (
        "monst3r.median",
        partial(capped, solve=lower_medians, low=0, high=70, keys=("n", "abs_rel", "sq_rel", "rmse")),
    )
    yield "monst3r.lstsq", partial(capped, solve=least_squares, low=0, high=70, keys=("n", "abs_rel", "sq_rel", "rmse"))
    weiszfeld = ALIGNMENTS["scale_weiszfeld"].solve
    yield "monst3r.scale", partial(capped, solve=weiszfeld, low=0, high=70, keys=("n", "abs_rel", "sq_rel", "rmse"))
    for name, solve in (("ssi_l2", least_squares), ("si_l1", ratios_median), ("log_median", log_median)):
        yield f"depthart.{name}", partial(capped, solve=solve, low=0.01, high=50, keys=("n", "abs_rel", "d1"))
    yield (
        "leres.polyfit",
        partial(capped, solve=positive_or_mean, low=0, high=math.inf, keys=("n", "abs_rel"), kind="depth"),
    )
    yield "unidepth.ssi", partial(capped, solve=least_squares, low=0, high=10, keys=("n", "abs_rel", "rmse", "d1"))
    yield "unik3d.ssi", partial(capped, solve=trimmed_ridge, low=0, high=10)
    floor, flat = partial(np.maximum, 1e-6), partial(least_squares, flat=(1.0, 0.0))
    yield "depth_estimation.affine", partial(capped, solve=flat, low=1e-3, high=10, kind="depth", clip=floor)
    yield "monst3r.disp", monst3r_disparity
    yield "depth_anything_v2.metric", depth_anything_metric
    yield "diode.devkit", partial(capped, solve=same, low=0, high=math.inf)
    for cap in (10, 80):
        yield f"midas.cap{cap}", partial(midas, cap=cap)
    for name, how in PLUMBLINE.items():
        yield f"plumbline.{name}", lambda case, how=how: plumbline(case, *how)
    for who, data in CAPS:
        for kind in ("disp", "depth"):
            yield f"{who}.{kind}.{data}", partial(range_evaluator, who=who, data=data, kind=kind)
            yield f"{who}.{kind}.{data}.max64", partial(range_evaluator, who=who, data=data, kind=kind, most=64)
    for who in ("marigold", "zipdepth"):
        one = partial(range_evaluator, who=who, data="diode", kind="disp")
        for letter in "AB":
            yield f"set:{who}.disp.diode {letter}", partial(mean_of_images, function=one, skip_nan=who == "zipdepth")
    for way, options in RESIZED.items():
        yield f"resize:{way}", lambda values, size, options=options: resize(values, size, **options)
    yield "aggregate:moge", lambda rows: {key: np.nanmean([row[key] for row in rows]) for key in rows[0]}
    yield "frame", zoe_frame
    for version in THRESHOLDS:
        yield f"ibims:{version}", partial(ibims_scene, version=version)


FUNCTIONS = dict(functions())
