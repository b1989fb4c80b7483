"""What the pages of docs/ point at exists, and they read as they should: links, anchors, paths, words, widths."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SITE = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")), *SITE]
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED_PATH = re.compile(r"\b(?:configs|tools|tests|distill|teachers|students)/[a-z0-9_./-]+\.(?:yaml|py)\b")
NOT_OUR_WORDS = re.compile(r"\bjudg(?:e|es|ed|ing|ement|ements)\b", re.IGNORECASE)
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def name_of(page):
    return str(page.relative_to(ROOT))


def prose(page):
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page):
    """The anchor of every heading, as GitHub and MkDocs make it."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.fixture(params=PAGES, ids=name_of)
def page(request):
    return request.param


def test_every_link_leads_somewhere(page):
    for link in LINK.findall(prose(page)):
        path, _, anchor = link.partition("#")
        if not link.startswith(("http://", "https://", "mailto:")):
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_every_named_file_exists(page):
    named = set(NAMED_PATH.findall(page.read_text(encoding="utf-8")))
    assert sorted(path for path in named if not (ROOT / path).is_file()) == []


def test_the_words_are_those_of_the_field(page):
    assert NOT_OUR_WORDS.findall(page.read_text(encoding="utf-8")) == []


def test_lines_are_at_most_120_wide(page):
    lines = [line for line in prose(page).splitlines() if not line.lstrip().startswith(("|", "!["))]
    assert [line for line in lines if len(line) > 120] == []


def test_the_table_of_rooms_has_every_room():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = [f"`distill/{path.parent.name}/`" for path in (ROOT / "distill").glob("*/__init__.py")]
    assert [room for room in rooms if f"| {room}" not in text] == []


def test_the_navigation_of_the_site_has_every_page():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [str(page.relative_to(ROOT / "docs")) for page in SITE]
    assert [page for page in pages if f": {page}\n" not in navigation] == []
