"""What the pages of docs/ point at exists, and they read as they should: links, anchors, paths, words, widths."""

import re
import subprocess
from pathlib import Path

import pytest

from distill.ablation.preset import load_preset
from distill.cli import parse
from distill.config import load_config

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


# Blocks of shell without what would do something: `distill` shows its words, and everything but it is left out.
SHOW = "distill() { printf '%s\\n' \"$@\" '#'; }\n"
ALONE = re.compile(r"(?:[A-Z0-9]+=|distill\s+[a-z]+ )[^>|]*")
PLACEHOLDER = re.compile(r"\[options\]|\[section\.key|[A-Z]\.json|CONFIG\.yaml|check\|prepare|<|DIR\b")


def commands(page):
    """The words of every `distill` command in the blocks of a page, as a shell splits them."""
    blocks = "\n".join(FENCE.findall(page.read_text(encoding="utf-8"))).replace("\\\n", " ")
    lines = [line.strip() for line in blocks.splitlines()]
    matches = [ALONE.match(line) for line in lines if not PLACEHOLDER.search(line)]
    script = SHOW + "\n".join(match[0] for match in matches if match)
    shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd="/").stdout
    return [words.splitlines() for words in shown.split("#\n") if words]


def test_every_command_is_one_that_the_command_line_takes(page):
    """Its options are known, and its configuration is there and takes its keys; what it reads is not looked at."""
    for words in commands(page):
        args = parse(words)
        assert args.verb == words[0]
        if words[0] == "train":
            load_config(ROOT / args.config, args.overrides)
        elif words[0] == "ablate":
            load_preset(ROOT / args.preset, args.overrides)


def test_the_commands_of_the_pages_are_met():
    assert len(commands(ROOT / "README.md")) > 5
    assert sum(len(commands(page)) for page in SITE) > 50
