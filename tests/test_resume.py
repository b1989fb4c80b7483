"""A run twice, stopped and continued, or killed: its weights are those of one that was left alone."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from distill import build, run
from distill.cli import main
from distill.engine.checkpoint import Checkpoints
from students import create_student


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def read_json(path):
    return json.loads(path.read_text())


def last_state(folder):
    return Checkpoints(folder / "checkpoints").load()


@pytest.fixture
def stop_at(monkeypatch):
    """stop_at(step, signal): the process gets this signal while it works on that step."""

    def arrange(step, number=signal.SIGTERM):
        asked = []

        def consult(*given):
            asked.append(given)
            if len(asked) == step:
                os.kill(os.getpid(), number)
            return asker(*given)

        monkeypatch.setattr(run, "consult", consult)

    asker = run.consult
    yield arrange
    monkeypatch.setattr(run, "consult", asker)


@pytest.fixture
def noisy_student(monkeypatch):
    """Students draw random numbers while they train, as dropout does."""

    def create(*given, **options):
        student = create_student(*given, **options)
        student.encoder.register_forward_hook(
            lambda module, _, maps: [m + 0.1 * torch.randn_like(m) for m in maps] if module.training else maps
        )
        return student

    monkeypatch.setattr(build, "create_student", create)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(train, finished, weights, assert_same, tmp_path):
    (tmp_path / "empty").mkdir()
    again = train("--resume", output=tmp_path / "empty")  # without a checkpoint it starts afresh
    assert_same(weights(again), weights(finished))
    assert_same(last_state(again)["module"], last_state(finished)["module"])
    other = weights(train("seed=1", output=tmp_path / "other"))
    assert any(not torch.equal(other[key], value) for key, value in weights(finished).items())


def test_the_number_of_workers_changes_nothing(train, finished, weights, assert_same):
    assert_same(weights(train("data.workers=2")), weights(finished))


@pytest.mark.parametrize("step", [1, 3])
def test_a_stopped_run_continues_as_if_it_had_not_been(
    train, finished, config_file, tmp_path, weights, assert_same, stop_at, step
):
    stop_at(step)
    assert main(["train", str(config_file), "--output", str(tmp_path / "run")]) == 143
    assert last_state(tmp_path / "run")["state"]["step"] == step
    folder = train("--resume")
    assert_same(weights(folder), weights(finished))
    assert_same(last_state(folder)["module"], last_state(finished)["module"])
    told = [[(r["kind"], r["step"], r.get("loss"), r.get("abs_rel")) for r in records(f)] for f in (folder, finished)]
    assert told[0] == told[1]


def test_random_numbers_inside_a_network_continue_too(
    train, config_file, tmp_path, weights, assert_same, stop_at, noisy_student
):
    undisturbed = train("method.name=output", output=tmp_path / "undisturbed")
    stop_at(2)
    command = ["train", str(config_file), "method.name=output", "--output", str(tmp_path / "run")]
    assert main(command) == 143
    assert_same(weights(train("method.name=output", "--resume")), weights(undisturbed))


def test_a_damaged_checkpoint_costs_the_steps_behind_the_one_before(
    train, finished, config_file, tmp_path, weights, assert_same, stop_at
):
    stop_at(3)
    every = "train.checkpoint_every=1"
    assert main(["train", str(config_file), every, "--output", str(tmp_path / "run")]) == 143
    (tmp_path / "run" / "checkpoints" / "step-000000003" / "state.pt").write_bytes(b"")
    with pytest.warns(UserWarning, match="step-000000003 is damaged"):
        folder = train(every, "--resume")
    assert_same(weights(folder), weights(finished))


def test_a_run_that_was_killed_while_it_wrote_its_report_writes_it(train, own_run, config_file):
    page = (own_run / "report.html").stat().st_size
    for name in ("done.json", "results.json", "report.html"):
        (own_run / name).unlink()
    saved = yaml.safe_load((own_run / "config.yaml").read_text())
    train("--resume", output=own_run)
    assert read_json(own_run / "done.json")["step"] == 4
    assert (own_run / "report.html").stat().st_size == pytest.approx(page, rel=0.1)
    assert yaml.safe_load((own_run / "config.yaml").read_text()) == saved | {"output": str(own_run)}


def test_resuming_a_finished_run_changes_nothing(finished, config_file, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert main(["train", str(config_file), "--output", str(finished), "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before
    assert str(finished / "report.html") in capsys.readouterr().out


def test_a_run_is_not_resumed_under_another_configuration(finished, config_file, refused):
    said = refused("train", config_file, "optim.lr=0.5", "seed=3", "--output", finished, "--resume")
    assert "was started with another configuration" in said
    assert "optim.lr was 0.001, now 0.5" in said
    assert "seed was 0, now 3" in said
    assert "output was" not in said


def test_a_run_in_use_is_refused_and_its_lock_stays(own_run, config_file, refused):
    (own_run / "done.json").unlink()
    (own_run / "run.lock").write_text(f"{os.getppid()} {os.uname().nodename}\n")
    said = refused("train", config_file, "--output", own_run, "--resume")
    assert f"is in use by process {os.getppid()}" in said
    assert (own_run / "run.lock").exists()


def test_a_run_refused_while_it_is_put_together_leaves_no_trace(config_file, tmp_path, refused, finished):
    wrong = f"teacher.checkpoint={finished / 'student' / 'model.safetensors'}"
    refused("train", config_file, wrong, "--output", tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_checkpoint_that_cannot_be_written_does_not_stop_the_run(train, monkeypatch, capsys):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "save", full_disk)
    folder = train("method.name=supervised")
    assert "checkpoint not written ([Errno 28] No space left on device)" in capsys.readouterr().err
    assert read_json(folder / "done.json")["step"] == 4


@pytest.fixture(scope="module")
def stopped(config_file, tmp_path_factory):
    """Exit code, error output and folder of two long runs in processes of their own, ended by a signal each."""
    processes = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        folder = tmp_path_factory.mktemp("stopped") / "run"
        words = ["train", config_file, "train.steps=100000", "train.validate_every=100000", "--output", folder]
        process = subprocess.Popen(
            [sys.executable, "-m", "distill", *map(str, words)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        processes[number] = (process, folder)
    found = {}
    for number, (process, folder) in processes.items():
        deadline = time.monotonic() + 120
        while not ((folder / "metrics.jsonl").is_file() and records(folder)) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
        found[number] = (process.returncode, said, folder)
    return found


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_process_with_its_code_and_the_state_saved(stopped, number, code):
    returned, said, folder = stopped[number]
    assert returned == code, said
    assert said.splitlines()[-1].startswith(f"distill: stopped by {number.name}; the state is saved")
    assert "Traceback" not in said
    assert last_state(folder)["state"]["step"] >= 1
    assert not (folder / "run.lock").exists()
    assert not (folder / "done.json").exists()
