import json
import signal
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

import distill
from distill.cli import main
from distill.commands.export import compare, write

pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
from distill.deploy.file_outputs import RELATIVE
from distill.deploy.graph import ODD, write_onnx
from distill.deploy.rounding import Limits
from distill.deploy.runtime import Deviation
from distill.deploy.subject import Subject, facts_of
from distill.deploy.targets import TARGETS, Cargo
from distill.deploy.targets.onnx_files import SOURCE
from distill.errors import UserError
from distill.inference.exported import OnnxModel
from distill.inference.file_kinds import open_exported
from teachers import create_dpt

IMAGE = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    """The run's student as ONNX for 32x64, and nothing beside it in its folder."""
    path = tmp_path_factory.mktemp("exported") / "student.onnx"
    assert main(["export", str(finished), "--output", str(path), "--size", "32x64"]) == 0
    return path


def test_the_file_gives_the_models_depth_and_lies_alone(exported, finished):
    ours = OnnxModel(exported)
    with torch.no_grad():
        torch.testing.assert_close(ours(IMAGE), distill.load_model(finished)(IMAGE), rtol=1e-3, atol=0)
    assert ours.size == (32, 64)
    assert [path.name for path in exported.parent.iterdir()] == ["student.onnx"]


def test_the_file_says_what_it_takes_gives_and_comes_from(exported, finished):
    facts = OnnxModel(exported).facts
    trained = json.loads((finished / "student" / "config.json").read_text())
    assert facts["units"] == "metres"
    assert (float(facts["min_depth"]), float(facts["max_depth"])) == (1e-3, trained["options"]["max_depth"])
    assert facts["fingerprint"] == trained["metadata"]["fingerprint"]
    assert json.loads(facts["training"])["method"] == trained["metadata"]["method"]
    assert "[0, 1]" in facts["input"]
    assert facts["licence"]


def test_the_run_s_own_images_check_it_and_the_error_is_reported(finished, tmp_path, capsys):
    words = ["--output", str(tmp_path / "any.onnx"), "--size", "32x64", "--dynamic", "--licence", "mine"]
    assert main(["export", str(finished / "student"), *words]) == 0
    message = capsys.readouterr().out
    assert "on images of the run's training data: relative error at most" in message
    ours = OnnxModel(tmp_path / "any.onnx")
    assert ours.size is None
    assert ours.facts["licence"] == "mine"
    assert ours(torch.rand(2, 3, 45, 70)).shape == (2, 1, 45, 70)


def test_16_bits_halve_the_file_which_states_its_own_metrics(exported, finished, tmp_path, monkeypatch, capsys):
    path, written = tmp_path / "half.onnx", []
    onnx = TARGETS["onnx"]
    monkeypatch.setitem(TARGETS, "onnx", replace(onnx, write=lambda *both: written.append(onnx.write(*both))))
    assert main(["export", str(finished), "--output", str(path), "--size", "32x64", "--fp16"]) == 0
    message = capsys.readouterr().out
    (names,) = [line for line in message.splitlines() if "float" in line and "fp16" in line]
    (values,) = [line.split() for line in message.splitlines() if "abs_rel ↓" in line]
    assert names.index("float") < names.index("fp16")
    assert len(written) == 1
    assert "16 bits change most:" in message
    ours = OnnxModel(path)
    assert ours.known.accuracy.metrics["abs_rel"] == pytest.approx(float(values[6]), rel=0.01)
    assert ours.facts["units"] == "metres"
    assert path.stat().st_size < 0.65 * exported.stat().st_size
    torch.testing.assert_close(ours(IMAGE), OnnxModel(exported)(IMAGE), rtol=1e-2, atol=0)


