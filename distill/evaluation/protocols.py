"""The rules under which a depth map is judged, each set with a name and a fingerprint.

Two numbers can be compared only where the same pixels were judged in the same way. A `Protocol` holds everything that
decides this, and `score` carries it out for one image. Everything happens in the coordinates of the full frame: the
two KITTI conventions, `_full` and `_kb`, differ only in the rectangle whose fractions their crop takes.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.errors import UserError
from distill.evaluation.metrics import Array, as_tensor, depth_metrics, mean_absolute_error

Window = tuple[slice, slice]

KB_SIZE = (352, 1216)  # the frame of the KITTI benchmark: bottom aligned, horizontally centred
NYU_SIZE = (480, 640)
NYU_EIGEN: Window = (slice(45, 471), slice(41, 601))
FRACTIONS = {  # of height, height, width, width
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}
OPTIONS: dict[str, tuple] = {  # what this code knows how to do; a new one comes with its branch below
    "crop": ("garg", "eigen", None),
    "frame": ("full", "kb"),
    "tta": ("none", "flip", "flip-edge", "flip-plain"),
    "interpolation": ("bilinear",),
    "align_corners": (False, True),
    "averaging": ("mean of images",),
    "limits": ("strict",),
    "median_scaling": (False,),
}


class SizeError(UserError, ValueError):
    """A frame of a size that the protocol cannot judge."""


@dataclass(frozen=True)
class Protocol:
    """How predictions of one data set are judged.

    Attributes:
        dataset: "kitti", "nyu", "scenes" or "folder". NYU's Eigen crop is a fixed window of 480x640.
        ground_truth: Where the true depth comes from, in words.
        max_depth: Cap in metres: beyond it the truth does not count and a prediction is cut.
        crop: Window that counts: "garg", "eigen", or None for the whole frame.
        frame: "full": the crop's fractions are taken of the whole frame; "kb": of its 352x1216 KITTI-benchmark cut.
        min_depth: Least depth in metres. The truth counts where min_depth < truth < max_depth, compared in float32.
        tta: What is made of a second prediction, for the mirrored image: `_merge` tells the kinds apart.
        interpolation, align_corners: How a prediction of another resolution is brought to the frame's.
        averaging, limits, median_scaling: Part of the fingerprint, so that a second kind can be told from the first.

    Raises:
        UserError: If an option is not among the known ones, or the limits make no range.
    """

    name: str
    dataset: str
    ground_truth: str
    max_depth: float
    crop: str | None = None
    frame: str = "full"
    min_depth: float = 1e-3
    tta: str = "none"
    interpolation: str = "bilinear"
    align_corners: bool = False
    averaging: str = "mean of images"
    limits: str = "strict"
    median_scaling: bool = False

    def __post_init__(self) -> None:
        for option, known in OPTIONS.items():
            if (given := getattr(self, option)) not in known:
                raise _unknown(option, given, known)
        for limit in ("min_depth", "max_depth"):
            object.__setattr__(self, limit, float(getattr(self, limit)))  # 80 and 80.0 share a fingerprint
        if not 0 < self.min_depth < self.max_depth < math.inf:
            raise UserError(
                f"limits in metres must be 0 < min_depth < max_depth, got {self.min_depth}, {self.max_depth}"
            )
        if self.frame == "kb" and self.dataset != "kitti":
            raise UserError(f"frame 'kb' is a cut of KITTI's frames, and the dataset is {self.dataset!r}: use 'full'")

    @property
    def fingerprint(self) -> str:
        """12 hex digits that change with every field except the name."""
        content = asdict(self)
        del content["name"]
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def with_(self, **options: Any) -> Protocol:
        """This protocol with some fields changed, and so with another fingerprint."""
        known = [field.name for field in fields(self)]
        for name in options:
            if name not in known:
                raise _unknown("protocol option", name, known)
        return replace(self, **options)

    def input_window(self, height: int, width: int) -> Window:
        """The part of an image that a model is shown: KITTI's 352x1216 cut where it fits, else all of it."""
        if self.dataset == "kitti" and _holds_kb(height, width):
            return _kb_window(height, width)
        return slice(0, height), slice(0, width)

    def window(self, height: int, width: int) -> Window:
        """The judged rectangle of a full frame, in its own pixels.

        Raises:
            SizeError: If frames of this size cannot be judged.
        """
        top, left = 0, 0
        if self.frame == "kb":
            if not _holds_kb(height, width):
                full = self.name.replace("_kb", "_full")
                raise SizeError(f"{self.name} cuts frames to 352x1216, got {height}x{width}: use {full}")
            (rows, cols), (height, width) = _kb_window(height, width), KB_SIZE
            top, left = rows.start, cols.start
        if self.crop is None:
            return slice(top, top + height), slice(left, left + width)
        if self.dataset == "nyu" and self.crop == "eigen":
            if (height, width) != NYU_SIZE:
                raise SizeError(f"{self.name} judges 480x640 frames, got {height}x{width}: resize them, or crop=None")
            return NYU_EIGEN
        r0, r1, c0, c1 = FRACTIONS[self.crop]
        rows = slice(top + int(r0 * height), top + int(r1 * height))  # int() truncates, as every reference does
        return rows, slice(left + int(c0 * width), left + int(c1 * width))

    def select(self, target: Array) -> Tensor:
        """The pixels that count, bool (H, W): inside the window, and strictly within the limits in float32.

        float32 decides for a truth on the limit: 1/1000 is not above 0.001 there, but would be in float64.
        """
        depth = _depth_map(target, "target")
        rows, cols = self.window(*depth.shape)
        selected = torch.zeros_like(depth, dtype=torch.bool)
        inside = depth[rows, cols]
        selected[rows, cols] = (inside > self.min_depth) & (inside < self.max_depth)
        return selected

    def score(
        self, pred: Array, target: Array, flipped: Array | None = None, *, view: tuple[int, int] | None = None
    ) -> dict[str, float]:
        """Judge the prediction of one image.

        A prediction below min_depth counts as min_depth, one beyond max_depth or +inf as max_depth, NaN as min_depth.

        Args:
            pred: Depth in metres, (H, W): the full frame or, for KITTI, its 352x1216 cut. Of `_full` protocols the
                frame outside the cut is then 0, that is min_depth.
            target: True depth of the full frame in metres, (H, W), 0 where nothing was measured.
            flipped: What the model returned for the mirrored image, still mirrored, of the same size as `pred`. A
                protocol without TTA then averages as "flip" does.
            view: Size of what the model was shown, where its prediction has another: it is resized to this.

        Returns:
            The nine metrics, "mae" in metres, "pixels" (how many counted) and "repaired" (how many of these were NaN or
            infinite as the model gave them). Without a pixel all metrics are NaN.

        Raises:
            ValueError: If a shape does not fit, or the protocol's TTA lacks `flipped`.
        """
        raw = _depth_map(pred, "pred")
        truth = _depth_map(target, "target", raw.device)
        layers = self._merge(raw, None if flipped is None else _depth_map(flipped, "flipped", raw.device))
        if view is not None and layers.shape[1:] != view:  # at equal size 0 * inf would still turn inf into NaN
            layers = self._resize(layers, view)
        depth, broken = self._place(layers, truth.shape)
        # A float32 clamp leaves NaN alone, so this is: below -> min, above and inf -> max, NaN -> min.
        depth = depth.clamp(self.min_depth, self.max_depth).nan_to_num(nan=self.min_depth)
        valid = self.select(truth)
        return {
            **depth_metrics(depth, truth, valid),
            "mae": mean_absolute_error(depth, truth, valid),
            "pixels": int(valid.sum()),
            "repaired": int((valid & (broken > 0)).sum()),
        }

    def _merge(self, pred: Tensor, flipped: Tensor | None) -> Tensor:
        """Both predictions made one, and a map that is 1 where either was not finite, as (2, H, W).

        "flip" cuts both to the limits, then averages (AdaBins); one NaN of the two makes the pixel NaN. "flip-plain"
        (MDE-Toolbox) is the same arithmetic; its NaN would drop the image from the mean, here it counts as min_depth.
        "flip-edge" (NeWCRFs) blends without cutting first.
        """
        if flipped is None:
            if self.tta != "none":
                raise ValueError(f"tta {self.tta!r} needs the prediction for the mirrored image as well: pass flipped")
            return torch.stack([pred, (~pred.isfinite()).float()])
        if flipped.shape != pred.shape:
            raise ValueError(f"pred and flipped must be of one size, got {_size(pred.shape)}, {_size(flipped.shape)}")
        other = flipped.flip(-1)
        broken = ~(pred.isfinite() & other.isfinite())
        if self.tta == "flip-edge":
            merged = _edge_blend(pred, other)
        else:
            merged = 0.5 * (pred.clamp(self.min_depth, self.max_depth) + other.clamp(self.min_depth, self.max_depth))
        return torch.stack([merged, broken.float()])

    def _resize(self, layers: Tensor, size: tuple[int, int]) -> Tensor:
        """Layers (C, h, w) at another resolution, (C, H, W)."""
        mode, corners = self.interpolation, self.align_corners
        return F.interpolate(layers[None], size=size, mode=mode, align_corners=corners)[0]

    def _place(self, layers: Tensor, frame: torch.Size) -> Tensor:
        """Layers of the frame, or of KITTI's cut of it pasted into zeros, as layers of the frame."""
        height, width = frame
        if layers.shape[1:] == frame:
            return layers
        if self.dataset == "kitti" and layers.shape[1:] == KB_SIZE and _holds_kb(height, width):
            rows, cols = _kb_window(height, width)
            pasted = layers.new_zeros(len(layers), height, width)
            pasted[:, rows, cols] = layers
            return pasted
        also = " or its 352x1216 cut" if self.dataset == "kitti" else ""
        raise ValueError(f"pred is {_size(layers.shape[1:])}, but the frame is {_size(frame)}: give all of it{also}")


