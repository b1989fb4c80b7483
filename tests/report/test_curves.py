import json
import math
import re
import xml.etree.ElementTree as ET

import pytest

from distill.report.curves import DOTTED, MANY, line_chart, points_of, read_metrics, run_charts

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return [element.text for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_a_chart_names_itself_its_lines_and_their_last_values():
    svg = line_chart({"task": [(0, 4.0), (10, 2.0)]}, title="Losses")
    root = ET.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == "Losses. task: last 2, lowest 2, highest 4, 2 points"
    assert "task 2" in texts(svg)
    assert "<title>task at 10: 2</title>" in svg


def test_points_are_where_the_axes_say():
    svg = line_chart({"a": [(0, 0.0), (50, 5.0), (100, 10.0)]}, title="t", size=(640, 260))
    xs, ys = zip(
        *((float(c.get("cx")), float(c.get("cy"))) for c in ET.fromstring(svg).iter(f"{SVG}circle")), strict=True
    )
    assert xs[2] == 630
    assert ys[0] == 220
    assert xs[1] == pytest.approx((xs[0] + xs[2]) / 2, abs=0.1)
    assert ys[1] == pytest.approx((ys[0] + ys[2]) / 2, abs=0.1)


def test_ticks_are_round_numbers():
    labels = texts(line_chart({"a": [(0, 0.07), (12_000, 0.23)]}, title="t"))
    assert {"0.05", "0.1", "0.15", "0.2", "0.25", "0", "2k", "12k"} <= set(labels)


def test_equal_ratios_are_equally_far_apart_on_a_log_axis():
    svg = line_chart({"a": [(0, 1.0), (64, 1.0), (512, 2.0), (4096, 4.0)]}, title="t", x_log=True)
    xs = [float(c.get("cx")) for c in ET.fromstring(svg).iter(f"{SVG}circle")]
    assert len(xs) == 3  # 0 has no place
    assert xs[2] - xs[1] == pytest.approx(xs[1] - xs[0], abs=0.2)
    assert {"100", "1k"} <= set(texts(svg))


def test_log_ticks_are_round_numbers():
    labels = texts(line_chart({"a": [(0, 0.3), (1, 40.0)]}, title="t", y_log=True))
    assert {"0.5", "1", "10"} <= set(labels)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "points", [[(0, 3.0)], [(5, 0.0), (6, 0.0)], [(0, 1.0), (1, 1.0)], [(1, 1e-30), (2, 1e30)], []]
)
def test_any_points_make_a_chart(points, log):
    svg = line_chart({"a": points}, title="t", y_log=log)
    ET.fromstring(svg)
    assert "nan" not in svg
    assert "inf" not in svg


def test_points_that_are_not_finite_are_left_out():
    svg = line_chart({"a": [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)], "b": [(0, math.nan)]}, title="t")
    assert "2 points" in svg
    assert svg.count("<circle") == 2
    assert not any("b " in text for text in texts(svg))
    assert "No finite values" in line_chart({"a": [(0, math.nan)]}, title="t")


def test_a_log_axis_leaves_out_what_is_not_positive():
    assert "1 points" in line_chart({"a": [(0, 0.0), (1, -1.0), (2, 3.0)]}, title="t", y_log=True)


def test_a_long_line_is_thinned_to_means_over_its_band():
    svg = line_chart({"a": [(i, i % 2) for i in range(100 * MANY)]}, title="t")
    band, line = re.findall(r'<path d="(M[^"]+)" style="f', svg)
    assert line.count("L") == MANY - 1
    assert band.endswith("Z")
    assert len({point.split()[1] for point in line[1:].split("L")}) == 1  # every mean is a half
    assert "<circle" not in line_chart({"a": [(i, i) for i in range(DOTTED + 1)]}, title="t")


def test_names_are_escaped():
    svg = line_chart({"<script>": [(0, 1), (1, 2)]}, title='"><script>', x_label="<b>")
    ET.fromstring(svg)
    assert "<script" not in svg
    assert "<b>" not in svg


def test_a_torn_last_line_is_ignored(tmp_path, recwarn):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "train", "step": 1, "loss": NaN}\n{"kind": "val", "step": 2}\n{"kind": "tra')
    assert [record["step"] for record in read_metrics(path)] == [1, 2]
    assert not recwarn


def test_a_torn_line_elsewhere_is_reported(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"ste{"step": 2}\n[3]\n\n{"step": 4}\n')
    with pytest.warns(UserWarning, match="is no JSON object") as caught:
        records = read_metrics(path)
    assert records == [{"step": 1}, {"step": 4}]
    assert [str(warning.message).split(" is ")[0][-6:] for warning in caught] == ["line 2", "line 3"]


def test_what_a_resumed_run_repeats_counts_once():
    records = [{"kind": "train", "step": step, "loss": loss} for step, loss in ((1, 9), (3, 8), (2, 7), (3, 6))]
    records += [
        {"kind": "val", "step": 2, "loss": 5},
        {"kind": "train", "loss": 4},
        {"kind": "train", "step": 5, "loss": "x"},
    ]
    assert points_of(records, "train", "loss") == [(1, 9), (2, 7), (3, 6)]


def test_a_run_is_charted_as_far_as_it_was_recorded():
    train = {
        "kind": "train",
        "loss": 2.0,
        "task": 1.0,
        "kd": 0.5,
        "lr": 1e-4,
        "lam_entropy_16": 0.9,
        "lam_entropy_4": 1.0,
    }
    records = [{**train, "step": step} for step in (1, 2)]
    titles = [texts(chart)[0] for chart in run_charts(records)]
    assert titles == ["Training losses", "Distillation loss", "LAM entropy (1: all positions alike)", "Learning rate"]
    assert [text for text in texts(run_charts(records)[2]) if "stride" in text] == ["stride 4 1", "stride 16 0.9"]
    assert len(run_charts([*records, {"kind": "val", "step": 2, "abs_rel": 0.1, "rmse": 3.0, "d1": 0.9}])) == 7
    assert run_charts([]) == []


def test_records_survive_a_round_trip(tmp_path):
    path = tmp_path / "metrics.jsonl"
    records = [{"kind": "val", "step": 1, "name": "a\u2028b"}]
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    assert read_metrics(path) == records
