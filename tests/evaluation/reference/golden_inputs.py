"""Deterministic synthetic inputs for checking depth evaluation, losses and loaders.

Everything is built from the raw 64-bit stream of numpy's PCG64 with additions,
multiplications, divisions and rounding to a fixed grid only (no transcendental
functions, no Generator methods), so the arrays are bit-identical on every
platform and numpy version.  `digest(a)` gives the SHA-256 that the golden file
records for each array.

depth pairs (float32, metres):
    kitti_case(name) / nyu_case(name) -> dict with
        gt         ground truth, 0 = no measurement
        pred       prediction, same frame as gt
        pred_flip  what a model would return for the mirrored image (still mirrored)
        gt_png     gt as the uint16 that would be stored on disk
    KITTI also has pred_kb / pred_kb_flip (352x1216, KITTI-benchmark crop of the frame)
    and both have pred_half / pred_half_flip (half of the network input size).
"""

import hashlib

import numpy as np

KITTI_CASES = {  # name: (seed, (height, width), corrupt share, valid share)
    "k0_clean": (101, (375, 1242), 0.0, 0.05),
    "k1_dirty": (102, (375, 1242), 0.02, 0.05),
    "k2_dirty_370x1226": (103, (370, 1226), 0.02, 0.05),
    "k3_clean_376x1241": (104, (376, 1241), 0.0, 0.04),
    "k4_clean_374x1238": (105, (374, 1238), 0.0, 0.15),
}
NYU_CASES = {
    "n0_clean": (201, (480, 640), 0.0, None),
    "n1_dirty": (202, (480, 640), 0.02, None),
    "n2_clean": (203, (480, 640), 0.0, None),
    "n3_dirty": (204, (480, 640), 0.02, None),
}
KB_H, KB_W = 352, 1216


def uniform(seed, stream, shape):
    """float64 in [0, 1): top 53 bits of the raw PCG64 stream of SeedSequence([seed, stream])."""
    n = int(np.prod(shape))
    raw = np.random.PCG64(np.random.SeedSequence([seed, stream])).random_raw(n)
    return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def bell(seed, stream, shape):
    """Zero-mean, unit-variance, bounded noise (sum of four uniforms)."""
    u = uniform(seed, stream, (4, *tuple(shape)))
    return (u[0] + u[1] + u[2] + u[3] - 2.0) * 1.7320508075688772


def grid(a, step):
    """Round to multiples of 1/step, as float32 (exact for the ranges used here)."""
    return (np.floor(a * step + 0.5) / step).astype(np.float32)


def scene(seed, shape, kitti):
    """A dense depth map: ground, far wall, rectangular objects."""
    h, w = shape
    v = (np.arange(h, dtype=np.float64) + 0.5)[:, None] / h
    u = (np.arange(w, dtype=np.float64) + 0.5)[None, :] / w
    if kitti:
        d = np.minimum(3.2 / np.maximum(v - 0.36, 0.02), 70.0 + 50.0 * u) + 0.0 * u
        lo, hi, count = 4.0, 70.0, 24
    else:
        d = np.minimum(1.1 / np.maximum(v - 0.30, 0.02), 4.0 + 7.5 * u) + 0.0 * u
        lo, hi, count = 0.6, 8.0, 20
    r = uniform(seed, 1, (count, 5))
    for a, b, c, e, z in r:
        top, left = int(a * h * 0.8), int(b * w * 0.9)
        box = d[top : top + 8 + int(c * h * 0.3), left : left + 8 + int(e * w * 0.15)]
        np.minimum(box, lo + (hi - lo) * z * z, out=box)
    return d


def _predict(dense, seed, stream, corrupt):
    """Noisy copy of `dense`; a share `corrupt` of pixels is replaced by bad values."""
    shape = dense.shape
    p = dense * (1.03 + 0.10 * bell(seed, stream, shape))
    wild = uniform(seed, stream + 1, shape)
    p = np.where(wild < 0.12, dense * (0.45 + 9.5 * wild), p)
    p = grid(np.maximum(p, 0.05), 4096.0)
    if corrupt:
        hit = uniform(seed, stream + 2, shape) < corrupt
        kind = (uniform(seed, stream + 3, shape) * 8).astype(np.int64)
        values = np.array([-3.0, 0.0, np.nan, np.inf, -np.inf, 250.0, 0.00048828125, -0.0], dtype=np.float32)
        p[hit] = values[kind[hit]]
    return p


