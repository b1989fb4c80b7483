import errno
import json
import sys
import threading
import time

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from distill.console import StepProgress
from distill.engine.tracking import Announcer, Tracker, record_number, report_thread


@pytest.fixture
def lines(tmp_path):
    """lines(): the records of metrics.jsonl."""
    return lambda: [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def no_tensorboard(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def test_a_record_holds_its_kind_step_and_values(tmp_path, lines):
    tracker = Tracker(tmp_path)
    tracker.log("train", 1, {"loss": 2.5})
    tracker.close()
    (record,) = lines()
    assert record.pop("seconds") >= 0
    assert record == {"kind": "train", "step": 1, "loss": 2.5}
    assert list(tmp_path.glob("events.*"))


@pytest.mark.filterwarnings("ignore:TensorBoard is off")
def test_a_record_is_on_disk_at_once(tmp_path, lines, no_tensorboard):
    Tracker(tmp_path).log("val", 1, {"rmse": 1.0})
    assert lines()[0]["rmse"] == 1.0


@pytest.mark.filterwarnings("ignore:TensorBoard is off")
def test_a_resumed_run_drops_torn_lines_and_those_behind_its_checkpoint(tmp_path, lines, no_tensorboard):
    records = [f'{{"kind": "train", "step": {step}, "loss": 1}}' for step in (1, 2, 3, 4)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*records[:3], "\x00\x00", "[3]", *records[3:], '{"kind": "tr']))
    tracker = Tracker(tmp_path, step=2)
    tracker.log("train", 3, {"loss": 7})
    assert [(record["step"], record["loss"]) for record in lines()] == [(1, 1), (2, 1), (3, 7)]


@pytest.mark.filterwarnings("ignore:TensorBoard is off")
@pytest.mark.parametrize("seconds", ["null", '"soon"', "Infinity", "[1]"])
def test_records_that_are_damaged_do_not_stop_a_run(tmp_path, lines, no_tensorboard, seconds):
    record = b'{"kind": "train", "step": 1, "seconds": %s}' % seconds.encode()
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\n" + b"[" * 100_000 + b"\n" + record)
    Tracker(tmp_path, step=1).log("train", 2, {"loss": 7})
    assert [record["step"] for record in lines()] == [1, 2]
    assert lines()[1]["seconds"] >= 0


def test_tensorboard_keeps_the_step_that_a_run_resumes_from_and_forgets_later_ones(tmp_path):
    for start, value in ((0, 1.0), (2, 7.0)):
        tracker = Tracker(tmp_path, step=start)
        for step in range(start + 1, 4):
            tracker.log("train", step, {"loss": value})
        tracker.close()
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("train/loss")
    assert [(event.step, event.value) for event in events] == [(1, 1.0), (2, 1.0), (3, 7.0)]


@pytest.mark.filterwarnings("ignore:TensorBoard is off")
def test_the_clock_of_a_resumed_run_goes_on(tmp_path, lines, no_tensorboard, monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 5000.0)
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "step": 1, "seconds": 100.0}\n')
    Tracker(tmp_path, step=1).log("train", 2, {})
    assert lines()[1]["seconds"] == 100


@pytest.mark.filterwarnings("ignore:TensorBoard is off")
def test_records_that_cannot_be_written_are_reported_lost_once_and_the_run_goes_on(
    tmp_path, lines, recwarn, no_tensorboard
):
    folder = tmp_path / "run"
    folder.mkdir()
    tracker = Tracker(folder)
    folder.rmdir()
    folder.write_text("in the way")
    for step in (1, 2):
        tracker.log("train", step, {})
    folder.unlink()
    tracker.log("train", 3, {})
    assert [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [3]
    assert sum("records of the run are lost" in str(warning.message) for warning in recwarn) == 1


@pytest.mark.parametrize("line", ["", "{", "3", "null", '{"loss": 1}', '{"step": "x"}'])
def test_a_line_without_a_step_lies_behind_every_checkpoint(line):
    assert record_number(line, "step") == float("inf")


def test_without_tensorboard_a_run_is_warned_and_goes_on(tmp_path, lines, no_tensorboard):
    with pytest.warns(UserWarning, match="TensorBoard is off for the rest of this run"):
        tracker = Tracker(tmp_path)
    tracker.log("train", 1, {"loss": 1.0})
    tracker.picture("panel", 1, np.zeros((2, 2, 3), np.uint8))
    tracker.close()
    assert len(lines()) == 1


def test_losing_tensorboard_is_reported_once_and_the_run_goes_on(tmp_path, lines, monkeypatch, recwarn):
    tracker = Tracker(tmp_path)

    def full_disk(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(tracker.writer, "add_scalar", full_disk)
    for step in (1, 2):
        tracker.log("train", step, {"loss": 1.0})
    tracker.close()
    assert [str(warning.message) for warning in recwarn if "TensorBoard" in str(warning.message)] == [
        "TensorBoard is off for the rest of this run: No space left on device"
    ]
    assert len(lines()) == 2


def test_a_thread_of_tensorboard_that_fails_says_nothing_by_itself(monkeypatch):
    said = []
    monkeypatch.setattr(threading, "__excepthook__", said.append)
    full = OSError(errno.ENOSPC, "No space left on device")
    for kind in (event_file_writer._AsyncWriterThread(None, None, 0), threading.Thread()):
        report_thread(threading.ExceptHookArgs((OSError, full, None, kind)))
    assert [type(failure.thread) for failure in said] == [threading.Thread]


def test_other_processes_write_nothing(tmp_path):
    tracker = Tracker(tmp_path, active=False)
    tracker.log("train", 1, {"loss": 1.0})
    tracker.picture("panel", 1, np.zeros((2, 2, 3), np.uint8))
    tracker.close()
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_the_end_is_reported_in_one_line(capsys):
    with StepProgress(total=3, done=0, title="training") as progress:
        for step in (1, 2, 3):
            progress.update(step, f"loss {step}.0")
    assert capsys.readouterr().err == "training: step 3 of 3, loss 3.0\n"


def test_what_is_wrong_is_reported_once(capsys):
    announce = Announcer(lambda record: {key: f"{key} is {value:g}" for key, value in record.items() if value > 1})
    for record in ({"a": 0.5}, {"a": 2.0}, {"a": 3.0, "b": 4.0}):
        announce(record)
    assert capsys.readouterr().err.splitlines() == ["a is 2", "b is 4"]
