import functools

import pytest
import torch

from distill.deploy.costs import weight_bytes
from distill.deploy.ways import WAYS
from students import create_student

IMAGE = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return create_student("test_efficientnet", lg_conv=True, pretrained=False, bins=8, width=8).eval()


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch):
    """Compilation by a backend that generates no code: tests need no C++ compiler and no minutes."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))


@pytest.mark.parametrize(
    ("way", "tolerance"),
    [("fp32", 0), ("channels_last", 1e-4), ("bf16", 0.1), ("compiled", 1e-4), ("onnx", 1e-3), ("onnx-int8", 0.2)],
)
def test_every_way_gives_the_models_depth(student, way, tolerance):
    if way.startswith("onnx"):
        pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
        pytest.importorskip("onnx", reason="the extra `export` is not installed")
    with torch.no_grad():
        expected = student(IMAGE)
    depth = WAYS[way](student, IMAGE).call.act()
    torch.testing.assert_close(depth.float(), expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("way", ["fp32", "channels_last", "bf16", "onnx"])
def test_no_way_changes_the_model_it_is_set(student, way):
    before = [(p.dtype, p.stride()) for p in student.parameters()]
    WAYS[way](student, IMAGE)
    assert [(p.dtype, p.stride()) for p in student.parameters()] == before


def test_the_weights_count_in_the_file_and_in_the_peak(student):
    ready = WAYS["fp32"](student, IMAGE)
    assert ready.file_bytes == weight_bytes(student)
    assert ready.peak_bytes is None or ready.peak_bytes >= ready.file_bytes


@pytest.mark.parametrize("way", ["fp32", "onnx"])
def test_the_first_call_is_timed_apart(student, way):
    if way == "onnx":
        pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
        pytest.importorskip("onnx", reason="the extra `export` is not installed")
    assert WAYS[way](student, IMAGE).first_ms > 0
