import io
import math
import re

import pytest
from rich.console import Console

from distill.evaluation import LOWER_IS_BETTER, MEASURES
from distill.evaluation.results import CLASS_MEASURES
from distill.report.tables import (
    LABELS,
    Row,
    difference_text,
    direction,
    html_lines,
    html_table,
    markdown_table,
    metric_text,
    results_table,
    spread_text,
    terminal_table,
)

TABLES = [lambda rows: results_table(rows, "protocol"), markdown_table, html_table]
SCRIPT = "<script>alert(1)</script>"


def shown(table, width=200, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    console.print(table)
    return console.file.getvalue()


def cells(markdown):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line]


def test_the_metrics_and_their_directions_are_those_of_evaluation():
    assert set(LABELS) == {*MEASURES, *CLASS_MEASURES}
    assert {metric for metric in LABELS if direction(metric) == "lower is better"} == LOWER_IS_BETTER


def test_lines_of_text_read_alike_on_a_terminal_and_on_a_page():
    lines = [["truth", "images", "rmse"], ["depth <edges>", "1", "4.000"], ["[b]", "2", "–"]]
    cells = [
        [cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in shown(terminal_table(lines)).split("\n")
    ]
    assert [line for line in cells if line] == lines
    page = html_lines(lines)
    assert re.findall(r"<td>(.*?)</td>", page) == ["1", "4.000", "2", "–"]
    assert "depth &lt;edges&gt;" in page
    assert "RMSE (m)</th>" in page


def test_the_lowest_error_and_the_highest_accuracy_are_bold():
    rows = [Row("a", {"d1": 0.9, "abs_rel": 0.1}, "f"), Row("b", {"d1": 0.8, "abs_rel": 0.05}, "f")]
    assert cells(markdown_table(rows))[2:] == [["a", "**0.9000**", "0.1000"], ["b", "0.8000", "**0.05000**"]]
    assert html_table(rows).count("<b>") == 2
    assert "<b>0.05000</b>" in html_table(rows)


def test_a_narrow_terminal_keeps_the_ends_of_names():
    names = [f"attention=performer,heads=10,hooks=0-1,stem={i}" for i in range(5)]
    text = shown(results_table([Row(name, {"rmse": 3.0, "d1": 0.5}, "f") for name in names], "protocol"), width=40)
    first = "".join(line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│"))
    assert first == "".join(names)


def test_the_best_value_is_bold_in_the_terminal():
    rows = [Row("a", {"rmse": 3.0}, "f"), Row("b", {"rmse": 2.0}, "f")]
    text = shown(results_table(rows, "nyu_eigen"), force_terminal=True)
    assert "\x1b[1m2.000\x1b[0m" in text
    assert "\x1b[1m3.000\x1b[0m" not in text
    assert "nyu_eigen" in text


def test_nan_and_infinity_are_never_best():
    rows = [Row(name, {"rmse": value}, "f") for name, value in (("a", math.nan), ("b", 4.0), ("c", -math.inf))]
    assert [line[1] for line in cells(markdown_table(rows))[2:]] == ["nan", "**4.000**", "-inf"]


@pytest.mark.parametrize(("metric", "values"), [("rmse", [math.nan, math.nan]), ("d1", [0.9]), ("novel", [1, 2])])
def test_nothing_is_best_of_no_number_of_one_or_of_unknown_direction(metric, values):
    assert "**" not in markdown_table([Row("a", {metric: value}, "f") for value in values])


def test_values_that_read_the_same_are_equally_best():
    rows = [Row("a", {"d1": 0.91231}, "f"), Row("b", {"d1": 0.91234}, "f")]
    assert markdown_table(rows).count("**0.9123**") == 2


@pytest.mark.parametrize("table", TABLES)
def test_protocols_do_not_mix(table):
    rows = [Row("ours", {"d1": 0.9}, "aaaa"), Row("quoted", {"d1": 0.8}), Row("theirs", {"d1": 0.95}, "bbbb")]
    with pytest.raises(ValueError, match=r"'ours'.*aaaa.*'theirs'.*bbbb"):
        table(rows)


def test_a_row_of_unknown_protocol_is_marked_and_never_best():
    rows = [Row("ours", {"d1": 0.9}, "f"), Row("quoted", {"d1": 0.99})]
    lines = cells(markdown_table(rows))
    assert lines[2:4] == [["ours", "0.9000"], ["quoted †", "0.9900"]]
    assert "protocol unknown" in lines[4][0]
    assert "protocol unknown" in html_table(rows)
    assert "protocol unknown" in shown(results_table(rows, "t"))


def test_columns_have_a_fixed_order_and_gaps_a_dash():
    rows = [
        Row("a", {"mae": 1, "log10": 1, "abs_rel": 1, "d1": 1}, extra={"latency": "14.1 ms"}),
        Row("b", {"rmse": 1, "novel": 1}),
    ]
    header, _, first, second = cells(markdown_table(rows))
    assert header == ["", "d1 ↑", "abs_rel ↓", "rmse ↓", "log10 ↓", "mae ↓", "novel", "latency"]
    assert first[3] == first[6] == second[7] == "–"
    assert first[7] == "14.1 ms"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.065123, "0.06512"), (0.9, "0.9000"), (12.3456, "12.35"), (1234.5, "1234"), (123456, "123456"), (0, "0.000")],
)
def test_numbers_have_four_significant_digits(value, text):
    assert metric_text(value) == text


