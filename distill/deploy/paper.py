"""The figures of DisDepth (arXiv 2404.16386) for its students, beside those of the rule that reproduces them.

`fitted` is what the paper decoder of `students.decoders` gives with the global mean inside LG-Conv's attention, which
the paper has and this code leaves out because it cancels in the softmax. GFLOPs are 2 x multiply-accumulates.
"""

from __future__ import annotations

from dataclasses import dataclass

from distill.evaluation.published_figures import published_tables
from distill.evaluation.scores import Size
from teachers.weight_files import Json

KITTI: Size = (352, 1120)
NYU: Size = (480, 640)
SWIN = "swin_large_patch4_window7_224"


@dataclass(frozen=True)
class Cost:
    """Parameters in millions, and GFLOPs for one image."""

    params_m: float
    gflops: float


@dataclass(frozen=True)
class PaperRow:
    """One model of the paper on one data set; `abs_rel` and `rmse` (metres) are its distilled results."""

    backbone: str
    lg_conv: bool
    data: str
    size: Size
    paper: Cost
    fitted: Cost
    abs_rel: float | None = None
    rmse: float | None = None

    @property
    def name(self) -> str:
        """What a table calls it."""
        return f"{self.backbone.split('_patch')[0]}{' + LG' * self.lg_conv}"


def row(
    backbone: str, lg_conv: bool, data: str, size: Size, paper: Cost, fitted: Cost, model: str | None = None
) -> PaperRow:
    """A row with the results of `published.yaml`, where the paper has this model distilled (or a teacher)."""
    tables = [one for one in published_tables() if (one.title, one.data) == ("DisDepth", data.lower())]
    figures = tables[0].figures(model) if model else {}
    return PaperRow(backbone, lg_conv, data, size, paper, fitted, figures.get("abs_rel"), figures.get("rmse"))


B5, B3, B0, R18, R50 = (
    f"{name} + LG, DisDepth"
    for name in ("EfficientNet-B5", "EfficientNet-B3", "EfficientNet-B0", "ResNet-18", "ResNet-50")
)
SWIN_L = "Swin-L, teacher of DisDepth"
PAPER_ROWS = (
    row("efficientnet_b5", True, "KITTI", KITTI, Cost(61.9, 122.5), Cost(61.78, 120.7), B5),
    row("efficientnet_b5", True, "NYU", NYU, Cost(61.9, 95.5), Cost(61.78, 94.1), B5),
    row("efficientnet_b3", True, "KITTI", KITTI, Cost(23.1, 61.1), Cost(23.05, 61.2), B3),
    row("efficientnet_b0", True, "KITTI", KITTI, Cost(8.0, 35.7), Cost(8.00, 35.9), B0),
    row("efficientnet_b0", True, "NYU", NYU, Cost(8.0, 27.8), Cost(8.00, 27.9), B0),
    row("efficientnet_b0", False, "KITTI", KITTI, Cost(5.9, 30.4), Cost(5.89, 30.3)),
    row("resnet18", True, "KITTI", KITTI, Cost(18.0, 72.2), Cost(17.81, 71.9), R18),
    row("resnet50", True, "KITTI", KITTI, Cost(98.6, 499.7), Cost(98.16, 449.8), R50),
    row(SWIN, False, "KITTI", KITTI, Cost(237.0, 800.0), Cost(236.76, 808.4), SWIN_L),
    row(SWIN, False, "NYU", NYU, Cost(237.0, 621.3), Cost(236.76, 627.3), SWIN_L),
)


def paper_row(recipe: Json, size: Size) -> PaperRow | None:
    """The paper's row for a student's recipe at this size, None where it has none."""
    options = {"lg_conv": False, "decoder": "paper", "width": 128, "bins": 256, **recipe["options"]}
    if [options[key] for key in ("decoder", "width", "bins")] != ["paper", 128, 256]:
        return None
    wanted = (recipe["student"], options["lg_conv"], tuple(size))
    return next((row for row in PAPER_ROWS if (row.backbone, row.lg_conv, row.size) == wanted), None)
