"""ONNX files of others: which are taken, and how large they are."""

import numpy as np
import pytest

from distill.deploy.strangers import open_stranger
from distill.errors import UserError

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")


def write_network(path, batch, **how):
    """One that adds a number to every pixel of (batch, 3, 32, 64)."""
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    image, made = (make.make_tensor_value_info(name, kind, [batch, 3, 32, 64]) for name in ("image", "made"))
    weight = onnx.numpy_helper.from_array(np.ones((3, 32, 64), np.float32), "weight")
    graph = make.make_graph([make.make_node("Add", ["image", "weight"], ["made"])], "g", [image], [made], [weight])
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9), str(path), **how)


def test_a_network_of_several_images_at_once_is_not_timed_as_one_of_one(tmp_path):
    write_network(tmp_path / "x.onnx", 4)
    with pytest.raises(UserError, match="4 images at once, expected one"):
        open_stranger(tmp_path / "x.onnx", (32, 64))


@pytest.mark.parametrize("batch", [1, "n"])
def test_weights_that_lie_outside_count(tmp_path, batch):
    path = tmp_path / "x.onnx"
    write_network(path, batch, save_as_external_data=True, location="x.data", size_threshold=0)
    ready, parameters, size = open_stranger(path, (32, 64))
    assert ready.file_bytes == path.stat().st_size + (tmp_path / "x.data").stat().st_size
    assert (parameters, size) == (3 * 32 * 64, (32, 64))