def test_names_cannot_leave_their_cell():
    rows = [Row(SCRIPT, {"d1": 0.9}, extra={SCRIPT: SCRIPT}), Row("a|b\n[red]*c*", {"d1": 0.8})]
    assert "<script" not in html_table(rows)
    assert "&lt;script&gt;" in html_table(rows)
    markdown = markdown_table(rows)
    assert "a\\|b \\[red]\\*c\\*" in markdown
    assert "\\<script>" in markdown
    assert "[red]*c*" in shown(results_table(rows, "[bold]title"))
    assert "[bold]title" in shown(results_table(rows, "[bold]title"))


def test_ten_metrics_of_two_models_fit_into_80_columns():
    names = ["d1", "d2", "d3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog", "mae"]
    rows = [Row(f"EfficientNet-B0, {kind}", dict.fromkeys(names, 0.12345), "f") for kind in ("plain", "DisDepth")]
    text = shown(results_table(rows, "t"), width=80)
    assert all(name in text for name in names)
    assert text.count("0.1235") + text.count("0.1234") == 20


def test_a_cell_can_say_more_than_its_number_and_choose_what_is_bold():
    rows = [
        Row("a", {"rmse": 3.0}, "f", texts={"rmse": "3.000 ± 0.5"}),
        Row("b", {"rmse": 2.0}, "f", texts={"rmse": "2.000 ± 0.5"}),
    ]
    assert [line[1] for line in cells(markdown_table(rows))[2:]] == ["3.000 ± 0.5", "**2.000 ± 0.5**"]
    chosen = [Row("a", {"rmse": 3.0}, "f", bold=frozenset({"rmse"})), Row("b", {"rmse": 2.0}, "f", bold=frozenset())]
    assert [line[1] for line in cells(markdown_table(chosen))[2:]] == ["**3.000**", "2.000"]


def test_a_row_keeps_its_name_whole_on_a_narrow_screen():
    out = io.StringIO()
    line = ["features+labels", *["0.5628 ± 0.0113"] * 3, "3", "53.0 ms"]
    table = terminal_table([["", "d1", "abs_rel", "rmse", "seeds", "latency"], line])
    Console(file=out, width=80).print(table)
    assert "features+labels" in out.getvalue()


@pytest.mark.parametrize(
    ("mean", "deviation", "text"),
    [
        (0.30123, 0.00214, "0.3012 ± 0.0021"),
        (8.5512, 0.12, "8.551 ± 0.120"),
        (2345.6, 33.3, "2346 ± 33"),
        (0.5, math.nan, "0.5000"),
    ],
)
def test_a_spread_is_written_to_the_digit_of_its_mean(mean, deviation, text):
    assert spread_text(mean, deviation) == text


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((-0.01234, -0.0204, -0.0042), "−0.0123 [−0.0204, −0.0042]"),
        ((1.5, -20.0, 23.0), "+2 [−20, +23]"),
        ((-0.25, -0.25, -0.25), "−0.2500 [−0.2500, −0.2500]"),
        ((0.0, 0.0, 0.0), "+0 [+0, +0]"),
        ((2.0, math.nan, math.nan), "+2.000"),
        ((math.nan, math.nan, math.nan), "+nan"),
    ],
)
def test_a_difference_has_a_sign_and_its_interval(numbers, text):
    assert difference_text(*numbers) == text
