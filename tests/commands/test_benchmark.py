import json

import pytest

from distill.cli import main
from distill.deploy.paper import PAPER_ROWS
from distill.deploy.ways import WAYS

QUICK = ("--size", "32x64", "--runs", "2", "--ways", "fp32", "bf16")


@pytest.fixture
def benchmark(tmp_path):
    """benchmark(*words): what `distill benchmark --json` writes."""

    def run(*words):
        path = tmp_path / "deep" / "figures.json"
        assert main(["benchmark", *map(str, words), *QUICK, "--json", str(path)]) == 0
        return json.loads(path.read_text())

    return run


def test_a_model_a_bare_configuration_and_a_teachers_name_are_compared(benchmark, finished, config_file, capsys):
    results = benchmark(finished, config_file, "dpt_micro")
    assert [model["name"] for model in results["models"]] == [str(finished), str(config_file), "dpt_micro"]
    trained, bare, teacher = results["models"]
    assert teacher["gflops"] > 0
    assert trained["parameters"] == bare["parameters"] > 0
    assert trained["gflops"] == bare["gflops"] > 0
    assert [way["way"] for way in trained["ways"]] == ["fp32", "bf16"]
    assert all(way["p90_ms"] >= way["median_ms"] > 0 for way in trained["ways"])
    assert (results["size"], results["batch"]) == ([32, 64], 1)
    assert {"device", "PyTorch", "load"} <= results["device"].keys()
    message = capsys.readouterr().out
    assert "2 x multiply-accumulates" in message
    assert "median ms" in message


def test_accuracy_is_taken_from_results_and_drawn_and_a_page_shows_it_all(benchmark, finished, tmp_path, capsys):
    files = {option: tmp_path / option for option in ("plot", "csv", "report")}
    words = [word for option, file in files.items() for word in (f"--{option}", file)]
    (model,) = benchmark(finished, "--results", finished / "results.json", *words)["models"]
    saved = {row["role"]: row for row in json.loads((finished / "results.json").read_text())}
    assert model["accuracy"]["metrics"] == saved["student"]["metrics"]
    assert files["plot"].read_text().startswith("<svg")
    assert files["csv"].read_text().count("\n") == 3
    assert "abs_rel" in capsys.readouterr().out
    text = files["report"].read_text()
    for part in ("2 x multiply-accumulates", "PyTorch", f"distill benchmark {finished} --size 32x64"):
        assert part in text
    assert f"{model['ways'][0]['median_ms']:.1f}" in text
    assert model["accuracy"]["fingerprint"] in text
    assert text.count("<svg") == 2


def test_a_way_that_rounds_has_no_accuracy_of_the_model(benchmark, finished):
    (model,) = benchmark(finished, "--results", finished / "results.json")["models"]
    accuracy = {way["way"]: way["abs_rel"] for way in model["ways"]}
    assert accuracy == {"fp32": model["accuracy"]["metrics"]["abs_rel"], "bf16": None}


def test_a_file_states_its_own_accuracy_and_a_strangers_time_stands_beside_it(benchmark, finished, tmp_path, refused):
    onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
    ours, other = tmp_path / "ours.onnx", tmp_path / "other.onnx"
    assert main(["export", str(finished), "--output", str(ours), "--size", "32x64"]) == 0
    exported, stated = onnx.load(str(ours)), {"protocol": "p", "fingerprint": "f", "images": 7}
    accuracy = json.dumps({**stated, "metrics": {"abs_rel": 0.5}})
    exported.metadata_props.append(onnx.StringStringEntryProto(key="accuracy", value=accuracy))
    onnx.save(exported, str(ours))
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    pixels, made = (make.make_tensor_value_info(name, kind, ["n", 24, 40, 3]) for name in ("pixels", "made"))
    graph = make.make_graph([make.make_node("Relu", ["pixels"], ["made"])], "g", [pixels], [made])
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9), str(other))
    stranger, model = benchmark(ours, "--against", other)["models"]
    assert stranger["name"] == f"{other} at 24x40"
    assert [way["abs_rel"] for way in (*stranger["ways"], *model["ways"])] == [None, 0.5]
    assert model["accuracy"]["images"] == 7
    other.write_bytes(b"no network")
    assert "is no network that ONNX Runtime runs" in refused("benchmark", ours, "--size", "32x64", "--against", other)


@pytest.mark.parametrize("with_model", [False, True])
def test_the_papers_table_stands_beside_ours_also_above_a_models(benchmark, finished, monkeypatch, capsys, with_model):
    monkeypatch.setattr("distill.commands.benchmark.PAPER_ROWS", PAPER_ROWS[5:6])
    results = benchmark(*([finished, "--paper"] if with_model else []))
    (row,) = results["paper"]
    assert row["paper"] == {"params_m": 5.9, "gflops": 30.4}
    assert row["ours"]["params_m"] == pytest.approx(row["fitted"]["params_m"], rel=0.02)
    assert row["ours"]["gflops"] == pytest.approx(row["fitted"]["gflops"], rel=0.02)
    assert [model["name"] for model in results.get("models", [])] == [str(finished)] * with_model
    assert "5.90/5.89/5.8" in capsys.readouterr().out


def test_a_way_that_does_not_work_here_is_named_and_the_others_are_measured(benchmark, finished, monkeypatch, capsys):
    def broken(model, image):
        raise RuntimeError("no C++ compiler\nand more")

    monkeypatch.setitem(WAYS, "bf16", broken)
    ways = benchmark(finished)["models"][0]["ways"]
    assert [way["way"] for way in ways if "skipped" not in way] == ["fp32"]
    assert ways[-1] == {"way": "bf16", "skipped": "RuntimeError: no C++ compiler"}
    assert "bf16: skipped, RuntimeError: no C++ compiler" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.yaml"], "no configuration at absent.yaml"),
        (["RUN", "RUN"], "a model is given twice"),
        (["RUN", "--results", "RESULT", "RESULT"], "--results has 2 files for 1 models; give one for each, in order"),
        (["RUN", "--results", "absent.json"], "no results at absent.json"),
        (["RUN", "--against", "absent.onnx"], "--against absent.onnx: there is no such file, expected FILE.onnx"),
        (["--against", "absent.onnx"], "--against measures a network beside yours: give a MODEL"),
        (["--report", "p.html"], "--report is a page of measurements: give a MODEL"),
        (["RUN", "--plot", "p.svg"], "--plot draws accuracy against latency: give --results"),
        (["RUN", "RUN/student", "--results", "RESULT", "OTHER"], "their metrics do not compare"),
        (["RUN", "--csv", "RUN"], "--csv RUN cannot be written; give a file in a folder that can"),
        (["RUN", "--ways", "fp64"], "invalid choice: 'fp64'"),
    ],
)
def test_benchmark_refuses_in_one_line(refused, finished, tmp_path, words, message):
    result, other = finished / "results.json", tmp_path / "other.json"
    other.write_text(json.dumps(json.loads(result.read_text())[-1] | {"fingerprint": "other"}))
    places = {"RUN": finished, "RUN/student": finished / "student", "RESULT": result, "OTHER": other}
    line = refused("benchmark", *[places.get(word, word) for word in words])
    assert message.replace("RUN", str(finished)) in line
