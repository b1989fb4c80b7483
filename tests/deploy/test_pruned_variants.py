"""Some of the thesis' 36 pruned DPTs, of a tiny parent, are built, trained for a step and exported.

All of them are in tests/slow/test_every_pruned_variant.py.
"""

from dataclasses import replace

import pytest
import torch

from distill.deploy.graph import write_onnx
from distill.deploy.runtime import deviation
from distill.inference.exported import OnnxModel
from distill.method import silog_loss
from students import create_student
from teachers import DPT_CONFIGS
from teachers.stem import StemConfig

IMAGE = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
# With every value of every option: each attention with each stem.
VARIANTS = [
    ("standard", 1, (0, 1), "resnet50"),
    ("performer", 5, (1, 3), "efficientnet_b0"),
    ("standard", 10, (3, 5), "efficientnet_b0"),
    ("performer", 1, (0, 1), "resnet50"),
]


@pytest.fixture(autouse=True)
def tiny_parent(monkeypatch):
    """A DPT with the blocks of dpt_micro, a quarter as wide."""
    stem = StemConfig(layers=(1, 1, 1), channels=(16, 32, 64), width=8, groups=4)
    tiny = replace(DPT_CONFIGS["dpt_micro"], width=40, channels=(16, 32, 40, 40), stem=stem, features=16, head_hidden=8)
    monkeypatch.setitem(DPT_CONFIGS, "dpt_tiny", tiny)


def trained(attention, heads, hooks, stem):
    """A variant after one step, and for each of its weights whether it had a finite gradient."""
    torch.manual_seed(0)
    options = {"attention": attention, "heads": heads, "hooks": hooks, "stem": stem, "resolution_scale": 0.5}
    student = create_student("dpt_tiny", **options)
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-3)
    depth = student(IMAGE)
    silog_loss(depth, 5 + 5 * IMAGE[:, :1], torch.ones_like(depth, dtype=torch.bool)).backward()
    gradients = {name: p.grad is not None and bool(p.grad.isfinite().all()) for name, p in student.named_parameters()}
    optimizer.step()
    return student.eval(), gradients


@pytest.mark.parametrize(("attention", "heads", "hooks", "stem"), VARIANTS)
def test_a_variant_trains_a_step(attention, heads, hooks, stem):
    student, gradients = trained(attention, heads, hooks, stem)
    assert [name for name, fine in gradients.items() if not fine] == []
    with torch.no_grad():
        depth = student(IMAGE)
    assert depth.shape == (2, 1, 64, 96)
    assert depth.isfinite().all()
    assert len(student.encoder.vit.blocks) == hooks[-1] + 1


def exported_difference(variant, folder):
    """How far the exported file of a variant is from it."""
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    student, _ = trained(*variant)
    write_onnx(student, folder / "x.onnx", (64, 96))
    return deviation(OnnxModel(folder / "x.onnx"), student, [IMAGE[:1]])


@pytest.mark.parametrize("variant", VARIANTS[:2])
def test_variants_are_exported(variant, tmp_path):
    assert exported_difference(variant, tmp_path).acceptable
