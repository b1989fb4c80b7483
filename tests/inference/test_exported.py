"""Exported files as models, and files of strangers, of which nothing runs."""

import io
import json
import os
import sys
import zipfile

import pytest
import torch

from distill.errors import UserError
from distill.inference.exported import LOGITS
from distill.inference.file_kinds import facts_behind, open_exported
from distill.inference.models import fingerprint_of, input_size, open_model

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

FACTS = {"units": "metres", "min_depth": "0.001", "max_depth": "80.0", "parameters": "7", "training": "{}"}
IMAGES = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))


class MeanDepth(torch.nn.Module):
    def forward(self, image):
        return image.mean(dim=1, keepdim=True) + 1


def write_graph(path, facts=FACTS, size=(32, 64), location=None):
    """Depth is 1 + the mean of the colours; the 1 may lie in another file."""
    kind, make = onnx.TensorProto.FLOAT, onnx.helper
    one = onnx.numpy_helper.from_array(torch.ones(1, 1, 1, 1).numpy(), "one")
    if location:
        one.ClearField("raw_data")
        one.data_location = onnx.TensorProto.EXTERNAL
        one.external_data.add(key="location", value=location)
    nodes = [make.make_node("ReduceMean", ["image"], ["m"], axes=[1]), make.make_node("Add", ["m", "one"], ["depth"])]
    ends = [[make.make_tensor_value_info(name, kind, [1, c, *size])] for name, c in (("image", 3), ("depth", 1))]
    graph = make.make_graph(nodes, "g", *ends, [one])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=9)
    make.set_model_props(model, facts)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The same as a `.pt2`."""
    path = tmp_path_factory.mktemp("program") / "m.pt2"
    torch.export.save(torch.export.export(MeanDepth(), (IMAGES[:1],)), path, extra_files=FACTS)
    return path


@pytest.fixture
def file(request, program, tmp_path):
    return program if request.param == ".pt2" else write_graph(tmp_path / "m.onnx")


@pytest.mark.parametrize("file", [".onnx", ".pt2"], indirect=True)
def test_a_file_is_a_model_with_its_units_limits_and_size_that_takes_images_one_by_one(file):
    model = open_model(str(file)).to("cpu").eval()
    assert (model.output, model.min_depth, model.max_depth, model.known.parameters) == ("metric", 0.001, 80.0, 7)
    torch.testing.assert_close(model(IMAGES), MeanDepth()(IMAGES))
    assert input_size("m", model, None) == input_size("m", model, (32, 64)) == (32, 64)
    with pytest.raises(UserError, match=r"32x64 only.*--size 48x64"):
        input_size("m", model, (48, 64))
    with pytest.raises(UserError, match=r"fails at 48x64 .*--size 48x64"):
        model(torch.rand(1, 3, 48, 64))
    with pytest.raises(UserError, match="the folder of the model"):
        model.encode(IMAGES)


def test_a_file_of_any_size_sees_images_as_in_training_unless_another_is_wanted(tmp_path):
    facts = FACTS | {"training": '{"input_size": [48, 80], "data": "scenes"}', "units": "none: larger is nearer"}
    model = open_model(str(write_graph(tmp_path / "m.onnx", facts, ("height", "width"))))
    assert model.size is None
    assert input_size("m", model, None) == (48, 80)
    assert input_size("m", model, (64, 64)) == (64, 64)
    assert model.output == "relative"


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"units": "metres", "max_depth": "far"},
        {"units": "metres", "training": "[1"},
        {"units": "metres", "classes": '["road"]'},
        {"units": LOGITS},
    ],
)
def test_a_file_that_does_not_state_its_units_or_states_nonsense_is_refused(facts, tmp_path):
    with pytest.raises(UserError, match=r"m\.onnx (does not state its units|is no exported)"):
        open_exported(write_graph(tmp_path / "m.onnx", facts))


def test_units_that_nobody_knows_are_refused_with_those_that_are_known(tmp_path):
    with pytest.raises(UserError, match=r"m\.onnx .*'furlongs'.*metres, none"):
        open_exported(write_graph(tmp_path / "m.onnx", FACTS | {"units": "furlongs"}))


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize("content", [b"", b"<html>", b"\x08\x09" * 99, None])
def test_a_damaged_or_absent_file_is_refused_in_words(suffix, content, program, tmp_path):
    path = tmp_path / f"x{suffix}"
    if content is None:
        whole = program if suffix == ".pt2" else write_graph(tmp_path / "whole.onnx")
        content = whole.read_bytes()[: whole.stat().st_size // 2]
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"x{suffix} is no exported model.*export it again"):
        open_model(str(path))
    with pytest.raises(UserError, match=f"there is no file .*absent{suffix}"):
        open_model(str(tmp_path / f"absent{suffix}"))


def test_weights_in_another_file_are_read_from_the_same_folder_only(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    for folder in (tmp_path, inner):
        (folder / "one.bin").write_bytes(torch.ones(1).numpy().tobytes())
    os.symlink("../one.bin", inner / "link.bin")
    assert open_exported(write_graph(inner / "m.onnx", location="one.bin"))(IMAGES).isfinite().all()
    for location in ("../one.bin", str(tmp_path / "one.bin"), "link.bin", "/dev/zero"):
        with pytest.raises(UserError, match="is no exported model"):
            open_exported(write_graph(inner / "m.onnx", location=location))


@pytest.mark.parametrize("suffix", ["xml", "pte", "tflite"])
def test_a_file_of_a_runtime_that_is_not_installed_names_the_extra(suffix, tmp_path, monkeypatch):
    extra, module = {
        "xml": ("openvino", "openvino"),
        "pte": ("executorch", "executorch.runtime"),
        "tflite": ("litert", "ai_edge_litert.interpreter"),
    }[suffix]
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / f"x.{suffix}").write_bytes(b"x")
    with pytest.raises(UserError, match=rf"'\.\[{extra}\]'"):
        open_model(str(tmp_path / f"x.{suffix}"))


def test_the_digest_of_a_model_is_of_all_its_files(tmp_path):
    model = open_exported(write_graph(tmp_path / "m.onnx"))
    alone = fingerprint_of(model)
    model.files.append(tmp_path / "m.bin")
    digests = set()
    for content in (b"", b"1", b"2"):
        model.files[1].write_bytes(content)
        digests.add(fingerprint_of(model))
    assert alone in digests
    assert len(digests) == 3


class Touch:
    """A pickle that writes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def pickled(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def in_json(change):
    """What turns a JSON file of a program into a hostile one."""

    def changed(content, touched):
        value = json.loads(content)
        change(value, f"open({str(touched)!r}, 'w')")
        return json.dumps(value).encode()

    return changed


def first_node(value):
    return value["graph_module"]["graph"]["nodes"][0]


def size_in_words(value, code):
    value["graph_module"]["graph"]["tensor_values"]["image"]["sizes"][0] = {"as_expr": {"expr_str": code}}


HOSTILE = {
    "a pickle among the inputs": ("sample_inputs/model.pt", lambda _, touched: pickled(Touch(touched))),
    "a function of Python": ("models/model.json", in_json(lambda v, _: first_node(v).update(target="torch.os.system"))),
    "text": (
        "models/model.json",
        in_json(lambda v, code: first_node(v)["inputs"].append({"name": "x", "arg": {"as_string": code}, "kind": 1})),
    ),
    "a size that is code": ("models/model.json", in_json(size_in_words)),
    "a guard that is code": ("models/model.json", in_json(lambda v, code: v.update(guards_code=[code]))),
    "a pickled weight": (
        "weights/model_weights_config.json",
        in_json(lambda v, _: v.setdefault("config", {}).update(w={"path_name": "weight_0", "use_pickle": True})),
    ),
    "a library": ("data/aotinductor/model/x.so", lambda *_: b"ELF"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_of_a_strangers_program_runs(name, program, tmp_path):
    ending, change = HOSTILE[name]
    path, touched = tmp_path / "x.pt2", tmp_path / "touched"
    with zipfile.ZipFile(program) as whole, zipfile.ZipFile(path, "w") as hostile:
        members = {one: whole.read(one) for one in whole.namelist()}
        member = next((one for one in members if one.endswith(ending)), f"m/{ending}")
        for one, content in (members | {member: change(members.get(member), touched)}).items():
            hostile.writestr(one, content)
    with pytest.raises(UserError, match=r"x\.pt2 is no exported model"):
        open_exported(path)
    assert not touched.exists()


def test_a_program_that_is_packed_again_opens_and_a_compressed_one_is_refused(program, tmp_path):
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(program) as whole, zipfile.ZipFile(tmp_path / f"x{kind}.pt2", "w", kind) as other:
            for one in whole.namelist():
                other.writestr(one, whole.read(one))
    assert open_exported(tmp_path / f"x{zipfile.ZIP_STORED}.pt2").size == (32, 64)
    with pytest.raises(UserError, match="compressed"):
        open_exported(tmp_path / f"x{zipfile.ZIP_DEFLATED}.pt2")


def test_metadata_that_unpack_to_fill_the_memory_are_refused(tmp_path):
    path = tmp_path / "bomb.tflite"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("distill.json", json.dumps({"units": "m" * 2**21}))
    with pytest.raises(ValueError, match="more than 1 MiB"):
        facts_behind(path)