class Protocols(dict[str, Protocol]):
    """Protocols by name. Asking for one that is not there says which are."""

    def __missing__(self, name: str) -> Protocol:
        raise _unknown("protocol", name, self)


def _named(*protocols: Protocol) -> Protocols:
    return Protocols({protocol.name: protocol for protocol in protocols})


_LIDAR = "improved KITTI depth maps (accumulated lidar), metres = PNG / 256, Eigen test split"
_KINECT = "Kinect depth, filled in, metres = PNG / 1000, Eigen test split"

PROTOCOLS = _named(
    Protocol("kitti_eigen_garg_full", "kitti", _LIDAR, 80, crop="garg"),
    Protocol("kitti_eigen_garg_kb", "kitti", _LIDAR, 80, crop="garg", frame="kb"),
    Protocol("kitti_eigen_crop_full", "kitti", _LIDAR, 80, crop="eigen"),
    Protocol("kitti_eigen_crop_kb", "kitti", _LIDAR, 80, crop="eigen", frame="kb"),
    Protocol("nyu_eigen", "nyu", _KINECT, 10, crop="eigen"),
    Protocol("scenes_road", "scenes", "rendered, exact", 80),
    Protocol("scenes_room", "scenes", "rendered, exact", 10),
    Protocol("folder", "folder", "as given", 80),
)


