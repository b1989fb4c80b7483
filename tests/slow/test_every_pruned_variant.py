"""The thesis' 36 pruned DPTs are exported, every one of them."""

import itertools

import pytest
import torch

from distill.deploy.graph import write_onnx
from distill.deploy.runtime import deviation
from distill.inference.exported import OnnxModel
from students import create_student
from students.pruned_dpt import ATTENTIONS, STEMS

HEADS, HOOKS = (1, 5, 10), ((0, 1), (1, 3), (3, 5))  # of dpt_micro
VARIANTS = list(itertools.product(ATTENTIONS, HEADS, HOOKS, STEMS))


@pytest.mark.slow
@pytest.mark.parametrize(("attention", "heads", "hooks", "stem"), VARIANTS)
def test_every_variant_is_exported(tmp_path, attention, heads, hooks, stem):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    torch.manual_seed(0)
    options = {"attention": attention, "heads": heads, "hooks": hooks, "stem": stem, "resolution_scale": 0.5}
    student, image = create_student("dpt_micro", **options).eval(), torch.rand(1, 3, 64, 96)
    write_onnx(student, tmp_path / "x.onnx", (64, 96))
    assert deviation(OnnxModel(tmp_path / "x.onnx"), student, [image]).acceptable
