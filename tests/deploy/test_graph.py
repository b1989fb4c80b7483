import collections

import pytest
import torch

from distill.deploy.graph import finish, name_nodes, write_onnx, write_program
from distill.deploy.runtime import deviation
from distill.inference.exported import OnnxModel
from students import create_student
from students.forms import prepare
from teachers import create_dpt

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")


def images(*sizes):
    draw = torch.Generator().manual_seed(0)
    return [torch.rand(1, 3, *size, generator=draw) for size in sizes]


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    model = create_student("test_efficientnet", lg_conv=True, pretrained=False, bins=8, width=8)
    for module in model.modules():  # norms that would be seen if they were lost
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_mean.uniform_(-0.5, 0.5)
    return model.eval()


@pytest.fixture(scope="module")
def any_size(student, tmp_path_factory):
    """The student for any size, as others open it."""
    folder = tmp_path_factory.mktemp("graph")
    write_onnx(student, folder / "traced.onnx", None)
    finish(folder / "traced.onnx", folder / "any.onnx", {"units": "metres"})
    return folder / "any.onnx"


def test_one_file_takes_any_size_and_any_batch(student, any_size):
    result = deviation(OnnxModel(any_size), student, [*images((32, 64), (45, 77)), torch.rand(3, 3, 40, 96)])
    assert result.acceptable


def test_batchnorm_is_folded(any_size):
    """Also those behind LG-Conv's sum; what they do is in the test above."""
    kinds = collections.Counter(node.op_type for node in onnx.load(any_size).graph.node)
    assert kinds["BatchNormalization"] == 0
    assert kinds["Conv"] > 20


@pytest.mark.parametrize("size", [(64, 96), None])
def test_a_light_student_holds_nothing_that_devices_refuse(size, tmp_path):
    """No norm, nothing adaptive or unfolded, no size but those of constants; a file of one size computes no shape."""
    model = create_student("mobilenetv4_conv_small_035", decoder="light", pretrained=False, bins=8, width=8).eval()
    write_onnx(model, tmp_path / "traced.onnx", size)
    finish(tmp_path / "traced.onnx", tmp_path / "light.onnx", {})
    graph = onnx.load(tmp_path / "light.onnx").graph
    kinds = collections.Counter(node.op_type for node in graph.node)
    plain = {"Conv", "Relu", "Add", "Resize", "Sub", "Div", "Mul", "GlobalAveragePool", "Flatten", "Gemm", "Softmax"}
    plain |= {"MatMul", "Transpose", "Reshape", "Unsqueeze", "CumSum", "Gelu", "Erf", "Slice"}
    assert size is None or kinds.keys() - plain == set()
    assert not kinds.keys() & {"BatchNormalization", "Im2Col", "Col2Im", "AveragePool", "Loop", "If", "Scan"}
    constants = {tensor.name for tensor in graph.initializer}
    resizes = [node for node in graph.node if node.op_type == "Resize"]
    assert len(resizes) == 4  # three doublings, and the depth
    assert all(len(node.input) == 3 and node.input[2] in constants for node in resizes)


def test_a_node_without_a_name_lies_in_the_part_of_the_one_before_it():
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["x"], ["a"], name="/encoder/conv"),
        make("Mul", ["b", "a"], ["c"]),
        make("Mul", ["x"], ["b"]),
    ]
    nodes.append(make("Add", ["c"], ["d"]))
    name_nodes(nodes)
    assert [node.name for node in nodes] == [
        "/encoder/conv",
        "/encoder/conv/Mul_1",
        "/Mul_2",
        "/encoder/conv/Mul_1/Add_3",
    ]


def test_preparing_leaves_the_model_as_it_was(student):
    before = {name: value.clone() for name, value in student.state_dict().items()}
    result = deviation(prepare(student), student, images((32, 64)))
    assert result.acceptable
    assert student.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())


PRUNED = {"heads": 1, "hooks": (0, 1), "resolution_scale": 0.6, "attention": "performer"}


@pytest.mark.parametrize(("options", "size"), [({}, (64, 96)), (PRUNED, (70, 101))])
def test_a_dpt_gives_the_same_depth(options, size, tmp_path):
    torch.manual_seed(0)
    model = (create_student("dpt_micro", **options) if options else create_dpt("dpt_micro")).eval()
    write_onnx(model, tmp_path / "x.onnx", size, 20)
    assert deviation(OnnxModel(tmp_path / "x.onnx"), model, images(size)).acceptable


def test_a_program_of_a_pruned_dpt_resizes_by_products(tmp_path):
    torch.manual_seed(0)
    model = create_student("dpt_micro", **PRUNED).eval()
    write_program(model, tmp_path / "x.pt2", (70, 101), {})
    program = torch.export.load(tmp_path / "x.pt2")
    assert [node.name for node in program.graph.nodes if "_aa" in str(node.target)] == []
    assert deviation(program.module(), model, images((70, 101))).acceptable
