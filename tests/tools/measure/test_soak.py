import sys

import psutil
import pytest
import yaml

from distill.config import load_config


def test_the_last_half_is_compared_with_the_first_in_time_and_the_last_epoch_with_the_second_in_memory(tool):
    times, memory = [5.0, 15.0, 25.0, 38.0, 50.0], [90, 100, 200, 205, 210]
    marks = [tool.Mark(100 + 1000 * i, *one) for i, one in enumerate(zip(times, memory, strict=True))]
    dearer, grown = tool.growth(marks)
    assert dearer == pytest.approx(0.25)  # 12.5 ms an image instead of 10
    assert grown == pytest.approx(0.05)


def test_what_is_run_is_a_configuration_of_so_many_epochs(tool, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tool.configuration(8, 2)))
    train = load_config(path).train
    assert (train.steps, train.validate_every, train.checkpoint_every) == (4, 2, 2)


@pytest.mark.slow
def test_a_run_is_watched_from_its_first_record_to_its_last_epoch(tool, tmp_path):
    config, run = tmp_path / "config.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(tool.configuration(8, 2)))
    marks = tool.watch(tool.start(config, run), run)
    assert [mark.images for mark in marks] == [4, 8, 16]
    assert 0 < marks[0].seconds <= marks[-1].seconds
    assert marks[-1].memory > 2**20


def test_a_run_that_fails_is_no_proof(tool, tmp_path):
    (tmp_path / "run.log").write_text("what it printed")
    with pytest.raises(RuntimeError, match="the run ended with 3: what it printed"):
        tool.watch(psutil.Popen([sys.executable, "-c", "raise SystemExit(3)"]), tmp_path / "run")
