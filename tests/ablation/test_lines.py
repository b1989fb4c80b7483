import csv
import json
import math

import pytest

from distill.ablation.gather import Difference, gather
from distill.ablation.lines import difference_cell, make_tables
from distill.commands.ablate import plan
from distill.pages.ablation_page import mean_curve

ROWS = {"plain": {"method.name": "supervised"}, "+KD": {"method.name": "feature"}, "+FAM": {"method.name": "disdepth"}}


@pytest.fixture
def tables(stage, results):
    """Three rows, two seeds, three images: +KD is 1 lower in every image, +FAM only with one seed."""
    for seed in (0, 1):
        plain = {"x": 3.0 + seed, "y": 5.0 + seed, "z": 7.0 + seed}
        changes = {"plain": 0.0, "+KD": -1.0, "+FAM": -1.0 if seed else 0.5}
        for row, change in changes.items():
            student = {name: value + change for name, value in plain.items()}
            stage.models[row, seed] = [results("teacher", plain), results("student", student), results("ghost", plain)]
    stage.finish(rows=ROWS, seeds=[0, 1])
    assert stage.ablate(rows=ROWS, seeds=[0, 1]) == 0
    preset, runs = plan(stage.write(rows=ROWS, seeds=[0, 1]), [], stage.output)
    return make_tables(preset, gather(preset, runs), 0)


def test_a_line_is_the_mean_and_the_spread_over_seeds(tables):
    plain, kd, _ = tables.lines
    assert (plain.mean("rmse"), kd.mean("rmse")) == (5.5, 4.5)
    assert plain.deviation("rmse") == pytest.approx(math.sqrt(0.5))
    row = tables.result_rows()[0]
    assert row.texts["rmse"] == "5.500 ± 0.707"
    assert row.extra["seeds"] == "2"


def test_a_line_says_what_it_costs(tables):
    extra = tables.result_rows()[0].extra
    assert {key: extra[key] for key in ("parameters", "GFLOPs", "latency")} == {
        **{"parameters": "2.00 M", "GFLOPs": "3", "latency": "4.0 ms"}
    }
    assert extra["step"] == "1 s"  # 8 images at 8 a second; the first, slow entry is no median
    assert extra["training"] == "0.1 min"


def test_differences_are_paired_by_image_and_seed(tables):
    kd, fam = tables.to_first["+KD"]["rmse"], tables.to_first["+FAM"]["rmse"]
    assert (kd.change, kd.low, kd.high, kd.agreeing, kd.seeds) == pytest.approx((-1, -1, -1, 2, 2))
    assert (fam.change, fam.agreeing, fam.seeds) == (-0.25, 1, 2)
    assert tables.to_above["+KD"] == tables.to_first["+KD"]
    assert tables.to_above["+FAM"]["rmse"].change == pytest.approx(0.75)
    assert "plain" not in tables.to_first


def test_a_row_can_be_compared_with_further_ones(stage, tables):
    path = stage.write(rows=ROWS, seeds=[0, 1], twins={"+FAM": ["+KD"], "+KD": ["plain"]})
    preset, runs = plan(path, [], stage.output)
    result = make_tables(preset, gather(preset, runs), 0)
    assert result.to_twins == {"plain": {"+KD": tables.to_first["+KD"]}, "+KD": {"+FAM": tables.to_above["+FAM"]}}
    assert [heading for heading, _ in result.sections()][2:] == ["Difference to plain", "Difference to +KD"]


def test_what_is_drawn_is_images_each_with_its_mean_over_seeds(stage, results):
    """Gaps of 2 and -2 by seed, alike in every image, cancel in every draw; only the seeds tell of them."""
    for seed, gap in ((0, 2.0), (1, -2.0)):
        stage.models["plain", seed] = [results("student", {"x": 3.0, "y": 4.0})]
        stage.models["+KD", seed] = [results("student", {"x": 3.0 + gap, "y": 4.0 + gap})]
    assert stage.ablate(seeds=[0, 1]) == 0
    preset, runs = plan(stage.write(seeds=[0, 1]), [], stage.output)
    one = make_tables(preset, gather(preset, runs), 0).to_first["+KD"]["rmse"]
    assert (one.change, one.low, one.high, one.agreeing) == (0, 0, 0, 0)
    assert not one.clear


