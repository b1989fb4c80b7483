"""What lies in examples/ does what it says: run here, with stand-ins for a robot."""

import importlib.util
import json
import re
import runpy
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SIZE = (32, 64)


@pytest.fixture
def bright(tmp_path):
    """A file whose depth is the brightness of the red channel times ten."""
    shape = (1, 3, *SIZE)
    constants = {"start": [0], "stop": [1], "axis": [1]}
    nodes = [
        helper.make_node("Slice", ["image", "start", "stop", "axis"], ["red"]),
        helper.make_node("Mul", ["red", "ten"], ["depth"]),
    ]
    initial = [helper.make_tensor(name, TensorProto.INT64, [1], value) for name, value in constants.items()]
    initial.append(helper.make_tensor("ten", TensorProto.FLOAT, [1], [10.0]))
    infos = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]
    outs = [helper.make_tensor_value_info("depth", TensorProto.FLOAT, (1, 1, *SIZE))]
    graph = helper.make_graph(nodes, "bright", infos, outs, initial)
    path = tmp_path / "bright.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_the_page_shows_the_example_as_it_is():
    page = (ROOT / "docs" / "how-to" / "your-own-camera.md").read_text()
    assert f"```python\n{(EXAMPLES / 'camera.py').read_text().strip()}\n```" in page


def test_the_lines_for_a_camera_run_on_a_video(bright, tmp_path, monkeypatch, capsys):
    film = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 48))
    for _ in range(3):
        film.write(np.full((48, 96, 3), (0, 0, 128), np.uint8))  # red, as OpenCV orders colours
    film.release()
    monkeypatch.setattr(sys, "argv", ["camera.py", str(bright), str(tmp_path / "film.avi")])
    runpy.run_path(str(EXAMPLES / "camera.py"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert float(lines[0].split()[0]) == pytest.approx(5, abs=0.2)


class Node:
    """A stand-in for rclpy's node: one parameter, one topic each way."""

    parameters: dict = {}  # noqa: RUF012

    def __init__(self, name):
        self.sent, self.errors = [], []

    def declare_parameter(self, name, value):
        self.parameters.setdefault(name, value)

    def get_parameter(self, name):
        return SimpleNamespace(value=self.parameters[name])

    def create_publisher(self, kind, topic, depth):
        return SimpleNamespace(publish=self.sent.append)

    def create_subscription(self, kind, topic, call, depth):
        self.call = call

    def get_logger(self):
        return SimpleNamespace(error=self.errors.append)


@pytest.fixture
def node(bright, monkeypatch):
    """The example's node with the bright file."""
    for name, content in {
        "rclpy": {},
        "rclpy.node": {"Node": Node},
        "sensor_msgs": {},
        "sensor_msgs.msg": {"Image": SimpleNamespace},
    }.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(Node, "parameters", {"model": str(bright)})
    spec = importlib.util.spec_from_file_location("ros2_depth_node", EXAMPLES / "ros2_depth_node.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.DepthNode()


@pytest.mark.parametrize(
    ("encoding", "pixel"), [("rgb8", (255, 0, 0)), ("bgr8", (0, 0, 255)), ("rgba8", (255, 0, 0, 9))]
)
def test_the_node_answers_an_image_with_its_depth(node, encoding, pixel):
    height, width, padding = 40, 80, 5
    rows = np.zeros((height, width * len(pixel) + padding), np.uint8)
    rows[:, : width * len(pixel)] = np.tile(pixel, width)
    message = SimpleNamespace(
        header="12 s, camera", height=height, width=width, encoding=encoding, step=rows.shape[1], data=rows.tobytes()
    )
    node.call(message)
    (answer,) = node.sent
    assert (answer.header, answer.encoding, answer.step) == ("12 s, camera", "32FC1", 4 * width)
    depth = np.frombuffer(answer.data, np.float32).reshape(answer.height, answer.width)
    assert depth.shape == (height, width)
    assert np.allclose(depth, 10)


def test_the_node_names_an_encoding_that_it_does_not_know(node):
    node.call(SimpleNamespace(encoding="yuv422"))
    assert not node.sent
    assert "yuv422" in node.errors[0]


def test_the_cells_of_the_notebook_run(own_streets, config_file, tmp_path, monkeypatch, capsys):
    for listed in own_streets.glob("*.txt"):
        listed.unlink()
    monkeypatch.chdir(tmp_path)
    cells = json.loads((EXAMPLES / "recording_to_depth.ipynb").read_text())["cells"]
    first, *others = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    exec(first, names)
    names |= {"RECORDING": str(own_streets), "CONFIG": str(config_file)}
    names["SETTINGS"] = ["data.depth_scale=1000", "data.hold_out=0.2", "data.size=[32, 64]", "method.name=fill"]
    for cell in others:
        exec(cell, names)
    assert "student test_efficientnet {'d1'" in capsys.readouterr().out
    assert names["depth"].shape == (1, 1, 32, 64)


@pytest.mark.parametrize("name", ["Dockerfile.cpu", "Dockerfile.cuda"])
def test_what_a_dockerfile_installs_is_there(name):
    extras = re.search(r"/distill\[(.*)\]", (EXAMPLES / name).read_text())[1].split(",")
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras) <= known.keys()
