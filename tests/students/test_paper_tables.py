"""Sizes and costs against DisDepth's tables, as one construction rule reproduces them (2 x MACs, batch 1)."""

import functools

import pytest
import torch

from distill.deploy.costs import count_gflops
from distill.deploy.paper import PAPER_ROWS
from students import count_parameters as count
from students import create_student

KITTI, NYU = (352, 1120), (480, 640)
SWIN = "swin_large_patch4_window7_224"
# backbone, LG-Conv, size, millions of parameters, GFLOPs
ROWS = [
    ("efficientnet_b5", True, KITTI, 61.78, 120.7),
    ("efficientnet_b5", True, NYU, 61.78, 94.1),
    ("efficientnet_b3", True, KITTI, 23.05, 61.2),
    ("efficientnet_b0", True, KITTI, 8.00, 35.9),
    ("efficientnet_b0", True, NYU, 8.00, 27.9),
    ("efficientnet_b0", False, KITTI, 5.89, 30.3),
    ("resnet18", True, KITTI, 17.81, 71.9),
    ("resnet50", True, KITTI, 98.16, 449.8),
    (SWIN, False, KITTI, 236.76, 808.4),
    (SWIN, False, NYU, 236.76, 627.3),
]


def test_the_table_that_is_shown_has_the_same_figures():
    shown = [(row.backbone, row.lg_conv, row.size, row.fitted.params_m, row.fitted.gflops) for row in PAPER_ROWS]
    assert shown == ROWS


@functools.cache
def student(name, lg_conv):
    with torch.device("meta"):
        return create_student(name, lg_conv=lg_conv, pretrained=False).eval()


@pytest.mark.parametrize(("name", "lg_conv", "size", "millions", "gflops"), ROWS)
def test_parameters_and_flops_are_those_of_the_fitted_table(name, lg_conv, size, millions, gflops):
    model = student(name, lg_conv)
    assert count(model) == pytest.approx(millions * 1e6, rel=0.02)
    assert count_gflops(model, size) == pytest.approx(gflops, rel=0.02)
