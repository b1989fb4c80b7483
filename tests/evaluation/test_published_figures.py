"""Published figures: every table of the file is whole, and stands beside a result only by the same rules."""

import math

import pytest
from pydantic import ValidationError

from distill.evaluation import MEASURES, PROTOCOLS, Evaluation, ImageScore
from distill.evaluation.published_figures import PublishedTable, published_tables, tables_beside
from distill.pages.evaluation_page import published_rows, source_lines
from distill.report.tables import html_table, markdown_table

TABLE = {
    "title": "A paper",
    "url": "https://example.org/a",
    "table": "3",
    "data": "nyu",
    "metrics": ["abs_rel", "d1"],
    "models": {"net": [0.1, 0.9]},
}


def result(protocol, images):
    score = ImageScore("a", dict.fromkeys(MEASURES, 0.5), 9, 0)
    return Evaluation(PROTOCOLS[protocol], (score,) * images)


def test_every_table_can_be_read_and_says_where_it_stands():
    tables = published_tables()
    assert len({(table.url, table.table) for table in tables}) == len(tables)
    known = {"AdaBins", "DPT", "DisDepth", "MiDaS", "ZipDepth", "UniDepth", "Metric3D", "ZoeDepth"}
    assert known <= {table.title for table in tables}
    assert all(table.models for table in tables)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": {"net": [0.1]}}, "1 figures for 2 metrics"),
        ({"models": {"net": [0.1, 90.0]}}, "at most 1"),
        ({"models": {"net": [-0.1, 0.9]}}, "greater than 0"),
        ({"data": "mars"}, "no data set mars"),
        ({"protocol": "nyu_eigen"}, "what the source states"),
        ({"protocol": "ibims1", "stated": "all"}, "another data set"),
        ({"metrics": ["abs_rel", "joy"]}, "joy"),
        ({"url": "a book"}, "url"),
        ({"page": 3}, "page"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(change, message):
    PublishedTable.model_validate(TABLE)
    with pytest.raises(ValidationError, match=message):
        PublishedTable.model_validate(TABLE | change)


def test_figures_compare_only_by_the_same_rules_on_as_many_images():
    table = PublishedTable.model_validate(TABLE | {"stated": "all", "protocol": "nyu_eigen", "images": 2})
    assert table.compares(result("nyu_eigen", 2))
    assert not table.compares(result("nyu_eigen", 3))
    assert not table.compares(result("nyu_eigen_affine", 2))
    mirrored = table.model_copy(update={"options": {"tta": "flip"}})
    assert not mirrored.compares(result("nyu_eigen", 2))
    assert not PublishedTable.model_validate(TABLE).compares(result("nyu_eigen", 2))


def test_those_that_compare_stand_first_and_the_others_are_marked_and_faint():
    one = result("kitti_eigen_garg_full", 652)
    ours, first, *rest = published_rows("mine", one)
    assert (ours.name, first.name) == ("mine", "DPT-Hybrid, KITTI weights")
    assert first.fingerprint == ours.fingerprint == one.protocol.fingerprint
    assert {row.fingerprint for row in rest} == {None}
    assert math.isclose(first.metrics["rmse"], 2.575)
    assert "AdaBins †" in markdown_table([ours, first, *rest])
    assert html_table([ours, first, *rest]).count('<tr class="faint">') == len(rest)
    assert source_lines(one)[0] == "[1] DPT: https://github.com/isl-org/DPT/blob/main/EVALUATION.md"


def test_aligned_figures_stand_beside_aligned_results_alone():
    for protocol in ("nyu_eigen", "nyu_eigen_affine"):
        assert {table.relative for table in tables_beside(result(protocol, 1))} == {protocol.endswith("affine")}
    assert published_rows("mine", result("folder", 1)) == []
