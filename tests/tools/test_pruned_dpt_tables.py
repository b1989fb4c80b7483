import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import pruned_dpt_page as page
import pruned_dpt_tables as tables

SIZE = (32, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the command leaves, for the smallest parent, three short rows of tokens and one round."""
    folder = tmp_path_factory.mktemp("docs")
    mark = "<!-- begin: tools/pruned_dpt_tables.py -->"
    (folder / "pruned-dpt.md").write_text(f"Before.\n{mark}old{page.END}\nAfter.\n")
    few = pytest.MonkeyPatch()
    few.setattr(tables, "FEATURES", (4, 64))
    few.setattr(tables, "FACTORS", (0.5, 1.0))
    few.setattr(tables, "measure_family", family)
    words = ["--parent", "dpt_micro", "--size", "32x64", "--rounds", "1", "--tokens", "8", "16"]
    tables.main([*words, "--output", str(folder)])
    few.undo()
    return folder


def family(parent, size, rounds):
    """The whole and two variants, whose costs alone are counted."""
    chosen = [{}, *tables.variants(parent)[::18]]
    return [one | tables.costs(parent, size, **one) | {"ms": 1.0, "speedup": 2.0} for one in chosen]


def test_the_variants_are_36_different_ones():
    assert len({json.dumps(one) for one in tables.variants("dpt_hybrid")}) == 36
    assert len({json.dumps(one) for one in tables.variants("dpt_micro")}) == 36


def test_costs_are_counted_without_weights():
    whole, pruned = tables.costs("dpt_micro", SIZE), tables.costs("dpt_micro", SIZE, hooks=(0, 1))
    assert whole["parameters"] > pruned["parameters"] > 1e6
    assert whole["gflops"] > pruned["gflops"] > 0.1


def test_the_page_keeps_what_stands_around_its_tables(folder):
    text = (folder / "pruned-dpt.md").read_text()
    assert text.startswith("Before.\n")
    assert text.endswith("After.\n")
    assert "old" not in text
    assert "| whole |  |  |  |" in text
    assert "| performer | 1 |" in text
    assert "| A | bf16 |" in text


def test_every_plot_is_a_picture_that_the_page_shows(folder):
    text = (folder / "pruned-dpt.md").read_text()
    for name in page.TITLES:
        svg = ET.fromstring((folder / f"pruned-dpt-{name}.svg").read_text())
        assert svg.get("viewBox").startswith("-12 -12 ")
        assert f"(pruned-dpt-{name}.svg)" in text


def test_what_was_measured_can_be_drawn_again(folder):
    before = (folder / "pruned-dpt.md").read_text()
    tables.main(["--draw", "--output", str(folder)])
    assert (folder / "pruned-dpt.md").read_text() == before


@pytest.mark.parametrize(
    ("performer", "expected"),
    [([4.0, 4.0, 4.0], 200.0), ([1.0, 1.0, 1.0], None), ([99.0, 99.0, 99.0], None)],
)
def test_the_crossover_lies_where_both_take_as_long(performer, expected):
    rows = [
        {"attention": kind, "heads": 1, "tokens": count, "ms": ms}
        for kind, found in (("standard", [2.0, 8.0, 32.0]), ("performer", performer))
        for count, ms in zip((100, 400, 1600), found, strict=True)
    ]
    assert page.crossover(rows, 1) == (pytest.approx(expected) if expected else None)
