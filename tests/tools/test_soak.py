import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import soak
from forked_runs import launch
from soak import Mark


def test_the_last_half_is_compared_with_the_first_in_time_and_the_last_epoch_with_the_second_in_memory():
    times, memory = [5.0, 15.0, 25.0, 38.0, 50.0], [90, 100, 200, 205, 210]
    marks = [Mark(100 + 1000 * i, *one) for i, one in enumerate(zip(times, memory, strict=True))]
    dearer, grown = soak.judge(marks)
    assert dearer == pytest.approx(0.25)  # 12.5 ms an image instead of 10
    assert grown == pytest.approx(0.05)


def test_a_run_is_watched_from_its_first_record_to_its_last_epoch(tmp_path):
    config, run = tmp_path / "config.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(soak.configuration(8, 2)))
    marks = soak.watch(launch(["train", str(config), "--output", str(run)], tmp_path / "run.log"), run)
    assert [mark.images for mark in marks] == [4, 8, 16]
    assert 0 < marks[0].seconds <= marks[-1].seconds
    assert marks[-1].memory > 2**20


def test_a_run_that_fails_is_no_proof(tmp_path):
    process = launch(["train", str(tmp_path / "none.yaml")], tmp_path / "run.log")
    with pytest.raises(RuntimeError, match="the run ended with 2: distill: no configuration"):
        soak.watch(process, tmp_path / "run")
