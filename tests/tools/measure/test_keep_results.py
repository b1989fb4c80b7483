import csv
import tarfile

import pytest

COLUMNS = ["row", "metric", "seeds", "mean", "deviation"]
COLUMNS += [f"{to}_{name}" for to in ("first", "above") for name in ("change", "low", "high", "agreeing", "seeds")]
CHANGED = {"first_change": -2, "first_low": -3, "first_high": -1, "first_agreeing": 2, "first_seeds": 2}
CHANGED |= {"above_change": 4, "above_low": -4, "above_high": 5, "above_agreeing": 1, "above_seeds": 2}


@pytest.fixture
def project(tool, tmp_path, monkeypatch):
    """A folder with an ablation of two rows, one run of which is not finished."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tool, "RESULTS", tmp_path / "docs" / "results")
    for run, finished in (("plain/seed_0", True), ("+KD/seed_0", True), ("+KD/seed_1", False)):
        folder = tmp_path / "runs" / "ablations" / "tiny" / run
        (folder / "student").mkdir(parents=True)
        for name in ("config.yaml", "results.json", "metrics.jsonl", "report.html", "student/model.safetensors"):
            (folder / name).write_text(run)
        if finished:
            (folder / "done.json").write_text(run)
    metrics = ("rmse", "abs_rel", "d1", "silog")
    lines = [{"row": "plain", "metric": metric, "seeds": 2, "mean": 10, "deviation": 0.5} for metric in metrics]
    lines += [{"row": "+KD", "metric": metric, "seeds": 3, "mean": 8, **CHANGED} for metric in metrics]
    with (tmp_path / "runs" / "ablations" / "tiny" / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    page = tmp_path / "docs" / "why" / "page.md"
    page.parent.mkdir(parents=True)
    page.write_text("before\n<!-- begin: tools/measure/keep_results.py tiny -->\nold\n<!-- end -->\nafter\n")
    return tmp_path


def test_what_a_table_is_made_of_is_kept_of_finished_runs_and_nothing_else(tool, project):
    tool.main(["tiny", "docs/why/page.md"])
    with tarfile.open(project / "docs" / "results" / "tiny.tar.gz") as archive:
        names = archive.getnames()
    left = ("config.yaml", "results.json", "metrics.jsonl", "done.json")
    assert names == [f"runs/ablations/tiny/{row}/seed_0/{name}" for row in ("+KD", "plain") for name in left]


def test_the_same_runs_make_the_same_archive(tool, project):
    archive = project / "docs" / "results" / "tiny.tar.gz"
    tool.main(["tiny", "docs/why/page.md"])
    first = archive.read_bytes()
    (project / "runs" / "ablations" / "tiny" / "plain" / "seed_0" / "done.json").touch()
    tool.main(["tiny", "docs/why/page.md"])
    assert archive.read_bytes() == first


def test_differences_are_percent_of_the_row_that_they_are_to(tool, project):
    tool.main(["tiny", "docs/why/page.md"])
    page = (project / "docs" / "why" / "page.md").read_text()
    assert page.startswith("before\n")
    assert page.endswith("<!-- end -->\nafter\n")
    assert "old" not in page
    assert "| plain | 2 | 10.000 ± 0.500 |" in page
    # 8 is 2 below 10, and 4 above 4
    assert "| −20.0 % [−30.0, −10.0], 2/2 | +100.0 % [−100.0, +125.0], 1/2 |" in page


def test_rows_that_do_not_build_on_each_other_are_compared_with_the_first_alone(tool, project):
    tool.main(["tiny", "docs/why/page.md", "--to", "first"])
    page = (project / "docs" / "why" / "page.md").read_text()
    assert "the row above" not in page
    assert "| −20.0 % [−30.0, −10.0], 2/2 | −20.0 % [−30.0, −10.0], 2/2 |" in page


def test_every_metric_has_a_plot_that_the_page_shows(tool, project):
    tool.main(["tiny", "docs/why/page.md"])
    page = (project / "docs" / "why" / "page.md").read_text()
    for metric in ("rmse", "abs_rel"):
        assert f"(../results/tiny-{metric}.svg)" in page
        assert "difference to plain in %" in (project / "docs" / "results" / f"tiny-{metric}.svg").read_text()


def test_students_of_classes_are_compared_by_their_own_metrics(tool):
    line = {"seeds": "3", "mean": "0.6", "deviation": ""} | dict.fromkeys(COLUMNS[5:], "")
    lines = {"supervised": {"miou": line, "pixel_accuracy": line}}
    assert tool.as_table(lines, ["first"]).splitlines()[0].split(" | ")[1:4] == ["seeds", "miou", "pixel_accuracy"]
    assert "in points (higher is better)" in tool.plot(lines, "miou")
    better = {"metric": "miou", "mean": "0.7", **{f"first_{key}": "0.04" for key in ("change", "low", "high")}}
    assert tool.change(better, "first") == (4, 4, 4)
