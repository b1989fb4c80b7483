"""The CNN student: a timm backbone, a decoder with skips, adaptive bins or a head of classes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import Tensor

from students.backbone import Backbone
from students.decoders import DECODERS, HEADS, Decoder
from students.inherit import trained_student
from students.lg_conv import AUTO, LGConv
from students.student import WEIGHTS, Student
from teachers.checkpoints import check_values
from teachers.weight_files import Json, read_state_dict

MOST_CLASSES = 255  # in 8 bits, beside "none"
LARGEST = 4096  # of width and bins, which take memory before any weight is read


class CNNStudent(Student):
    """A depth model: image (B, 3, H, W) in [0, 1], any sides of at least 32 -> depth (B, 1, H, W) in metres.

    With `classes` it gives a logit for each of them, (B, classes, H, W); while training, those of an auxiliary head
    follow.

    Args:
        backbone: A timm name.
        lg_conv: Let the backbone's convolutions see the whole image; "auto": where there are some to be wrapped.
        lg_scope: Which of them: "3x3" (the paper's), "kxk" (every kernel above 1x1), "late" (3x3 at strides 16 and 32).
        pretrained: Start from timm's ImageNet weights, unless there is a checkpoint.
        checkpoint: What to start from: the folder of a trained student of this backbone, of which every weight is
            taken, or a file of the backbone's weights as timm saves them. LG-Conv may be new in either case.
        min_depth, max_depth: Limits of the depth in metres; the output never leaves them.
        decoder: "paper" (DisDepth's, fitted to its tables) or "light" (for devices).
        width: Channels of the decoder's last map; None: as its class says.
        bins: Number of depth bins; None: as the decoder's class says.
        classes: Names of what it tells apart; such a student has no bins, and no limits of depth.

    Raises:
        FileNotFoundError: If the checkpoint does not exist.
        ValueError: If the backbone is unknown or has not the four strides, the limits are not 0 < min < max, or the
            checkpoint is another network's.
    """

    has_uncertainty = True
    decoder: Decoder

    def __init__(
        self,
        backbone: str,
        *,
        lg_conv: bool | str = False,
        lg_scope: str = "3x3",
        pretrained: bool = True,
        checkpoint: str | Path | None = None,
        min_depth: float = 1e-3,
        max_depth: float = 80.0,
        decoder: str = "paper",
        width: int | None = None,
        bins: int | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        classes = tuple(classes)
        if len(classes) == 1 or len(classes) > MOST_CLASSES or len({*classes}) < len(classes):
            raise ValueError(f"classes must be 2 to {MOST_CLASSES} different names, got {len(classes)}: {classes[:3]}")
        if not 0 < min_depth < max_depth:
            raise ValueError(f"depth limits must satisfy 0 < min < max, got {min_depth} and {max_depth} metres")
        if isinstance(lg_conv, str) and lg_conv != AUTO:
            raise ValueError(f"lg_conv must be true, false or {AUTO}, got {lg_conv!r}")
        if decoder not in DECODERS:
            raise ValueError(f"unknown decoder {decoder!r}, known are {', '.join(DECODERS)}")
        kind = DECODERS[decoder]
        width, bins = kind.WIDTH if width is None else width, kind.BINS if bins is None else bins
        if not (0 < width <= LARGEST and 0 < bins <= LARGEST):
            raise ValueError(f"width and bins must lie between 1 and {LARGEST}, got {width} and {bins}")
        trained = None if checkpoint is None else trained_student(Path(checkpoint))
        self.encoder = Backbone(
            backbone,
            pretrained=pretrained and checkpoint is None,
            lg_conv=lg_conv,
            lg_scope=lg_scope,
            expanded=kind.EXPANDED,
            weights=None if checkpoint is None or trained else Path(checkpoint),
        )
        self.feature_channels = self.encoder.channels
        limits: Json = {"min_depth": min_depth, "max_depth": max_depth}
        own: Json = {"classes": len(classes)} if classes else {"bins": bins, **limits}
        self.decoder = kind(self.feature_channels, width, partial(HEADS["classes" if classes else "bins"], **own))
        self.min_depth, self.max_depth = (None, None) if classes else (min_depth, max_depth)
        self.classes, self.has_uncertainty = classes, not classes
        self.output = "classes" if classes else "metric"
        options: Json = {"lg_conv": self.encoder.wrapped > 0, "lg_scope": lg_scope, **({} if classes else limits)}
        options |= {"decoder": decoder, "width": width, **({"classes": list(classes)} if classes else {"bins": bins})}
        self.recipe = {"student": backbone, "options": options}
        if trained:
            continue_from(self, *trained)

    def with_uncertainty(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Depth, and the standard deviation of the bins at each pixel, both (B, 1, H, W); nothing is trained for it."""
        maps: Tensor = self.decoder(self.encode(image), (image.shape[-2], image.shape[-1]), spread=True)
        depth, spread = maps.split(1, dim=1)
        if self.calibration is not None:
            return self.calibration(depth), spread * self.calibration.slope(depth)
        return depth, spread


def continue_from(student: CNNStudent, folder: Path, recipe: Json) -> None:
    """Take every weight of a trained student that was built alike. Only LG-Conv's global branches may be new."""
    new = [
        f"{name}.{key}"
        for name, module in student.named_modules()
        if isinstance(module, LGConv)
        for key in module.state_dict()
        if not key.startswith("local.")
    ]
    try:
        weights = read_state_dict(folder / WEIGHTS)
        left = student.load_state_dict(weights, strict=False)
        fits = set(left.missing_keys) <= set(new) and not left.unexpected_keys
    except RuntimeError:  # shapes differ
        fits = False
    if not fits:
        raise ValueError(
            f"{folder} holds a {recipe['student']} with the options {recipe['options']}, which does not fit a "
            f"{student.recipe['student']} with {student.recipe['options']}; give the student the same"
        )
    wanted = student.state_dict()
    local = {key: key if key in wanted else ".local.".join(key.rsplit(".", 1)) for key in weights}
    check_values({local[key]: value for key, value in weights.items()}, wanted, str(folder / WEIGHTS))
