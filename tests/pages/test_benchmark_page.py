import csv
import io
import json

import pytest

from distill.deploy.latency import Call, Latency
from distill.deploy.paper import KITTI, NYU, PAPER_ROWS, Cost, paper_row
from distill.deploy.ways import Prepared
from distill.evaluation import Results
from distill.pages.benchmark_page import Measured, as_csv, cost_rows, latency_rows, paper_rows, pareto_plot
from distill.report.tables import markdown_table

READY = Prepared(Call(lambda: None), 4 * 2**20, None, 123.4)


def measured(name, abs_rel=None, **milliseconds):
    one = Measured(name, 7_950_000, 35.8)
    if abs_rel is not None:
        one.accuracy = Results("nyu_eigen", "abc", None, {"abs_rel": abs_rel, "rmse": 1.0, "d1": 0.5}, {}, {})
    for way, taken in milliseconds.items():
        one.ways[way], one.latency[way] = READY, Latency(taken, 2 * taken, 20)
    return one


def recipe(student="efficientnet_b0", **options):
    return {"student": student, "options": {"lg_conv": True, "width": 128, "bins": 256, **options}}


def test_a_student_finds_its_row_of_the_paper_by_its_recipe_and_size():
    assert paper_row(recipe(), KITTI).paper == Cost(8.0, 35.7)
    assert paper_row(recipe(), NYU).paper == Cost(8.0, 27.8)
    assert paper_row(recipe(lg_conv=False), KITTI).paper == Cost(5.9, 30.4)
    assert paper_row(recipe("efficientnet_b5"), KITTI).abs_rel == 0.058


@pytest.mark.parametrize(
    "options", [{"bins": 64}, {"width": 64}, {"student": "efficientnet_b1"}, {"student": "dpt_base"}]
)
def test_a_model_or_a_size_that_the_paper_does_not_have_finds_none(options):
    assert paper_row(recipe(**options), KITTI) is None
    assert paper_row(recipe(), (96, 320)) is None


def test_the_papers_table_has_all_three_figures_of_every_row():
    message = markdown_table(paper_rows([(row, Cost(1.25, 2.5)) for row in PAPER_ROWS]))
    assert message.count("/1.25 ") == message.count("/2.5 ") == len(PAPER_ROWS) == 10
    assert "98.60/98.16/1.25" in message
    assert "499.7/449.8/2.5" in message


def test_the_tables_show_the_models_and_what_they_cost():
    one = measured("b0", fp32=50.0, bf16=25.0)
    one.paper = PAPER_ROWS[3]
    assert "8.0 M, 35.7 GFLOPs" in markdown_table(cost_rows([one]))
    message = markdown_table(latency_rows([one, measured("r18", 0.1, fp32=100.0)]))
    assert "b0 · bf16" in message
    assert "40.0" in message  # frames per second of the 25 ms
    assert "0.1000" in message
    assert "123" in message  # the first call


def test_the_record_has_every_way_also_the_one_that_did_not_work():
    one = measured("b0", 0.2, fp32=50.0)
    one.skipped["compiled"] = "no compiler"
    record = json.loads(json.dumps(one.as_dict()))
    assert record["accuracy"]["metrics"]["abs_rel"] == 0.2
    figures = {"median_ms": 50.0, "p90_ms": 100.0, "runs": 20, "fps": 20.0, "first_ms": 123.4, "joules": None}
    assert record["ways"][0] == {"way": "fp32", **figures, "file_bytes": 4 * 2**20, "peak_bytes": None, "abs_rel": 0.2}
    assert record["ways"][1] == {"way": "compiled", "skipped": "no compiler"}


def test_the_csv_has_a_line_for_each_model_and_way():
    other = measured("r18, large", fp32=100.0)
    other.skipped["bf16"] = "not here"
    lines = list(csv.DictReader(io.StringIO(as_csv([measured("b0", 0.2, fp32=50.0, bf16=25.0), other]))))
    assert [(line["name"], line["way"]) for line in lines] == [
        *[("b0", "fp32"), ("b0", "bf16")],
        *[("r18, large", "fp32"), ("r18, large", "bf16")],
    ]
    assert (lines[0]["abs_rel"], lines[1]["fps"], lines[2]["abs_rel"]) == ("0.2", "40.0", "")
    assert (lines[3]["median_ms"], lines[3]["skipped"]) == ("", "not here")


def test_the_plots_front_leaves_out_what_another_beats_in_both():
    bad, large = measured("bad", 0.4, fp32=20.0), measured("large", 0.1, fp32=90.0)
    drawn = pareto_plot([measured("small", 0.3, fp32=10.0, bf16=8.0), bad, large])
    assert "best for its latency at 10: 0.3" in drawn
    assert "best for its latency at 90: 0.1" in drawn
    assert "best for its latency at 8" not in drawn  # its accuracy is not that of float32
    assert "best for its latency at 20" not in drawn
