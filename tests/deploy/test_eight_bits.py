import json
import math
import shutil
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

import distill
from distill.cli import main
from distill.deploy.eight_bits import LIMITS, check_reach, write_int8
from distill.deploy.quantise import LAST, Quantiser, share_of_eight_bits
from distill.deploy.rounding import Limits, changes
from distill.deploy.subject import open_subject
from distill.deploy.targets import TARGETS, Cargo
from distill.errors import UserError
from distill.evaluation import PROTOCOLS, Evaluation
from distill.evaluation.metrics import MEASURES
from distill.evaluation.scores import ImageScore
from distill.evaluation.segmentation import Segmentation, class_protocol
from distill.inference.exported import OnnxModel

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

IMAGE = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def eight_bits(finished, tmp_path_factory):
    """The run's student with 8 bits, for any size; beside it lies what was said, in `log`."""
    path = tmp_path_factory.mktemp("int8") / "student.onnx"
    with path.with_name("log").open("w") as log, redirect_stdout(log):
        words = ["--output", str(path), "--size", "32x64", "--int8", "--dynamic"]
        assert main(["export", str(finished), *words]) == 0
    return path


@pytest.fixture(scope="module")
def exact(finished, tmp_path_factory):
    """The same in float."""
    path = tmp_path_factory.mktemp("exact") / "exact.onnx"
    assert main(["export", str(finished), "--output", str(path), "--size", "32x64"]) == 0
    return path


def test_weights_have_8_bits_and_a_scale_for_each_channel(eight_bits, finished):
    graph = onnx.load(eight_bits).graph
    weights = [one for one in graph.initializer if one.data_type == onnx.TensorProto.INT8 and len(one.dims) == 4]
    assert len(weights) > 20
    pairs = 2 * 255 * max(int(abs(onnx.numpy_helper.to_array(one).astype(int)).max()) for one in weights)
    assert pairs < 2**15  # what processors without VNNI cut, two products with activations of 255, fits
    sizes = {one.name: list(one.dims) for one in graph.initializer}
    made = {node.output[0]: node for node in graph.node}
    convs = [made[node.input[1]] for node in graph.node if node.op_type == "Conv" and node.input[1] in made]
    assert all(sizes[back.input[1]] == [sizes[back.input[0]][0]] for back in convs)
    assert OnnxModel(eight_bits).facts["units"] == "metres"


def test_the_depth_is_close_to_the_models(eight_bits, finished):
    with torch.no_grad():
        expected = distill.load_model(finished)(IMAGE)
    assert ((OnnxModel(eight_bits)(IMAGE) - expected).abs() / expected).mean() < 0.02


def test_metrics_before_and_after_stand_in_one_table(eight_bits):
    message = eight_bits.with_name("log").read_text()
    (names,) = [line for line in message.splitlines() if "float" in line and "int8" in line]
    (values,) = [line.split() for line in message.splitlines() if "abs_rel ↓" in line]
    assert names.index("float") < names.index("int8")
    assert float(values[4]) == pytest.approx(float(values[6]), rel=0.01)
    assert "8 bits change most:" in message
    stated = OnnxModel(eight_bits).known.accuracy
    (scored,) = [line for line in message.splitlines() if stated.protocol in line and "at 32x64" in line]
    assert f"{stated.images} images" in scored
    assert stated.metrics["abs_rel"] == pytest.approx(float(values[6]), rel=0.01)


def test_the_accuracy_is_stated_by_the_protocol_that_it_was_measured_by(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    content = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(content | {"eval": content.get("eval", {}) | {"tta": "flip"}}))
    words = ["--output", str(tmp_path / "x.onnx"), "--size", "32x64", "--int8"]
    assert main(["export", str(tmp_path / "run"), *words]) == 0
    stated, known = OnnxModel(tmp_path / "x.onnx").known.accuracy, tmp_path / "known.json"
    words = ["--tta", "none", "--size", "32x64", "--json", str(known)]
    assert main(["evaluate", str(tmp_path / "run"), *words]) == 0
    expected = json.loads(known.read_text())
    assert (stated.protocol, stated.fingerprint) == (expected["protocol"], expected["fingerprint"])
    assert stated.images == len(expected["per_image"])


def test_a_file_for_one_focal_length_is_compared_with_the_float_file(exact, finished, tmp_path, monkeypatch, capsys):
    def unused(*_):
        raise AssertionError("test images are of any focal length")

    monkeypatch.setattr("distill.deploy.rounding.build_data", unused)
    target = tmp_path / "x.onnx"
    subject = replace(open_subject(str(finished)), focal_px=60.0)
    cargo = Cargo(subject.model, (32, 64), {})
    assert write_int8(TARGETS["onnx"], cargo, subject, (32, 64), exact, target, [IMAGE])
    assert "8 bits change most: depth by" in capsys.readouterr().out.replace("an image's depth", "depth")
    assert OnnxModel(target).known.accuracy is None


def test_parts_return_to_float_until_the_loss_is_small_enough(exact, tmp_path):
    quantiser = Quantiser(exact, [IMAGE])
    parts = quantiser.parts()
    assert {"the encoder's conv_stem", "the decoder", LAST} < parts.keys()
    first, second, *others = parts
    harms = iter([0.2, 0.7, *[0.1] * len(others)])  # of each part alone in 8 bits
    losses = iter([0.5, 0.3, 0.005])  # of all in 8 bits; then with the most harmful part in float, then with two
    given = lambda _path: next(losses), 0.01, lambda _path: next(harms)
    result, kept = quantiser.write_within(tmp_path / "x.onnx", *given)
    assert (result, kept) == (0.005, [second, first])
    convs = {node.name: node.input[1] for node in onnx.load(tmp_path / "x.onnx").graph.node if node.op_type == "Conv"}
    floats = {name for part in (first, second) for name in parts[part]}
    assert {name for name, weight in convs.items() if "DequantizeLinear" not in weight} == floats & convs.keys()