def test_16_bits_that_change_a_metric_too_much_leave_no_file(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("distill.deploy.rounding.HALF", Limits(0.0, 0.0))
    assert main(["export", str(finished), "--output", str(tmp_path / "x.onnx"), "--size", "32x64", "--fp16"]) == 1
    assert "leave --fp16 out" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_the_uncertainty_is_a_second_output(finished, streets, tmp_path, capsys, suffix):
    path = tmp_path / f"student{suffix}"
    assert main(["export", str(finished), "--output", str(path), "--size", "32x64", "--confidence"]) == 0
    assert "uncertainty checked by" in capsys.readouterr().out
    ours = open_exported(path)
    with torch.no_grad():
        expected = distill.load_model(finished).with_uncertainty(IMAGE)
        for one, other in zip(ours.with_uncertainty(IMAGE), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(ours(IMAGE), expected[0], rtol=1e-3, atol=0)
    words = [str(streets / "image" / "test0.png"), "--confidence", "--output", str(tmp_path / "out")]
    assert main(["predict", str(path), *words]) == 0
    assert (tmp_path / "out" / "test0_uncertainty.png").is_file()


def test_a_file_of_depth_alone_has_no_confidence(exported, refused, streets):
    message = refused("predict", exported, streets / "image" / "test0.png", "--confidence")
    assert "gives depth alone; export it again with --confidence" in message


class FirstPixelsWidth(torch.nn.Module):
    """A depth that is right at the traced size only: what it multiplies by became a number."""

    def forward(self, image):
        return image.mean(dim=1, keepdim=True) * int(image.shape[-1])


def test_free_sizes_are_checked_at_sizes_that_were_not_traced(tmp_path):
    subject = Subject("net", FirstPixelsWidth(), {}, None)
    write_onnx(subject.model, tmp_path / "x.onnx", None)
    traced = torch.rand(1, 3, *ODD)
    assert compare(OnnxModel(tmp_path / "x.onnx"), subject, [traced], dynamic=False).acceptable
    with pytest.raises(UserError, match=r"net cannot have free sizes.* at 32x32; leave --dynamic out"):
        compare(OnnxModel(tmp_path / "x.onnx"), subject, [traced], dynamic=True)


def test_a_program_of_pytorch_gives_the_same(finished, tmp_path):
    path = tmp_path / "student.pt2"
    assert main(["export", str(finished), "--output", str(path), "--size", "32x64"]) == 0
    facts = {"units": ""}
    program = torch.export.load(path, extra_files=facts).module()
    assert facts["units"] in ("metres", b"metres")
    with torch.no_grad():
        torch.testing.assert_close(program(IMAGE), distill.load_model(finished)(IMAGE), rtol=1e-4, atol=0)


def test_a_file_is_evaluated_predicted_and_timed_as_the_model_that_it_was_made_of(
    exported, finished, streets, tmp_path, capsys
):
    for name, model, options in (("own", finished, ["--size", "32x64"]), ("file", exported, [])):
        words = ["--data", "folder", "--root", str(streets), "--depth-scale", "256", "--json", str(tmp_path / name)]
        assert main(["evaluate", str(model), *words, *options]) == 0
    own, file = (json.loads((tmp_path / name).read_text()) for name in ("own", "file"))
    assert file["fingerprint"] == own["fingerprint"]
    assert file["metrics"] == pytest.approx(own["metrics"], rel=1e-3)

    words = ["--teacher", str(exported), "--batch", "2", "--output", str(tmp_path / "out")]
    assert main(["predict", str(exported), str(streets / "image"), *words]) == 0
    assert (tmp_path / "out" / "test0_compare.png").is_file()

    words = ["--size", "32x64", "--runs", "2", "--ways", "fp32", "--json", str(tmp_path / "timed")]
    assert main(["benchmark", str(exported), str(finished), *words]) == 0
    timed, model = json.loads((tmp_path / "timed").read_text())["models"]
    assert [way["way"] for way in timed["ways"]] == ["onnx"]
    assert timed["parameters"] == model["parameters"]
    assert timed["gflops"] == pytest.approx(model["gflops"])


def test_a_file_is_no_model_to_be_exported_and_is_timed_at_its_own_size(exported, refused, tmp_path):
    assert "is an exported file already" in refused("export", exported, "--output", tmp_path / "x.onnx")
    assert "takes images of 32x64 only: give --size 32x64" in refused("benchmark", exported)


def test_a_file_with_another_depth_is_not_left_behind(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("distill.commands.export.compare", lambda *_: Deviation(0.002, 0.001, 1))
    path = tmp_path / "student.onnx"
    assert main(["export", str(finished), "--output", str(path), "--size", "32x64"]) == 1
    assert "was not written" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["RUN", "--output", "OUT.trt"], "expected a name that ends with one of .onnx, .pt2"),
        (["RUN", "--output", "OUT.engine"], "there run trtexec --onnx=FILE.onnx"),
        (["RUN", "--output", "OUT.pt2", "--target", "onnx"], "a file for onnx has a name that ends with .onnx"),
        (["RUN", "--output", "OUT.onnx", "--logits"], "--logits is for --target onnx-portable"),
        (
            ["HALF", "--output", "OUT.onnx", "--target", "onnx-portable", "--size", "32x64", "--logits"],
            "does not end with bins",
        ),
        (
            ["HALF", "--output", "OUT.onnx", "--target", "onnx-portable", "--size", "32x64", "--opset", "11"],
            "opset version 11 is not supported",
        ),
        (["RUN", "--output", "OUT.onnx"], "does not say which size its images had: give --size HxW"),
        (["RUN", "--output", "OUT.onnx", "--size", "16x64"], "expected at least 32x32, got 16x64"),
        (
            ["RUN", "--output", "OUT.onnx", "--opset", "11"],
            "--opset 11 cannot be written here, expected one of these: --target onnx: 18",
        ),
        (["RUN", "--output", "OUT.pt2", "--dynamic"], "--dynamic is for --target onnx"),
        (["RUN", "--output", "OUT.pt2", "--int8"], "--int8 is for --target onnx"),
        (["RUN", "--output", "OUT.pt2", "--fp16"], "--fp16 is for --target onnx, openvino"),
        (["RUN", "--output", "OUT.onnx", "--fp16", "--int8"], "leave one of them out"),
        (["RUN", "--output", "OUT.onnx", "--int8", "--confidence"], "leave --int8 or --confidence out"),
        (["HALF", "--output", "OUT.onnx", "--int8"], "no run with data of its own lies beside"),
        (["HALF", "--output", "OUT.onnx", "--dynamic"], "leave --dynamic out and give --size HxW"),
        (["RUN", "--output", "OUT.onnx", "--size", "32x64", "--images", "absent"], "--images absent: there is no such"),
        (["RUN", "--output", "OUT.onnx", "--size", "32x64", "--images", "EMPTY"], "no image can be read there"),
        (["RUN", "--output", "RUN/config.yaml/x.onnx", "--size", "32x64"], "cannot be written; give a file"),
    ],
)
def test_export_refuses_in_one_line(refused, finished, half, tmp_path, words, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "broken.png").write_bytes(b"no picture")
    places = {"RUN/": f"{finished}/", "OUT": str(tmp_path / "out"), "EMPTY": str(tmp_path / "empty")}
    places |= {"RUN": str(finished), "HALF": str(half)}
    for short, long in places.items():
        words = [word.replace(short, long, 1) if word.startswith(short) else word for word in words]
    assert message in refused("export", *words)
    assert not (tmp_path / "out.onnx").exists()


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A pruned DPT that works on half of the image."""
    from students import create_student, save_student

    folder = tmp_path_factory.mktemp("half")
    save_student(create_student("dpt_micro", heads=1, hooks=(0, 1), resolution_scale=0.5), folder)
    return folder


def test_a_missing_package_names_the_extra(refused, finished, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = refused("export", finished, "--output", tmp_path / "x.onnx", "--size", "32x64")
    assert "this needs onnxruntime: install it with pip install '.[export]'" in message


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("Serialization failed")])
def test_a_full_disk_is_a_line_and_leaves_nothing(refused, finished, tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("distill.commands.export.write", fail)
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    message = refused("export", finished, "--output", tmp_path / "x.onnx", "--size", "32x64")
    assert message.startswith(f"{tmp_path / 'x.onnx'}: No space left on device; make room")
    assert list(tmp_path.iterdir()) == []


def test_a_portable_file_may_end_at_the_logits_with_its_decoder_beside_it(finished, tmp_path, capsys, refused):
    words = ["--output", str(tmp_path / "x.onnx"), "--target", "onnx-portable", "--size", "45x70", "--logits"]
    assert main(["export", str(finished), *words]) == 0
    assert "TensorRT 8.4 lists all of its operators" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.onnx", "x_decode.py"]
    assert "scores and centres" in OnnxModel(tmp_path / "x.onnx").facts["output"]
    decoder = tmp_path / "x_decode.py"
    decoder.write_text("mine")
    assert "x_decode.py is not as this command writes it" in refused("export", finished, *words)
    assert decoder.read_text() == "mine"


def test_a_decoder_goes_with_the_logits_unless_it_was_edited(finished, tmp_path, capsys):
    decoder = tmp_path / "x_decode.py"
    words = ["export", str(finished), "--output", str(tmp_path / "x.onnx"), "--size", "32x64"]
    decoder.write_bytes(SOURCE)
    assert main([*words, "--target", "onnx-portable"]) == 0
    assert not decoder.exists()
    decoder.write_text("mine")
    assert main([*words, "--target", "onnx"]) == 0
    assert decoder.read_text() == "mine"
    assert "x_decode.py" in capsys.readouterr().err


def test_a_signal_in_the_middle_leaves_nothing(finished, tmp_path, monkeypatch):
    def stop(*_):
        assert len(list(tmp_path.iterdir())) == 1
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("distill.commands.export.write", stop)
    with pytest.raises(SystemExit) as ended:
        main(["export", str(finished), "--output", str(tmp_path / "x.onnx"), "--size", "32x64"])
    assert ended.value.code == 143
    assert list(tmp_path.iterdir()) == []


def test_what_a_target_lacks_is_named_with_a_way_out(tmp_path):
    def fail(cargo, path):
        raise NotImplementedError("aten::unheard_of is not implemented")

    cargo = Cargo(FirstPixelsWidth(), (32, 64), {})
    with pytest.raises(UserError, match=r"net holds what files for OpenVINO have not .*unheard_of.*give --target onnx"):
        write(replace(TARGETS["openvino"], write=fail), cargo, tmp_path / "x.xml", "net")


def test_images_that_are_named_check_the_file(finished, tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), pixels)
    words = ["--output", str(tmp_path / "x.onnx"), "--size", "32x64", "--images", str(tmp_path)]
    assert main(["export", str(finished), *words]) == 0
    assert "on images that were given: relative error at most" in capsys.readouterr().out


@pytest.mark.parametrize(("invert", "units"), [(True, "metres"), (False, RELATIVE)])
def test_a_checkpoint_without_a_conversion_has_no_unit(invert, units):
    with torch.device("meta"):
        model = create_dpt("dpt_micro", None, invert=invert)
    assert facts_of(Subject("dpt_micro:any.pt", model, {"student": "dpt_micro"}, None), None, None)["units"] == units