def _pair(seed, shape, corrupt, valid, kitti):
    dense = scene(seed, shape, kitti)
    if kitti:
        have = uniform(seed, 2, shape) < valid
        stored = np.floor(dense * (1.0 + 0.01 * bell(seed, 3, shape)) * 256.0 + 0.5)
        special = uniform(seed, 4, shape)
        stored = np.where(special < 0.004, 20480.0, stored)  # exactly 80 m
        stored = np.where((special >= 0.004) & (special < 0.008), 22528.0, stored)  # 88 m
        if corrupt:
            stored = np.where((special >= 0.008) & (special < 0.009), 1.0, stored)  # 1/256 m
        png = np.where(have, np.clip(stored, 1, 65535), 0).astype(np.uint16)
        gt = png.astype(np.float32) / np.float32(256)
    else:
        stored = np.floor(dense * (1.0 + 0.005 * bell(seed, 3, shape)) * 1000.0 + 0.5)
        special = uniform(seed, 4, shape)
        stored = np.where(special < 0.002, 10000.0, stored)  # exactly 10 m
        if corrupt:
            stored = np.where((special >= 0.002) & (special < 0.003), 1.0, stored)  # exactly 1 mm
        png = np.clip(stored, 1, 65535)
        r = uniform(seed, 5, (10, 4))
        for a, b, c, e in r:  # holes
            top, left = int(a * shape[0]), int(b * shape[1])
            png[top : top + 6 + int(60 * c), left : left + 6 + int(60 * e)] = 0
        png[:8], png[-8:], png[:, :8], png[:, -8:] = 0, 0, 0, 0
        png = png.astype(np.uint16)
        gt = png.astype(np.float32) / np.float32(1000)
    out = {"gt": gt, "gt_png": png}
    out["pred"] = _predict(dense, seed, 10, corrupt)
    out["pred_flip"] = _predict(np.ascontiguousarray(dense[:, ::-1]), seed, 20, corrupt)
    net = dense
    if kitti:
        y, x = kb_offsets(*shape)
        out["pred_kb"] = out["pred"][y : y + KB_H, x : x + KB_W].copy()
        net = dense[y : y + KB_H, x : x + KB_W]
        out["pred_kb_flip"] = _predict(np.ascontiguousarray(net[:, ::-1]), seed, 30, corrupt)
    small = np.ascontiguousarray(net[::2, ::2])
    out["pred_half"] = _predict(small, seed, 40, 0.0)
    out["pred_half_flip"] = _predict(np.ascontiguousarray(small[:, ::-1]), seed, 50, 0.0)
    return out


def kb_offsets(height, width):
    """(top, left) of the KITTI-benchmark crop: bottom aligned, horizontally centred (floor)."""
    return height - KB_H, (width - KB_W) // 2


def kitti_case(name):
    seed, shape, corrupt, valid = KITTI_CASES[name]
    return _pair(seed, shape, corrupt, valid, True)


def nyu_case(name):
    seed, shape, corrupt, _ = NYU_CASES[name]
    return _pair(seed, shape, corrupt, None, False)


def loss_tensors(seed, shape, valid, far=120.0, dtype=np.float64):
    """(pred, gt, mask) for loss checks; gt is 0 where mask is False."""
    g = grid(1.0 + (far - 1.0) * uniform(seed, 60, shape) ** 3, 256.0)
    p = grid(np.maximum(g * (1.05 + 0.2 * bell(seed, 61, shape)), 0.1), 4096.0)
    mask = uniform(seed, 62, shape) < valid
    return p.astype(dtype), np.where(mask, g, 0).astype(dtype), mask


def rgb(seed, shape):
    """uint8 HxWx3 image: smooth ramps plus noise."""
    h, w = shape
    v = np.arange(h, dtype=np.float64)[:, None, None] / h
    u = np.arange(w, dtype=np.float64)[None, :, None] / w
    k = np.array([1.0, 0.6, 0.3])
    a = 40.0 + 120.0 * (v * k + u * (1.0 - k)) + 60.0 * uniform(seed, 70, (h, w, 3))
    return np.floor(a).astype(np.uint8)


def digest(a):
    a = np.ascontiguousarray(a)
    return hashlib.sha256(str((a.dtype.str, a.shape)).encode() + a.tobytes()).hexdigest()[:16]


if __name__ == "__main__":
    for n in KITTI_CASES:
        print(n, {k: digest(v) for k, v in kitti_case(n).items()})
    for n in NYU_CASES:
        print(n, {k: digest(v) for k, v in nyu_case(n).items()})
