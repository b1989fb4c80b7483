import pytest

from distill.cli import VERBS
from distill.config.schema import Config
from distill.method import METHODS


@pytest.fixture(scope="module")
def pages(tool):
    """Both pages as the code has them now: path -> text."""
    return tool.pages()


def test_the_reference_says_what_the_code_takes(pages):
    stale = [path.name for path, text in pages.items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run: python tools/make_reference.py"


def test_a_stale_page_is_named_with_the_command_that_mends_it(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, "REFERENCE", tmp_path)
    assert tool.main(["--check"]) == 1
    assert "commands.md is stale; run: python tools/make_reference.py" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0


def test_every_section_and_every_verb_has_its_place(pages):
    configuration, commands = pages.values()
    assert [name for name in Config.model_fields if f"`{name}" not in configuration] == []
    assert [verb for verb in VERBS if f"## distill {verb}\n" not in commands] == []


def test_names_that_only_a_validator_knows_are_listed(pages):
    configuration, _ = pages.values()
    row = next(line for line in configuration.splitlines() if line.startswith("| `method.name` |"))
    assert all(f"`{name}`" in row for name in METHODS)


def test_a_range_reads_as_words(tool):
    share = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
    assert tool.type_in_words(share) == "number from 0 below 1"
    count = {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "null"}]}
    assert tool.type_in_words(count) == "whole number above 0, or null"