def test_a_difference_is_bold_where_the_interval_and_all_seeds_say_so(tables):
    heading, rows = tables.sections()[0]
    assert heading == "Difference to plain"
    assert [(row.name, "rmse" in row.bold) for row in rows] == [("+KD", True), ("+FAM", False)]
    assert difference_cell(Difference(-0.012, -0.02, -0.004, 3, 3)) == "−0.0120 [−0.0200, −0.0040] 3/3"
    assert difference_cell(Difference(-0.012, -0.02, -0.004, 1, 1)) == "−0.0120 [−0.0200, −0.0040]"


def test_images_missing_in_a_run_are_left_out_and_counted(stage, results, capsys):
    stage.models["plain", 0] = [results("student", {"x": 1.0, "y": 2.0, "only here": 900.0})]
    stage.models["+KD", 0] = [results("student", {"y": 4.0, "x": 3.0})]
    assert stage.ablate() == 0
    assert "1 images are missing in some runs; differences leave them out" in capsys.readouterr().err
    records = list(csv.DictReader((stage.output / "results.csv").open()))
    kd = next(record for record in records if (record["row"], record["metric"]) == ("+KD", "rmse"))
    assert (kd["first_change"], kd["first_low"], kd["first_high"]) == ("2.0", "2.0", "2.0")


def test_other_models_of_a_run_have_lines_of_their_own(stage, tables):
    preset, runs = plan(stage.write(rows=ROWS, seeds=[0, 1], models=["teacher", "ghost"]), [], stage.output)
    lines = gather(preset, runs)
    assert [line.name for line in lines][:3] == ["plain: teacher", "plain: ghost", "+KD: teacher"]
    rows = make_tables(preset, lines, 0).result_rows()
    assert rows[1].extra == {"seeds": "2"}  # a ghost is no network, and nobody but the student was trained
    assert "step" not in rows[0].extra


def test_rows_of_two_protocols_do_not_stand_in_one_table(stage, results, refused):
    stage.models["+KD", 0] = [results("student", {"x": 1.0}, fingerprint="g")]
    assert stage.ablate() == 2
    assert refused("ablate", stage.write(), "--jobs", 0, "--output", stage.output) == (
        "rows were measured by different protocols: plain by folder (f), +KD by folder (g); "
        "their metrics do not compare"
    )


def test_runs_that_evaluated_nothing_make_no_table(stage, refused):
    stage.models |= {("plain", 0): [], ("+KD", 0): []}
    assert stage.ablate() == 2
    message = refused("ablate", stage.write(), "--jobs", 0, "--output", stage.output)
    assert message == f"no finished run under {stage.output} evaluated a student: there is nothing to compare"


def test_the_files_hold_every_row_and_number(stage, tables):
    written = (stage.output / "results.md").read_text()
    assert written.startswith(f"# tiny\n\n`distill ablate {stage.folder / 'tiny.yaml'} --output {stage.output}`")
    assert "\n| +KD |" in written
    assert "## Difference to the row above" in written
    records = list(csv.DictReader((stage.output / "results.csv").open()))
    assert len(records) == 3 * 10
    assert records[0]["row"] == "plain"
    assert records[0]["first_change"] == ""
    assert float(records[0]["step_seconds"]) == 1.0
    page = (stage.output / "report.html").read_text()
    assert page.count("<svg") == 3 + 3 + 3
    assert 'src="http' not in page
    for heading in ("Difference to plain", "Difference to the row above", "Plots", "Curves"):
        assert f">{heading}</h2>" in page


def test_the_results_can_also_be_compared_two_by_two(stage, tables, capsys):
    from distill.cli import main

    assert main(["compare", str(stage.output / "plain/seed_0"), str(stage.output / "+KD/seed_0")]) == 0
    assert "−1.000 [−1.000, −1.000]" in capsys.readouterr().out


def test_curves_are_averaged_where_all_seeds_have_a_point():
    assert mean_curve([[(1, 2.0), (2, 4.0), (3, 6.0)], [(1, 4.0), (3, 0.0)]]) == [(1, 3.0), (3, 3.0)]
    assert mean_curve([]) == []


def test_results_are_read_from_the_runs_and_from_nowhere_else(stage, tables):
    path = stage.output / "+KD" / "seed_0" / "results.json"
    content = json.loads(path.read_text())
    path.write_text("[]")
    preset, runs = plan(stage.write(rows=ROWS, seeds=[0, 1]), [], stage.output)
    assert [len(line.results) for line in gather(preset, runs)] == [2, 1, 2]
    path.write_text(json.dumps(content[:1]))
    assert [len(line.results) for line in gather(preset, runs)] == [2, 1, 2]