def _holds_kb(height: int, width: int) -> bool:
    return height >= KB_SIZE[0] and width >= KB_SIZE[1]


def _kb_window(height: int, width: int) -> Window:
    top, left = height - KB_SIZE[0], (width - KB_SIZE[1]) // 2
    return slice(top, height), slice(left, left + KB_SIZE[1])


def _edge_blend(pred: Tensor, other: Tensor) -> Tensor:
    """The mean of both (H, W), giving way over the outer 10 % of the width to `other` at the left, `pred` at the right.

    The three terms stay apart: 0 * inf is NaN, so that an infinite pixel of either map ends as min_depth.
    """
    x = torch.linspace(0, 1, pred.shape[-1], device=pred.device)
    left = 1 - (20 * (x - 0.05)).clamp(0, 1)
    right = left.flip(-1)
    return left * other + right * pred + (1 - left - right) * 0.5 * (pred + other)


def _depth_map(array: Array, name: str, device: torch.device | None = None) -> Tensor:
    """What was given as a float32 tensor (H, W)."""
    tensor = as_tensor(array).float().to(device)  # float32 first: not every device has float64
    if tensor.ndim != 2:
        raise ValueError(f"{name} must be one depth map (H, W), got shape {tuple(tensor.shape)}")
    return tensor


def _size(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))


def _unknown(what: str, given: object, known: Iterable[object]) -> UserError:
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(given), names, n=1)
    guess = f", did you mean {near[0]!r}?" if near else ""
    return UserError(f"unknown {what} {given!r}{guess} (known: {', '.join(names)})")
