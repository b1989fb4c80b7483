import base64
import hashlib
import os
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from distill.report.charts import line_chart
from distill.report.page import chart_section, origin_sections, pictures_section, results_section, write_page
from distill.report.pictures import Panel, depth_scale
from distill.report.tables import Row

SCRIPT = "\"'><script>alert(1)</script>"
VOID = {"meta", "link", "img", "input", "wbr"}


class Outline(HTMLParser):
    """Reads a page: every element, and a complaint where one is not closed."""

    def __init__(self):
        super().__init__()
        self.elements, self.open, self.faults = [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def picture(height=12, width=16):
    return np.full((height, width, 3), 90, np.uint8)


def content(**changes):
    """Title, lead and sections of a page that has everything, but for some changes."""
    panels = [Panel(f"image {i}", {"Input": picture(), "Student": picture()}, "abs_rel 0.1") for i in range(2)]
    parts = {
        "title": "A run",
        "lead": "It went well.",
        "rows": [Row("teacher", {"abs_rel": 0.1}, "3fa9c1d27b40"), Row("student", {"abs_rel": 0.2}, "3fa9c1d27b40")],
        "protocol": "nyu_eigen",
        "charts": [line_chart({"loss": [(0, 2), (1, 1)]}, title="Losses")],
        "panels": panels,
        "worst": [Panel("image 9", {"Input": picture()}, scales=(depth_scale(1, 10),))],
        "config_text": "seed: 0\n",
        "environment": {"torch": "2.4"},
        "command": "distill train a.yaml",
        "notes": ["A remark."],
        **changes,
    }
    return [
        parts["title"],
        parts["lead"],
        [
            results_section(parts["rows"], parts["protocol"], parts["notes"]),
            pictures_section("Pictures", parts["panels"]),
            pictures_section("Worst images", parts["worst"]),
            chart_section("Curves", parts["charts"]),
            *origin_sections(parts["environment"], parts["command"], parts["config_text"]),
        ],
    ]


def written(path, **changes):
    write_page(path / "report.html", *content(**changes))
    text = (path / "report.html").read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(text)
    assert not outline.faults
    assert not outline.open
    return text, outline


def test_everything_set_is_on_the_page(tmp_path):
    text, outline = written(tmp_path)
    alts = [image["alt"] for image in outline.all("img")]
    assert alts == [f"{label}, image {i}" for i in range(2) for label in ("Input", "Student")] + ["Input, image 9"]
    for part in ("A run", "It went well.", "nyu_eigen", "3fa9c1d27b40", "seed: 0", "2.4", "distill train", "A remark."):
        assert part in text
    assert len(outline.all("svg")) == 1


def test_the_page_asks_the_network_for_nothing(tmp_path):
    text, outline = written(tmp_path)
    without_names = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?://|@import|url\(|srcset", without_names)
    for _, attrs in outline.elements:
        address = attrs.get("src") or attrs.get("href") or "#"
        assert address.startswith(("data:", "#"))
    assert "default-src 'none'" in text


def test_a_hostile_text_stays_text(tmp_path):
    row, panel = Row(SCRIPT, {"d1": 1.0}, SCRIPT, {SCRIPT: SCRIPT}), Panel(SCRIPT, {SCRIPT: picture()}, SCRIPT)
    texts = dict.fromkeys(("title", "protocol", "config_text", "command"), SCRIPT)
    options = {"lead": SCRIPT + " $title", "environment": {SCRIPT: SCRIPT}, "notes": [SCRIPT]}
    text, outline = written(tmp_path, rows=[row], panels=[panel], worst=[panel], **texts, **options)
    assert text.count("<script") == 1  # the page's own
    assert not [name for _, attrs in outline.elements for name in attrs if name.startswith("on")]
    assert "$title" in text


def test_no_script_but_the_pages_own_may_run(tmp_path):
    text, _ = written(tmp_path)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'\"" in text


def test_pictures_to_compare_lie_under_one_slider_and_nowhere_else(tmp_path):
    pictures = {label: picture() for label in ("image", "truth", "teacher", "student", "error")}
    panel = Panel("street", pictures, compare=("teacher", "student", "truth"))
    _, outline = written(tmp_path, panels=[panel], worst=[])
    assert [image["alt"].split(",")[0] for image in outline.all("img")] == ["image", *panel.compare, "error"]
    (slider,) = outline.all("input")
    assert slider["aria-label"] == "From teacher over student over truth: street"
    _, outline = written(tmp_path, panels=[Panel("street", pictures, compare=("student",))], worst=[])
    assert not outline.all("input")


def test_headings_step_down_one_level_at_a_time_and_anchors_exist(tmp_path):
    text, outline = written(tmp_path)
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    ids = [attrs["id"] for _, attrs in outline.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in outline.all("a")} <= set(ids)
    assert '<html lang="en">' in text


def test_whatever_scrolls_can_be_reached_by_keyboard_and_has_a_name(tmp_path):
    _, outline = written(tmp_path)
    boxes = [attrs for tag, attrs in outline.elements if tag == "pre" or attrs.get("class") == "scroll"]
    assert len(boxes) == 4
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def test_a_section_without_content_is_left_out(tmp_path):
    bare = {"rows": [], "charts": [], "panels": [], "worst": [], "config_text": ""}
    _, outline = written(tmp_path, notes=(), **bare)
    assert [section["id"] for section in outline.all("section")] == ["environment", "reproduce"]
    _, outline = written(tmp_path, **bare)
    assert [section["id"] for section in outline.all("section")] == ["results", "environment", "reproduce"]


def test_a_large_picture_is_embedded_smaller(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (50, 4000, 3), np.uint8)
    text, outline = written(tmp_path, panels=[Panel("a", {"Input": noise})], worst=[])
    assert len(text) < 60_000
    assert outline.all("img")[0]["width"] == "4000"  # the shape that the browser reserves


def test_models_of_two_protocols_make_no_section():
    with pytest.raises(ValueError, match=r"'a'.*'b'"):
        results_section([Row("a", {}, "1"), Row("b", {}, "2")], "nyu_eigen")


def test_an_interrupted_write_leaves_the_page_as_it_was(tmp_path, monkeypatch):
    before, _ = written(tmp_path)

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_page(tmp_path / "report.html", *content(title="Another"))
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before


def test_a_file_name_that_utf8_cannot_hold_does_not_lose_the_page(tmp_path):
    text, _ = written(tmp_path, notes=["frame\udcff.png"])
    assert "frame?.png" in text
