import math
import re
import xml.etree.ElementTree as ET

import pytest

from distill.report.charts import (
    DOTTED,
    MANY,
    Marks,
    dot_chart,
    error_chart,
    line_chart,
    pareto_front,
    scatter_chart,
)

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


def test_a_scatter_names_its_points_and_joins_those_that_none_beats():
    groups = {"one": {"fast": (1, 9.0), "beaten": (5, 9.5)}, "other": {"good": (10, 2.0)}}
    svg = scatter_chart(groups, title="t", x_label="ms")
    assert {"fast", "beaten", "good", "one", "other", "ms"} <= set(texts(svg))
    assert "<title>beaten: 5, 9.5</title>" in svg
    assert pareto_front(point for group in groups.values() for point in group.values()) == [(1, 9.0), (10, 2.0)]


def test_names_without_room_are_tooltips_and_no_two_lie_over_each_other():
    svg = scatter_chart({"g": {f"point {i}": (1 + i / 1000, 1.0) for i in range(30)}}, title="t", x_label="x")
    named = [e for e in ET.fromstring(svg).iter(f"{SVG}text") if (e.text or "").startswith("point")]
    assert 0 < len(named) < 30
    assert len({(e.get("x"), e.get("y")) for e in named}) == len(named)
    assert svg.count("<title>") == 30


def test_ticks_are_round_numbers():
    labels = texts(line_chart({"a": [(0, 0.07), (12_000, 0.23)]}, title="t"))
    assert {"0.05", "0.1", "0.15", "0.2", "0.25", "0", "2k", "12k"} <= set(labels)


def test_equal_ratios_are_equally_far_apart_on_a_log_axis_with_round_ticks():
    svg = line_chart({"a": [(0, 1.0), (64, 1.0), (512, 2.0), (4096, 4.0)]}, title="t", x_log=True)
    xs = [float(c.get("cx")) for c in ET.fromstring(svg).iter(f"{SVG}circle")]
    assert len(xs) == 3  # 0 has no place
    assert xs[2] - xs[1] == pytest.approx(xs[1] - xs[0], abs=0.2)
    assert {"100", "1k"} <= set(texts(svg))
    assert {"0.5", "1", "10"} <= set(texts(line_chart({"a": [(0, 0.3), (1, 40.0)]}, title="t", y_log=True)))


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "points", [[(0, 3.0)], [(5, 0.0), (6, 0.0)], [(0, 1.0), (1, 1.0)], [(1, 1e-30), (2, 1e30)], []]
)
def test_any_points_make_a_chart(points, log):
    svg = line_chart({"a": points}, title="t", y_log=log)
    ET.fromstring(svg)
    assert "nan" not in svg
    assert "inf" not in svg


def test_points_that_cannot_be_drawn_are_left_out():
    svg = line_chart({"a": [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)], "b": [(0, math.nan)]}, title="t")
    assert "2 points" in svg
    assert svg.count("<circle") == 2
    assert not any("b " in text for text in texts(svg))
    assert "No finite values" in line_chart({"a": [(0, math.nan)]}, title="t")
    assert "1 points" in line_chart({"a": [(0, 0.0), (1, -1.0), (2, 3.0)]}, title="t", y_log=True)


def test_a_long_line_is_thinned_to_means_over_its_band():
    svg = line_chart({"a": [(i, i % 2) for i in range(100 * MANY)]}, title="t")
    band, line = re.findall(r'<path d="(M[^"]+)" style="f', svg)
    assert line.count("L") == MANY - 1
    assert band.endswith("Z")
    assert len({point.split()[1] for point in line[1:].split("L")}) == 1  # every mean is a half
    assert "<circle" not in line_chart({"a": [(i, i) for i in range(DOTTED + 1)]}, title="t")


def test_names_of_lines_are_escaped():
    svg = line_chart({"<script>": [(0, 1), (1, 2)]}, title='"><script>', x_label="<b>")
    ET.fromstring(svg)
    assert "<script" not in svg
    assert "<b>" not in svg


# ----------------------------------------------------------------------------------------------------------------- dots


def circles(svg, radius):
    return [float(x) for x in re.findall(rf'<circle cx="([\d.]+)" cy="[\d.]+" r="{radius}"', svg)]


def test_a_larger_value_lies_further_right_and_its_seeds_around_it():
    svg = dot_chart({"a": Marks(1.0, dots=(0.5, 1.5)), "b": Marks(2.0)}, title="rmse")
    one, other = circles(svg, 5)
    assert one < other
    first, second = circles(svg, 3)
    assert first < one < second
    assert one - first == pytest.approx(second - one, abs=0.2)


def test_an_interval_is_a_bar_and_zero_is_always_in_sight():
    svg = dot_chart({"a": Marks(5.0, 4.0, 6.0)}, title="difference", zero=True)
    (dot,) = circles(svg, 5)
    left, right = map(float, re.search(r'd="M([\d.]+) [\d.]+H([\d.]+)"', svg).groups())
    zero = float(re.search(r'd="M([\d.]+) [\d.]+V[\d.]+" style="stroke:var\(--chart-ink[^"]*dasharray', svg).group(1))
    assert zero < left < dot < right
    assert "<title>a: 5 [4, 6]</title>" in svg


@pytest.mark.parametrize("marks", [Marks(3.0), Marks(0.0), Marks(-2.0, -2.0, -2.0)])
def test_one_value_without_width_is_drawn(marks):
    assert len(circles(dot_chart({"a": marks}, title="t"), 5)) == 1


def test_what_is_not_finite_is_left_out():
    svg = dot_chart({"a": Marks(math.nan), "b": Marks(1.0, math.nan, math.nan, (math.inf,))}, title="t")
    assert len(circles(svg, 5)) == 1
    assert circles(svg, 3) == []
    assert "nan" not in svg
    assert "No finite values" in dot_chart({"a": Marks(math.nan)}, title="t")


def test_names_are_escaped_and_long_ones_cut():
    svg = dot_chart({"<b>": Marks(1.0), "a" * 40: Marks(2.0)}, title="<i>")
    assert "<b>" not in svg
    assert "<i>" not in svg
    assert ">aaaaaaa…aaaaaaaaaaaaaa</text>" in svg
    assert f"<title>{'a' * 40}: 2</title>" in svg


# ------------------------------------------------------------------------------------------------------------ histogram


def bars(svg):
    return [float(height) for height in re.findall(r'<rect [^>]*height="([\d.]+)"', svg)]


def test_a_bar_is_as_high_as_its_share():
    svg = error_chart([-0.05, 0.0, 0.05], [1, 4, 2, 0], "Errors of <student>")
    heights = bars(svg)
    assert heights[1] > 0
    assert [height / heights[1] for height in heights] == [0.25, 1, 0.5, 0]
    assert "below -5%: 14.3% of pixels" in svg
    assert "-5% to +0%: 57.1% of pixels" in svg
    assert "above +5%: 0.0% of pixels" in svg
    assert "Errors of &lt;student&gt;" in svg
    assert "71% of pixels nearer than the truth" in svg
    assert bars(error_chart([0.0], [0, 0], "Errors")) == [0, 0]


def test_a_name_with_control_characters_leaves_a_chart_readable():
    svg = dot_chart({"a\x00\x1b<b>": Marks(1.0)}, title="t\x08")
    assert "a\\x00\\x1b<b>" in texts(svg)