def evaluation(abs_rel, rmse=4.0, d1=0.5):
    """Of as many images as there are errors; what is not given is the same everywhere."""
    images = [
        ImageScore(str(i), dict.fromkeys(MEASURES, 1.0) | {"abs_rel": one, "rmse": rmse, "d1": d1}, 9, 0)
        for i, one in enumerate(abs_rel)
    ]
    return Evaluation(PROTOCOLS["nyu_eigen"], tuple(images))


@pytest.mark.parametrize(
    ("after", "what", "use"),
    [
        (evaluation([0.098, 0.098]), "abs_rel", 2.0),  # better is another depth, too
        (evaluation([0.1, 0.1], rmse=4.14), "rmse", 3.5),
        (evaluation([0.1, 0.1], d1=0.48), "d1", 2.0),  # a share: by the difference
        (evaluation([0.11, 0.09]), "abs_rel of", 2.0),
        (evaluation([0.1, 0.1], rmse=math.nan), "rmse", math.inf),
    ],
)
def test_every_metric_and_every_image_is_bounded_both_ways(after, what, use):
    worst = max(changes(evaluation([0.1, 0.1]), after, LIMITS), key=lambda one: one.use)
    assert worst.what.startswith(what)
    assert worst.use == pytest.approx(use)


def test_classes_are_bounded_by_their_shares_and_each_image_by_its_accuracy():
    before, after = (Segmentation(class_protocol("ade20k", ("a", "b"))) for _ in range(2))
    truth = np.arange(100)[None] % 2
    for one, wrong in ((before, (10, 0)), (after, (14, 0))):
        for name, count in zip("xy", wrong, strict=True):
            one.add(name, np.where(np.arange(100) < count, 1 - truth, truth), truth, 1)
        one.add("nothing", truth, truth - 2, 1)
    uses = {one.what: one.use for one in changes(before, after, LIMITS)}
    assert uses.keys() == {"miou", "pixel_accuracy", "pixel accuracy of x", "pixel accuracy of y"}
    assert uses["pixel_accuracy"] == pytest.approx(2.0)
    assert (uses["pixel accuracy of x"], uses["pixel accuracy of y"]) == (pytest.approx(0.8), 0)


def test_a_calibration_that_saw_nothing_far_is_refused_with_what_to_add():
    check_reach(40.0, [38.0, 45.0])
    with pytest.raises(UserError, match=r"up to 40, and 1 of 2 test images up to 78.* add images .* to --images"):
        check_reach(40.0, [38.0, 78.0])


def test_the_last_layer_stays_float_only_where_that_saves_enough(exact, tmp_path):
    quantiser = Quantiser(exact, [IMAGE])
    for second, expected in ((0.75, []), (0.6, [LAST])):
        losses = iter([0.8, second])
        options = lambda _path, it=losses: next(it), 1.0, lambda _path: 0.0
        assert quantiser.write_within(tmp_path / "x.onnx", *options)[1] == expected


def test_a_file_without_an_8_bit_weight_is_a_failure(eight_bits, finished, streets, tmp_path, monkeypatch, capsys):
    assert share_of_eight_bits(onnx.load(eight_bits).graph.initializer) > 0.9
    shutil.copytree(finished / "student", tmp_path / "alone")  # no truth is at hand: it is compared with the float file
    monkeypatch.setattr("distill.deploy.eight_bits.LIMITS", Limits(0.0, 0.0))
    words = ["--output", str(tmp_path / "x.onnx"), "--size", "32x64", "--int8", "--images", str(streets / "image")]
    assert main(["export", str(tmp_path / "alone"), *words]) == 1
    message = capsys.readouterr().out
    assert "no weight could stay in 8 bits" in message
    assert "the bins' head" in message
    assert not (tmp_path / "x.onnx").exists()


def test_a_convolution_before_a_clip_has_the_clips_range(tmp_path):
    helper, number = onnx.helper, onnx.numpy_helper
    weight = np.full((1, 3, 1, 1), 100, np.float32)  # what lies beyond 6 must not cost the 8 bits their steps
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "weight"], ["wide"], name="/encoder/conv"),
            helper.make_node("Clip", ["wide", "low", "high"], ["depth"], name="/encoder/clip"),
        ],
        "clipped",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, IMAGE.shape)],
        [helper.make_tensor_value_info("depth", onnx.TensorProto.FLOAT, (1, 1, 32, 64))],
        [number.from_array(np.float32(one), name) for name, one in (("low", 0), ("high", 6))]
        + [number.from_array(weight, "weight")],
    )
    path = tmp_path / "clipped.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    Quantiser(path, [IMAGE]).write(tmp_path / "x.onnx")
    onnx.checker.check_model(tmp_path / "x.onnx", full_check=True)
    graph = onnx.load(tmp_path / "x.onnx").graph
    (conv,) = [node for node in graph.node if node.op_type == "Conv"]
    (quantise,) = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == conv.output[0]]
    (scale,) = [one for one in graph.initializer if one.name == quantise.input[1]]
    assert onnx.numpy_helper.to_array(scale).item() == pytest.approx(6 / 255)
