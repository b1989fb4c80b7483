"""A depth model as a graph that other runtimes take: ONNX, and PyTorch's own exported programs."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval
from torch.onnx import register_custom_op_symbolic, symbolic_helper

from students.bins import AdaptiveBins
from students.lg_conv import LGConv
from teachers.stem import fold_standardisation

OPSETS = (17, 18, 19, 20)  # 17 is the first with LayerNormalization, which runtimes compute at once; 20 PyTorch's last
INPUT, OUTPUT = "image", "depth"
DYNAMIC_AXES = {0: "batch", 2: "height", 3: "width"}
ODD = (69, 101)  # sides that are no multiples of 32: what is traced with them pads


class MatmulBins(AdaptiveBins):
    """The same mean depth, without a softmax over the second axis, for which runtimes turn the whole map."""

    def forward(self, context: Tensor, features: Tensor) -> Tensor:
        scores = self.scores(features)
        weights = (scores - scores.amax(dim=1, keepdim=True)).exp()
        centres = self.centres(context)
        sums = torch.stack([centres, torch.ones_like(centres)], dim=1) @ weights.flatten(2)
        sums = rearrange(sums, "b two (h w) -> b two h w", h=scores.shape[-2])
        return sums[:, :1] / sums[:, 1:]


class MatmulLGConv(LGConv):
    """The same vectors, as one product a head: what the other heads' would cost is no loss only to PyTorch."""

    def summarise(self, t: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        attention = scores.flatten(2).softmax(dim=-1).unsqueeze(-1)
        return (rearrange(t, "b (m k) h w -> b m k (h w)", m=self.heads) @ attention).flatten(1), t.mean(dim=(2, 3))


def prepare(model: nn.Module) -> nn.Module:
    """A copy on the CPU in eval mode, with everything constant done once and in the forms above."""
    plain = fold_standardisation(copy.deepcopy(model).cpu().float().eval()).requires_grad_(False)
    for module in plain.modules():
        if type(module) is AdaptiveBins:
            module.__class__ = MatmulBins
        elif type(module) is LGConv:
            module.__class__ = MatmulLGConv
            fold_norms(module)
    return plain


def fold_norms(conv: LGConv) -> None:
    """Take both BatchNorms of LG-Conv's global branch into the convolutions before them."""
    for before, norm in (("reduce", "norm"), ("expand", "norm_out")):
        setattr(conv, before, fuse_conv_bn_eval(getattr(conv, before), getattr(conv, norm)))
        setattr(conv, norm, nn.Identity())


def write_onnx(model: nn.Module, path: Path, size: tuple[int, int] | None, opset: int = OPSETS[1]) -> None:
    """Write `image` (1, 3, *size) in [0, 1] -> `depth` (1, 1, *size) in metres as an ONNX file.

    PyTorch's older exporter traces the network. It is in every version that this package works with and takes seconds;
    the newer one needs a further package and, for free sizes, minutes of algebra.

    Args:
        size: None leaves batch, height and width free.
    """
    know_antialiasing()
    free = {INPUT: DYNAMIC_AXES, OUTPUT: DYNAMIC_AXES} if size is None else None
    names: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT], "dynamic_axes": free}
    with torch.no_grad(), quiet():
        image = torch.rand(1, 3, *(size or ODD))
        torch.onnx.export(prepare(model), (image,), str(path), dynamo=False, opset_version=opset, **names)


def write_program(model: nn.Module, path: Path, size: tuple[int, int], facts: dict[str, str]) -> None:
    """Write the same for one size as a `.pt2`, which AOTInductor and ExecuTorch take; `facts` lie beside the graph."""
    with torch.no_grad(), quiet():
        program = torch.export.export(prepare(model), (torch.rand(1, 3, *size),))
        torch.export.save(program, path, extra_files=facts)


@contextmanager
def quiet() -> Iterator[None]:
    """What exporters say of every shape that they take for constant is meant here, and nobody's business."""
    log, level = logging.getLogger("torch.onnx"), logging.getLogger("torch.onnx").level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)


@cache
def know_antialiasing() -> None:
    """Teach the exporter the one operation of these networks that it does not know, exactly: as two matrix products.

    ONNX' own Resize weighs the pixels of a wide filter otherwise, by up to 0.1 % of the depth in the end.
    """

    def resize(g: Any, x: Any, size: Any, *_: object) -> Any:
        outer, (height, width) = x.type().sizes()[:2], symbolic_helper._maybe_get_const(size, "is")
        rows, columns = x.type().sizes()[2:]
        down = g.op("Constant", value_t=antialiasing(rows, height))
        across = g.op("Constant", value_t=antialiasing(columns, width).T.contiguous())
        resized = g.op("MatMul", g.op("MatMul", down, x), across)
        return resized.setType(x.type().with_sizes([*outer, height, width]))

    register_custom_op_symbolic("aten::_upsample_bilinear2d_aa", resize, OPSETS[0])


def antialiasing(inputs: int, outputs: int) -> Tensor:
    """The weights (outputs, inputs) by which one axis is resized bilinearly with antialiasing."""
    pixels = torch.eye(inputs)[None, None]
    return F.interpolate(pixels, size=(outputs, inputs), mode="bilinear", align_corners=False, antialias=True)[0, 0]
