import json
import xml.etree.ElementTree as ET

import pytest

SIZE = (32, 64)


@pytest.fixture(scope="module")
def folder(tool, tmp_path_factory):
    """What the command leaves, for the smallest parent, three short rows of tokens and one round."""
    folder = tmp_path_factory.mktemp("docs")
    mark = "<!-- begin: tools/measure/pruned_dpt_tables.py -->"
    (folder / "pruned-dpt.md").write_text(f"Before.\n{mark}old<!-- end -->\nAfter.\n")
    words = ["--parent", "dpt_micro", "--size", "32x64", "--rounds", "1", "--tokens", "8", "16"]
    with pytest.MonkeyPatch.context() as few:
        few.setattr(tool, "FEATURES", (4, 64))
        few.setattr(tool, "FACTORS", (0.5, 1.0))
        few.setattr(tool, "variants", lambda parent, all_of=tool.variants: all_of(parent)[::18])
        tool.main([*words, "--output", str(folder)])
    return folder


def test_the_variants_are_36_different_ones(tool):
    assert len({json.dumps(one) for one in tool.variants("dpt_hybrid")}) == 36
    assert len({json.dumps(one) for one in tool.variants("dpt_micro")}) == 36


def test_costs_are_counted_without_weights(tool):
    whole, pruned = tool.costs("dpt_micro", SIZE), tool.costs("dpt_micro", SIZE, hooks=(0, 1))
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


def test_every_plot_is_a_picture_that_the_page_shows(tool, folder):
    text = (folder / "pruned-dpt.md").read_text()
    for name in tool.pruned_dpt_page.TITLES:
        svg = ET.fromstring((folder / f"pruned-dpt-{name}.svg").read_text())
        assert svg.get("viewBox").startswith("-12 -12 ")
        assert f"(pruned-dpt-{name}.svg)" in text


def test_what_was_measured_can_be_drawn_again(tool, folder):
    before = (folder / "pruned-dpt.md").read_text()
    tool.main(["--draw", "--output", str(folder)])
    assert (folder / "pruned-dpt.md").read_text() == before


@pytest.mark.parametrize(
    ("performer", "expected"),
    [([4.0, 4.0, 4.0], 200.0), ([1.0, 1.0, 1.0], None), ([99.0, 99.0, 99.0], None)],
)
def test_the_crossover_lies_where_both_take_as_long(tool, performer, expected):
    rows = [
        {"attention": kind, "heads": 1, "tokens": count, "ms": ms}
        for kind, times in (("standard", [2.0, 8.0, 32.0]), ("performer", performer))
        for count, ms in zip((100, 400, 1600), times, strict=True)
    ]
    assert tool.pruned_dpt_page.crossover(rows, 1) == (pytest.approx(expected) if expected else None)
