import math
import re

import pytest

from distill.report import Marks, dot_chart


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
