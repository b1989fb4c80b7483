"""iBims-1 beside its depth: true edges and planes, and the layout in which a .mat file holds all of an image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from distill.data.files.pairs import Pair, Shapes
from distill.data.files.reading import DecodeError, NotDepth, read_file, read_mask, read_values
from distill.data.nyu.labelled import extra
from distill.data.zeroshot import cameras
from distill.data.zeroshot.decoding import Size

PLANES = ("wall", "table", "floor")
NORMAL = slice(4, 7)  # of the seven numbers of a plane
MASKS = ("mask_invalid", "mask_transp")


def raw_shapes(pair: Pair, size: Size) -> Shapes:
    """Those of an image in `ibims1_core_raw`; of some images there are no edges or planes.

    Raises:
        DecodeError: If a file cannot be read, or is of another size than the depth.
    """
    assert pair.depth is not None
    depth = Path(pair.depth)
    root, name = depth.parents[1], depth.stem
    edges, planes = root / "edges" / f"{name}.png", []
    for kind in PLANES:
        where, listed = (root / f"mask_{kind}" / f"{name}.{suffix}" for suffix in ("png", "txt"))
        if where.is_file() and listed.is_file():
            numbers = of_size(where, read_values(where)[0], size)
            planes += planes_of(listed, numbers, rows_of(listed))
    known = of_size(edges, read_mask(edges), size) if edges.is_file() else None
    return Shapes(known, tuple(planes), cameras.ibims(pair.depth, size))


def of_size(path: str | Path, values: np.ndarray, size: Size) -> np.ndarray:
    """The same values, which must be of the size of the depth."""
    if values.shape != size:
        shapes = " and ".join("x".join(map(str, shape)) for shape in (values.shape, size))
        raise NotDepth(path, f"and its depth map are {shapes} (height x width), expected one size: get both again")
    return values


def rows_of(path: Path) -> np.ndarray:
    """A line of seven numbers for each plane, (N, 7)."""
    try:
        return np.loadtxt(path, delimiter=",", ndmin=2)
    except ValueError as error:
        raise DecodeError(path, f"expected lines of seven numbers ({error})") from None


def planes_of(path: Path, numbers: np.ndarray, rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Where each plane is, bool (H, W), and its normal; `numbers` (H, W) is the line of each pixel, from 1."""
    if rows.size and rows.shape[1] < NORMAL.stop:
        raise DecodeError(path, f"has {rows.shape[1]} numbers for a plane, expected {NORMAL.stop}")
    return [(numbers == number, row[NORMAL]) for number, row in enumerate(rows, start=1)]


def read_mat(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Image and depth of one of `ibims1_core_mat/*.mat`, 0 where its masks say that it does not count."""
    data = mat_of(pair.image)
    usable = np.logical_and.reduce([data[mask] != 0 for mask in MASKS])
    depth = np.where(usable & np.isfinite(data["depth"]), data["depth"], 0).astype(np.float32)
    return np.ascontiguousarray(data["rgb"], dtype=np.uint8), depth


def mat_shapes(pair: Pair, size: Size) -> Shapes:
    """Edges and planes of one of them."""
    data, planes = mat_of(pair.image), []
    for kind in PLANES:
        if f"mask_{kind}" in data and f"mask_{kind}_paras" in data:
            rows = np.atleast_2d(data[f"mask_{kind}_paras"])
            numbers = of_size(pair.image, data[f"mask_{kind}"], size)
            planes += planes_of(Path(pair.image), numbers, rows if rows.size else np.zeros((0, 7)))
    edges = of_size(pair.image, data["edges"] != 0, size) if "edges" in data else None
    return Shapes(edges, tuple(planes), data["calib"].T)


def mat_camera(path: str, size: Size) -> np.ndarray:
    """The camera, which is stored transposed."""
    return np.asarray(mat_of(path)["calib"].T, dtype=np.float64)


def mat_of(path: str) -> dict[str, np.ndarray]:
    """The fields of a file's struct `data`.

    Raises:
        DecodeError: If it is no such file.
    """
    content, reader = io.BytesIO(read_file(path)), extra("scipy.io")
    try:
        data = reader.loadmat(content, squeeze_me=True, variable_names=["data"])["data"]
        fields = {name: np.asarray(data[name].item()) for name in data.dtype.names}
    except Exception:  # scipy raises many kinds
        raise DecodeError(path, "no struct 'data' in it, as iBims-1's files have one: get it again") from None
    lacking = [name for name in ("rgb", "depth", "calib", *MASKS) if name not in fields]
    if lacking or any(fields[name].shape != fields["depth"].shape for name in MASKS):
        raise DecodeError(path, f"has no {' and no '.join(lacking) or 'masks of its size'}, expected iBims-1's file")
    return fields
