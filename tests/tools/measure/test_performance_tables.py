import json
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def output(tool, tmp_path, monkeypatch):
    """A folder with a page, and rows measured in no time."""

    def measure(row, steps, teacher):
        calls.append(row)
        figures = {"images": row["batch"], "step_ms": 500.0, "floor_ms": 400.0, "parts_ms": {"data wait": 5.0}}
        return row | figures | {"memory_gib": 3.14, "machine": {"device": "some CPU", "PyTorch": "2.11"}}

    calls = []
    monkeypatch.setattr(tool, "measure", measure)
    (tmp_path / "performance.md").write_text(
        "Before.\n<!-- begin: tools/measure/performance_tables.py --><!-- end -->\nAfter.\n"
    )
    return tmp_path, calls


WORDS = ["--students", "resnet18", "--sizes", "352x704", "--compile", "off", "--batch", "2"]


def test_the_page_has_speed_floor_wait_and_memory_of_every_row(tool, output):
    folder, calls = output
    assert tool.main([*WORDS, "--output", str(folder)]) == 0
    text = (folder / "performance.md").read_text()
    assert text.startswith("Before.")
    assert text.endswith("After.\n")
    assert "some CPU, PyTorch 2.11:" in text
    assert "| resnet18 | 352x704 | 2 | fp32 | off | 4.00 | 5.00 | 1.25 | 1.0% | 3.1 |" in text
    assert [row["precision"] for row in calls] == ["no", "bf16"]


def test_the_page_of_this_project_has_the_figures_that_are_kept(tool):
    pages = Path(__file__).parents[3] / "docs" / "why"
    rows = json.loads((pages / "performance.json").read_text())
    assert tool.body(rows) in (pages / "performance.md").read_text()


def test_rows_that_are_there_are_not_measured_again(tool, output):
    folder, calls = output
    for _ in range(2):
        tool.main([*WORDS, "--output", str(folder)])
    tool.main([*WORDS, "--sizes", "352x1120", "--precisions", "no", "--output", str(folder)])
    assert len(calls) == len(json.loads((folder / "performance.json").read_text())) == 3


def test_no_row_is_begun_after_its_time(tool, output):
    folder, calls = output
    assert tool.main([*WORDS, "--seconds", "0", "--output", str(folder)]) == 0
    assert calls == []


def test_a_row_has_the_figures_of_its_run(tool, load_tool, micro_weights, monkeypatch, other_precision):
    profile_step = load_tool("measure/profile_step.py")  # in this process, of which the imports are spared
    monkeypatch.setattr("subprocess.run", lambda command, check: profile_step.main(command[2:]))
    row = {"device": "CPU", "student": "test_efficientnet", "size": "32x64", "batch": 1, "precision": "bf16"}
    teacher = ["teacher.name=dpt_micro", f"teacher.checkpoint={micro_weights}", "data.workers=0"]
    measured = tool.measure(row | {"compiled": "off"}, 1, teacher)
    assert measured["student"] == "test_efficientnet"
    assert min(measured["step_ms"], measured["floor_ms"], measured["memory_gib"]) > 0


def test_a_row_that_fails_ends_the_command(tool, output, monkeypatch, capsys):
    def fail(row, steps, teacher):
        raise subprocess.CalledProcessError(2, "profile_step")

    monkeypatch.setattr(tool, "measure", fail)
    assert tool.main([*WORDS, "--output", str(output[0])]) == 1
    assert "exit code 2" in capsys.readouterr().err
