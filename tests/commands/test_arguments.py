"""What the options for files refuse before any work is done."""

import os
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from distill.commands.arguments import beginning_with, check_folder, check_outputs, json_with, page_of
from distill.console import display
from distill.errors import UserError
from distill.files import write_json
from distill.report.page import write_page

KINDS = {
    "json": (
        json_with("flops"),
        '{"flops": ""}',
        ["[]", "{}", '{"name": 1}', "[" * 10**5, "a.png b.png"],
    ),
    "csv": (beginning_with("name,way"), "name,way,x\n", ["name,image\n", "\x00\x01"]),
    "report": (page_of("benchmark"), None, ["<html>my page</html>"]),
}


def check(tmp_path, option, content):
    path = tmp_path / "file"
    path.write_text(content)
    check_outputs(Namespace(**{option: path}), **{option: KINDS[option][0]})


@pytest.mark.parametrize("option", KINDS)
def test_only_what_the_option_itself_wrote_is_replaced(tmp_path, option):
    own, others = KINDS[option][1:]
    if own is None:
        write_page(tmp_path / "page", "Benchmark", "", [], "benchmark")
        own = (tmp_path / "page").read_text()
    check(tmp_path, option, own)
    for content in others:
        with pytest.raises(UserError, match=f"--{option} .*would replace a file.*another name"):
            check(tmp_path, option, content)


def test_an_empty_file_is_nobodys(tmp_path):
    check(tmp_path, "json", "")


def test_the_page_of_a_run_is_no_page_of_another_command(tmp_path):
    write_page(tmp_path / "report.html", "run", "", [])
    with pytest.raises(UserError, match="would replace"):
        check_outputs(Namespace(report=tmp_path / "report.html"), report=page_of("evaluate"))


def test_two_options_do_not_share_a_file(tmp_path):
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(UserError, match="--json and --csv are both"):
        check_outputs(Namespace(json=tmp_path / "a", csv=tmp_path / "link"), json=KINDS["json"][0], csv=KINDS["csv"][0])


@pytest.mark.parametrize("name", ["folder", "file/a.json", "x" * 300])
def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("text")
    with pytest.raises(UserError, match=r"--json .* cannot be written; give"):
        check_outputs(Namespace(json=tmp_path / name), json=KINDS["json"][0])
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_fifo_and_the_standard_output_can_be_given(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path / "fifo", tmp_path / "null"):
        check_outputs(Namespace(json=path), json=KINDS["json"][0])


def test_a_folder_that_is_read_or_holds_other_files_is_refused(tmp_path):
    (tmp_path / "image").mkdir()
    (tmp_path / "link").symlink_to("image")
    with pytest.raises(UserError, match=r"--output .* is a folder that is read"):
        check_folder(tmp_path / "link", "--output", [tmp_path / "image"], [])
    (tmp_path / "a.png").write_text("mine")
    with pytest.raises(UserError, match=r"a\.png is there already"):
        check_folder(tmp_path, "--output", [], [tmp_path / "b.png", tmp_path / "a.png"])
    check_folder(tmp_path / "new", "--output", [tmp_path / "image"], [tmp_path / "new" / "a.png"])


def test_what_goes_to_the_standard_output_is_alone_there(monkeypatch, capfd):
    monkeypatch.setattr("sys.stdout", sys.stdout)
    check_outputs(Namespace(json=Path("/dev/stdout")), json=KINDS["json"][0])
    display("a table")
    write_json(Path("/dev/stdout"), 1)
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("1\n", "a table\n")
