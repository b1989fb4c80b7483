"""The rules by which a depth map is scored, each set of them with a name and a fingerprint.

Two numbers can be compared only where the same pixels were scored in the same way. A `Protocol` holds everything that
decides this, and `score` carries it out for one image. Everything happens in the coordinates of the full frame: the
two KITTI conventions, `_full` and `_kb`, differ only in the rectangle whose fractions their crop takes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from distill.errors import UserError, did_you_mean
from distill.evaluation.aligning import ALIGNMENTS, FEWEST, TINY, Aligner
from distill.evaluation.arrays import Array, Values, as_map, beside, float64, library
from distill.evaluation.metrics import measure
from distill.evaluation.pixels import (
    INTERPOLATIONS,
    KB_SIZE,
    Pixels,
    Window,
    as_size,
    holds_kb,
    kb_window,
    merge,
    repair,
    resize,
    take,
)

NUMBERS = "limits in float32, metrics in float64"
# What is the same in every protocol, and was an option when the first fingerprints were published.
SAME = {"averaging": "mean of images"}
# Options of the first fingerprints that are values of one option now.
FORMER = {"median_scaling": "median", "aligned": "disparity"}
NYU_SIZE = (480, 640)
NYU_EIGEN: Window = (slice(45, 471), slice(41, 601))
FRACTIONS = {  # of height, height, width, width
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}
# What is made of a second prediction, for the mirrored image. "flip-plain" is "flip" by the name of another code base.
TTA = ("none", "flip", "flip-edge", "flip-plain")
OPTIONS: dict[str, tuple[object, ...]] = {  # what this code knows how to do; a new one comes with its branch below
    "crop": ("garg", "eigen", None),
    "frame": ("full", "kb", "cut"),
    "tta": TTA,
    "align_corners": (False, True),
    "limits": ("strict", "inclusive"),
    "interpolation": tuple(INTERPOLATIONS),
    "alignment": tuple(ALIGNMENTS),
}


AFFINE = "_affine"  # ends the name of a protocol's form for relative models
INVERSE = [name for name, aligner in ALIGNMENTS.items() if aligner.inverse]


class SizeError(UserError, ValueError):
    """A frame of a size that the protocol does not take."""


@dataclass(frozen=True)
class Protocol:
    """How predictions of one data set are scored. The score of a data set is the mean over its images.

    Attributes:
        dataset: "kitti", "nyu", "scenes" or "folder". NYU's Eigen crop is a fixed window of 480x640.
        ground_truth: Where the true depth comes from, in words.
        max_depth: Cap in metres: beyond it the truth does not count and a prediction is cut.
        crop: Window that counts: "garg", "eigen", or None for the whole frame.
        frame: "full": the crop's fractions are taken of the whole frame; "kb": of its 352x1216 KITTI-benchmark cut;
            "cut": the frames themselves are such cuts, and no others are taken.
        min_depth: Least depth in metres. The truth counts where min_depth < truth < max_depth, compared in float32.
        tta: What is made of a second prediction, for the mirrored image: `pixels.merge` tells the kinds apart.
        align_corners: Whether the corners of the two are the same points then.
        limits: "strict", or "inclusive": a truth on a limit counts (Depth-Anything-V2).
        alignment: How each prediction is brought closest to its truth before it is cut to the limits, of `ALIGNMENTS`:
            "none"; "median" (monodepth2) and other scales; "affine", scale and shift in depth; "disparity", scale and
            shift in inverse depth, which relative models give (MiDaS) and others are turned into.
        interpolation: How a prediction of another resolution is brought to the frame's, of `INTERPOLATIONS`.

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
    align_corners: bool = False
    limits: str = "strict"
    alignment: str = "none"
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        for option, known in OPTIONS.items():
            if (value := getattr(self, option)) not in known:
                raise unknown(option, value, known)
        for limit in ("min_depth", "max_depth"):
            object.__setattr__(self, limit, float(getattr(self, limit)))  # 80 and 80.0 share a fingerprint
        if not 0 < self.min_depth < self.max_depth < math.inf:
            raise UserError(
                f"limits in metres must be 0 < min_depth < max_depth, got {self.min_depth}, {self.max_depth}"
            )
        if self.frame != "full" and self.dataset != "kitti":
            raise UserError(
                f"frame {self.frame!r} is a cut of KITTI's frames, and the dataset is {self.dataset!r}: use 'full'"
            )

    @property
    def settings(self) -> dict[str, object]:
        """Everything that decides a number, by name."""
        settings = asdict(self) | SAME | {"median_scaling": self.alignment == FORMER["median_scaling"]}
        if self.alignment == FORMER["aligned"]:
            settings["aligned"] = True
        if self.alignment in ("none", *FORMER.values()):  # as the first fingerprints name it
            del settings["alignment"]
        return settings

    @property
    def fingerprint(self) -> str:
        """12 hex digits that change with every setting except the name."""
        content = self.settings
        del content["name"]
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def with_(self, **options: object) -> Protocol:
        """This protocol with some fields changed, and so with another fingerprint."""
        for name, alignment in FORMER.items():
            if (value := options.pop(name, False)) not in (False, True):
                raise unknown(name, value, (False, True))
            if value:
                options["alignment"] = alignment
        known = [field.name for field in fields(self)]
        for name in options:
            if name not in known:
                raise unknown("protocol option", name, known)
        return replace(self, **options)  # type: ignore[arg-type]

    @property
    def counted(self) -> str:
        """What a pixel's truth must be, in words."""
        return f"depth between {self.min_depth:g} and {self.max_depth:g} m"

    @property
    def aligner(self) -> Aligner:
        """How predictions are aligned."""
        return ALIGNMENTS[self.alignment]

    @property
    def fewest(self) -> int:
        """How many pixels an image must have to be scored: enough for what is fitted to them."""
        return 1 if self.alignment in ("none", "median") else FEWEST

    def affine(self) -> Protocol:
        """This protocol for relative inverse depth: itself, or its form NAME_affine that fits scale and shift.

        Raises:
            UserError: If it aligns depth, and not inverse depth.
        """
        if self.aligner.inverse:
            return self
        if self.alignment != "none":
            raise UserError(
                f"{self.name} with the alignment {self.alignment} is for depth, and the model gives relative inverse "
                f"depth: leave the alignment out, or name one of {', '.join(INVERSE)}"
            )
        return self.with_(alignment="disparity", name=self.name + AFFINE)

    def input_window(self, height: int, width: int) -> Window:
        """The part of an image that a model is shown: KITTI's 352x1216 cut where it fits, else all of it."""
        if self.dataset == "kitti" and holds_kb(height, width):
            return kb_window(height, width)
        return slice(0, height), slice(0, width)

    def window(self, height: int, width: int) -> Window:
        """The rectangle of a full frame that counts, in its own pixels.

        Raises:
            SizeError: If the protocol takes no frames of this size.
        """
        top, left = 0, 0
        if self.frame == "cut" and (height, width) != KB_SIZE:
            raise SizeError(f"{self.name} takes frames cut to 352x1216, got {height}x{width}: use kitti_eigen_garg_kb")
        if self.frame == "kb":
            if not holds_kb(height, width):
                full = self.name.replace("_kb", "_full")
                raise SizeError(f"{self.name} cuts frames to 352x1216, got {height}x{width}: use {full}")
            (rows, cols), (height, width) = kb_window(height, width), KB_SIZE
            top, left = rows.start, cols.start
        if self.crop is None:
            return slice(top, top + height), slice(left, left + width)
        if self.dataset == "nyu" and self.crop == "eigen":
            if (height, width) != NYU_SIZE:
                raise SizeError(f"{self.name} takes frames of 480x640, got {height}x{width}: resize them, or crop=None")
            return NYU_EIGEN
        r0, r1, c0, c1 = FRACTIONS[self.crop]
        rows = slice(top + int(r0 * height), top + int(r1 * height))  # int() truncates, as every reference does
        return rows, slice(left + int(c0 * width), left + int(c1 * width))

    def places(self, target: Array) -> Values:
        """Where the pixels are that count, (N,): indices of the flattened map (H, W); none where these are too few.

        They lie inside the window, and within the limits as float32 decides: 1/1000 is not above 0.001 there, but would
        be in float64.
        """
        depth = as_map(target, "target")
        (rows, cols), width = self.window(*depth.shape), depth.shape[1]
        band = depth[rows]  # not depth[rows, cols], of which every index would have to be moved
        if self.limits == "strict":
            inside = (band > self.min_depth) & (band < self.max_depth)
        else:
            inside = (band >= self.min_depth) & (band <= self.max_depth)
        inside[:, : cols.start] = False
        inside[:, cols.stop :] = False
        places = library(inside).argwhere(inside.ravel())[:, 0] + rows.start * width
        return places if len(places) >= self.fewest else places[:0]

    def score(
        self,
        pred: Array,
        target: Array,
        flipped: Array | None = None,
        *,
        view: tuple[int, int] | None = None,
        relative: bool | None = None,
    ) -> dict[str, float]:
        """The metrics of the prediction of one image.

        A prediction below min_depth counts as min_depth, one beyond max_depth or +inf as max_depth, NaN as min_depth.

        Args:
            pred: Depth in metres, (H, W): the full frame or, for KITTI, its 352x1216 cut. Of `_full` protocols the
                frame outside the cut is then 0, that is min_depth.
            target: True depth of the full frame in metres, (H, W), 0 where nothing was measured.
            flipped: What the model returned for the mirrored image, still mirrored, of the same size as `pred`. A
                protocol without TTA then averages as "flip" does.
            view: Size of what the model was shown, where its prediction has another: it is resized to this.
            relative: Whether `pred` is relative inverse depth; None: where the protocol aligns inverse depth.

        Returns:
            The nine metrics, "mae" in metres, "pixels" (how many counted) and "repaired" (how many of these were NaN or
            infinite as the model gave them). Without a pixel all metrics are NaN.

        Raises:
            ValueError: If a shape does not fit, or the protocol's TTA lacks `flipped`.
        """
        pixels = self.pixels(pred, target, flipped, view=view, relative=relative)
        counts = {"pixels": len(pixels.target), "repaired": pixels.repaired}
        return measure(pixels.pred, pixels.target) | counts

    def pixels(
        self,
        pred: Array,
        target: Array,
        flipped: Array | None = None,
        *,
        view: tuple[int, int] | None = None,
        places: Array | None = None,
        relative: bool | None = None,
    ) -> Pixels:
        """The pixels of one image that count, as `score` takes them; `places` spares the search for them."""
        relative = self.aligner.inverse if relative is None else relative
        if relative and not self.aligner.inverse:
            raise ValueError(f"{self.name} scores metres, and pred is relative inverse depth: use its affine() form")
        (depth, broken), truth = self.combined(pred, flipped, view, relative), as_map(target, "target")
        cut = self.dataset == "kitti" and holds_kb(*truth.shape)
        if depth.shape != truth.shape and not (cut and depth.shape == KB_SIZE):
            sizes = f"pred is {as_size(depth.shape)}, but the frame is {as_size(truth.shape)}"
            raise ValueError(f"{sizes}: give all of it{' or its 352x1216 cut' if self.dataset == 'kitti' else ''}")
        where = self.places(truth) if places is None else places
        t, where = beside(truth.ravel()[where], depth), beside(where, depth)
        p = take(depth, where, truth.shape)
        faults = ~library(p).isfinite(p) if broken is None else take(broken, where, truth.shape) != 0
        constant = self.alignment != "none" and len(p) > 0 and bool(p.min() == p.max())
        p, lost = self.aligned(p, t, relative)
        farthest = self.max_depth if self.aligner.floored else 1 / TINY
        broken = faults if lost is None else faults | lost
        return Pixels(repair(p, (self.min_depth, farthest)), t, where, broken, constant)

    def depth_map(
        self,
        pred: Array,
        target: Array,
        flipped: Array | None = None,
        *,
        view: tuple[int, int] | None = None,
        places: Array,
        relative: bool = False,
    ) -> Values:
        """The whole frame (H, W) in metres as it is scored at `places`, 0 where there is no finite prediction."""
        (depth, _), truth = self.combined(pred, flipped, view, relative), as_map(target, "target")
        p, t = depth.ravel(), beside(truth.ravel(), depth)
        fitted = np.zeros(len(p), bool)
        fitted[places] = True
        finite = library(p).isfinite(p)
        aligned, _ = self.aligned(p, t, relative, beside(fitted, depth))
        return (repair(aligned, (self.min_depth, self.max_depth)) * finite).reshape(depth.shape)

    def aligned(self, pred: Values, target: Values, relative: bool, fitted: Values = None) -> tuple[Values, Values]:
        """Predictions (N,) aligned as metres; and, without a floor, which of them are none: bool, else None.

        `fitted` are the pixels to fit to, bool (N,); by default all.
        """
        if self.alignment == "none":
            return pred, None
        if self.aligner.inverse and not relative:
            pred = 1 / float64(library(pred).where(pred > 0, pred, math.nan))
        fitted = fitted if fitted is None else fitted & library(pred).isfinite(pred)
        depth, _ = self.aligner(pred, target, 1 / self.max_depth if self.aligner.floored else TINY, fitted)
        lost = None if self.aligner.floored else ~(depth < 1 / TINY)
        depth = depth if lost is None else library(depth).where(lost, 1 / TINY, depth)
        return library(depth).asarray(depth, dtype=library(depth).float32), lost

    def combined(
        self,
        pred: Array,
        flipped: Array | None = None,
        view: tuple[int, int] | None = None,
        relative: bool = False,
    ) -> tuple[Values, Values]:
        """One depth map (H, W) in metres of what a model gave, and where it gave anything that was not finite.

        The second is None where that is where the map itself is not finite.
        """
        raw = as_map(pred, "pred")
        mirrored = None if flipped is None else beside(as_map(flipped, "flipped"), raw)
        if mirrored is None and self.tta != "none":
            raise ValueError(f"tta {self.tta!r} needs the prediction for the mirrored image as well: pass flipped")
        if mirrored is not None and mirrored.shape != raw.shape:
            sizes = f"{as_size(raw.shape)}, {as_size(mirrored.shape)}"
            raise ValueError(f"pred and flipped must be of one size, got {sizes}")
        depth, broken = merge(
            raw, mirrored, self.tta, (-math.inf, math.inf) if relative else (self.min_depth, self.max_depth)
        )
        if view is not None and depth.shape != view:  # at equal size 0 * inf would still turn inf into NaN
            broken = ~library(depth).isfinite(depth) if broken is None else broken
            depth, broken = (resize(x, view, self.align_corners, self.interpolation) for x in (depth, broken))
        return depth, broken

    def describe(self) -> str:
        """Everything that decides a number, in one line."""
        crop = f"{self.crop.capitalize()} crop" if self.crop else "no crop"
        frame = {"full": "the full frame", "kb": "the 352x1216 cut", "cut": "frames of 352x1216"}[self.frame]
        less = "<" if self.limits == "strict" else "<="
        scaled = "" if self.alignment == "none" else f", {self.aligner.words}"
        corners = "on" if self.align_corners else "off"
        return (
            f"{self.ground_truth}; {crop} of {frame}; {self.min_depth:g} {less} truth {less} {self.max_depth:g} m; "
            f"TTA {self.tta}{scaled}; {self.interpolation}, align_corners {corners}; {SAME['averaging']}; {NUMBERS}"
        )


def unknown(what: str, value: object, known: Iterable[object]) -> UserError:
    names = [str(name) for name in known]
    return UserError(f"unknown {what} {value!r}{did_you_mean(value, names)} (known: {', '.join(names)})")
