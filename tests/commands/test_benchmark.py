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


@pytest.fixture(scope="module")
def result(finished):
    """A run's own results."""
    return finished / "results.json"


def test_a_trained_model_and_a_bare_configuration_stand_beside_each_other(benchmark, finished, config_file, capsys):
    results = benchmark(finished, config_file)
    assert [model["name"] for model in results["models"]] == [str(finished), str(config_file)]
    trained, bare = results["models"]
    assert trained["parameters"] == bare["parameters"] > 0
    assert trained["gflops"] == bare["gflops"] > 0
    assert [way["way"] for way in trained["ways"]] == ["fp32", "bf16"]
    assert all(way["p90_ms"] >= way["median_ms"] > 0 for way in trained["ways"])
    assert (results["size"], results["batch"]) == ([32, 64], 1)
    assert {"device", "PyTorch", "load"} <= results["device"].keys()
    message = capsys.readouterr().out
    assert "2 x multiply-accumulates" in message
    assert "median ms" in message


def test_a_teacher_by_name_needs_no_weights(benchmark):
    assert benchmark("dpt_micro")["models"][0]["gflops"] > 0


def test_accuracy_is_taken_from_results_and_drawn_against_latency(benchmark, finished, result, tmp_path, capsys):
    results = benchmark(finished, "--results", result, "--plot", tmp_path / "p.svg", "--csv", tmp_path / "t.csv")
    (student,) = [row for row in json.loads(result.read_text()) if row["name"].startswith("student")]
    assert results["models"][0]["accuracy"]["metrics"] == student["metrics"]
    assert (tmp_path / "p.svg").read_text().startswith("<svg")
    assert (tmp_path / "t.csv").read_text().count("\n") == 3
    assert "abs_rel" in capsys.readouterr().out


def test_the_page_shows_tables_plots_machine_and_command(benchmark, finished, result, tmp_path):
    page = tmp_path / "page.html"
    results = benchmark(finished, "--results", result, "--report", page)
    text = page.read_text()
    latency = results["models"][0]["ways"][0]["median_ms"]
    for message in (
        f"{latency:.1f}",
        results["models"][0]["accuracy"]["fingerprint"],
        "2 x multiply-accumulates",
        "PyTorch",
    ):
        assert message in text
    assert f"distill benchmark {finished} --size 32x64" in text
    assert text.count("<svg") == 2


@pytest.mark.parametrize("words", [[], ["--paper"]])
def test_without_a_model_the_papers_table_is_shown_beside_ours(tmp_path, monkeypatch, capsys, words):
    monkeypatch.setattr("distill.commands.benchmark.PAPER_ROWS", PAPER_ROWS[5:6])
    assert main(["benchmark", *words, "--json", str(tmp_path / "p.json")]) == 0
    (row,) = json.loads((tmp_path / "p.json").read_text())["paper"]
    assert row["paper"] == {"params_m": 5.9, "gflops": 30.4}
    assert row["ours"]["params_m"] == pytest.approx(row["fitted"]["params_m"], rel=0.02)
    assert row["ours"]["gflops"] == pytest.approx(row["fitted"]["gflops"], rel=0.02)
    assert "5.90/5.89/5.8" in capsys.readouterr().out


def test_the_papers_table_can_stand_above_a_models(benchmark, finished, monkeypatch, capsys):
    monkeypatch.setattr("distill.commands.benchmark.PAPER_ROWS", PAPER_ROWS[5:6])
    results = benchmark(finished, "--paper")
    assert [row["paper"]["params_m"] for row in results["paper"]] == [5.9]
    assert [model["name"] for model in results["models"]] == [str(finished)]
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
        (["nowhere"], "no student in nowhere"),
        (["absent.yaml"], "no configuration at absent.yaml"),
        (["RUN", "RUN"], "a model is given twice"),
        (["RUN", "--results", "RESULT", "RESULT"], "--results has 2 files for 1 models; give one for each, in order"),
        (["RUN", "--results", "absent.json"], "no results at absent.json"),
        (["--report", "p.html"], "--report is a page of measurements: give a MODEL"),
        (["RUN", "--plot", "p.svg"], "--plot draws accuracy against latency: give --results"),
        (["RUN", "RUN/student", "--results", "RESULT", "OTHER"], "their metrics do not compare"),
        (["RUN", "--csv", "RUN"], "--csv RUN cannot be written; give a file in a folder that can"),
        (["RUN", "--runs", "0"], "expected a whole number above 0, got '0'"),
        (["RUN", "--ways", "fp64"], "invalid choice: 'fp64'"),
        (["RUN", "--size", "8x8"], "expected at least 32x32, got 8x8"),
    ],
)
def test_benchmark_refuses_in_one_line(refused, finished, result, tmp_path, words, message):
    other = json.loads(result.read_text())[-1] | {"fingerprint": "other"}
    (tmp_path / "other.json").write_text(json.dumps(other))
    places = {"RUN": finished, "RUN/student": finished / "student", "RESULT": result, "OTHER": tmp_path / "other.json"}
    line = refused("benchmark", *[places.get(word, word) for word in words])
    assert message.replace("RUN", str(finished)) in line
