import pytest
import torch

from distill.deploy.runtime import deviation
from distill.deploy.targets import TARGETS, Cargo
from distill.deploy.targets.operators import LISTS
from students import create_student

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
PORTABLE = TARGETS["onnx-portable"]
SIZE = (45, 70)
IMAGE = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def student_of(kind):
    torch.manual_seed(0)
    if kind == "pruned":
        return create_student("dpt_micro", heads=1, hooks=(0, 1), resolution_scale=0.5).eval()
    options = {"lg_conv": True, "width": 8} if kind == "lg" else {"decoder": "light", "width": 8}
    return create_student("test_efficientnet", pretrained=False, bins=8, **options).eval()


@pytest.mark.parametrize(("kind", "opset", "logits"), [("lg", 16, False), ("light", 11, True), ("pruned", 16, False)])
def test_a_portable_file_has_what_compilers_list_and_gives_the_same_depth(kind, opset, logits, tmp_path):
    student, path = student_of(kind), tmp_path / "x.onnx"
    PORTABLE.write(Cargo(student, SIZE, {"units": "metres"}, opset, logits), path)
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    assert [one.version for one in model.opset_import] == [opset]
    used = {node.op_type for node in model.graph.node}
    lists = LISTS.values() if kind == "light" else [LISTS["TensorRT 8.4"], LISTS["RKNN Toolkit 2.1"]]
    assert [sorted(used - one) for one in lists] == [[] for _ in lists]
    constants = {one.name for one in model.graph.initializer}
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    assert resizes
    assert all(set(filter(None, node.input[1:])) <= constants for node in resizes)
    if kind != "pruned":  # its last one goes to a size that is no multiple
        assert {len(node.input) for node in resizes} == {3}
    sides = [side for one in (*model.graph.input, *model.graph.output) for side in one.type.tensor_type.shape.dim]
    assert all(side.dim_value > 0 for side in sides)
    result = deviation(PORTABLE.open(path), student, [IMAGE])
    assert result.acceptable
    assert "row" in str(result)
