"""Whatever a name holds is shown as it is, and controls nothing."""

from types import SimpleNamespace

import pytest

from distill.console import display, inform, printable, text_column, warn
from distill.report.tables import terminal_table

NAMES = ["photo [copy].png", "a[/b]/c", "[red]x", ":smile: 12:30", "grün δ 深度"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_markup(capsys, name):
    display(name)
    display(terminal_table([["image"], [name]], title=name, caption=name))
    inform(name)
    warn(name)
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0] == name
    assert shown.out.count(name) == 4
    assert shown.err.splitlines() == [name, name]
    assert text_column("{task.description}").render(SimpleNamespace(description=name)).plain == name


@pytest.mark.parametrize("control", ["\x1b[31m", "\x1b]0;title\x07", "\r", "\x9b2J", "\u202e", "\udcff"])
def test_what_controls_a_terminal_or_has_no_encoding_is_shown_as_its_escape(capsys, control):
    display(f"a{control}b")
    display(terminal_table([["image"], [f"a{control}b"]]))
    inform(f"a{control}b")
    shown = capsys.readouterr()
    assert control not in shown.out + shown.err
    assert shown.out.splitlines()[0] == shown.err.splitlines()[0] == printable(f"a{control}b")
    assert printable(f"a{control}b").startswith("a\\")


def test_a_long_line_is_not_broken(capsys):
    display("word " * 100)
    assert len(capsys.readouterr().out.splitlines()) == 1
