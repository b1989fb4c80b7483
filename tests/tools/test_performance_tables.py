import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import performance_tables as tables
import profile_step


@pytest.fixture
def output(tmp_path, monkeypatch):
    """A folder with a page, and rows measured in no time."""

    def measure(row, steps, teacher):
        calls.append(row)
        figures = {"images": row["batch"], "step_ms": 500.0, "floor_ms": 400.0, "parts_ms": {"data wait": 5.0}}
        return row | figures | {"memory_gib": 3.14, "machine": {"device": "some CPU", "PyTorch": "2.11"}}

    calls = []
    monkeypatch.setattr(tables, "measure", measure)
    (tmp_path / "performance.md").write_text(
        "Before.\n<!-- begin: tools/performance_tables.py --><!-- end -->\nAfter.\n"
    )
    return tmp_path, calls


WORDS = ["--students", "resnet18", "--sizes", "352x704", "--compile", "off", "--batch", "2"]


def test_the_page_tells_speed_floor_wait_and_memory_of_every_row(output):
    folder, calls = output
    assert tables.main([*WORDS, "--output", str(folder)]) == 0
    text = (folder / "performance.md").read_text()
    assert text.startswith("Before.")
    assert text.endswith("After.\n")
    assert "some CPU, PyTorch 2.11:" in text
    assert "| resnet18 | 352x704 | 2 | fp32 | off | 4.00 | 5.00 | 1.25 | 1.0% | 3.1 |" in text
    assert [row["precision"] for row in calls] == ["no", "bf16"]


def test_the_page_of_this_project_tells_the_figures_that_are_kept():
    docs = Path(__file__).parents[2] / "docs"
    rows = json.loads((docs / "performance.json").read_text())
    assert tables.body(rows) in (docs / "performance.md").read_text()


def test_rows_that_are_there_are_not_measured_again(output):
    folder, calls = output
    for _ in range(2):
        tables.main([*WORDS, "--output", str(folder)])
    tables.main([*WORDS, "--sizes", "352x1120", "--precisions", "no", "--output", str(folder)])
    assert len(calls) == len(json.loads((folder / "performance.json").read_text())) == 3


def test_no_row_is_begun_after_the_time_given(output):
    folder, calls = output
    assert tables.main([*WORDS, "--seconds", "0", "--output", str(folder)]) == 0
    assert calls == []


def test_a_row_has_the_figures_of_its_run(micro_weights, monkeypatch, other_precision):
    # In this process, of which the imports are spared.
    monkeypatch.setattr("subprocess.run", lambda command, check: profile_step.main(command[2:]))
    row = {"device": "CPU", "student": "test_efficientnet", "size": "32x64", "batch": 1, "precision": "bf16"}
    teacher = ["teacher.name=dpt_micro", f"teacher.checkpoint={micro_weights}", "data.workers=0"]
    found = tables.measure(row | {"compiled": "off"}, 1, teacher)
    assert found["student"] == "test_efficientnet"
    assert min(found["step_ms"], found["floor_ms"], found["memory_gib"]) > 0


def test_a_row_that_fails_ends_the_command(output, monkeypatch, capsys):
    def fail(row, steps, teacher):
        raise subprocess.CalledProcessError(2, "profile_step")

    monkeypatch.setattr(tables, "measure", fail)
    assert tables.main([*WORDS, "--output", str(output[0])]) == 1
    assert "exit code 2" in capsys.readouterr().err
