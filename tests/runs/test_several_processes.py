"""Several processes carry out one run: it is the run of one process, and ends with all of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from forked_runs import free_port, launch, launch_group
from run_files import records

from distill.engine.checkpoint import Checkpoints

STEPS = 50
FAULTY = Path(__file__).parent / "faulty_rank.py"
TEST_IMAGES = 3  # which two processes cannot share evenly


@pytest.fixture(scope="module")
def config(content, tmp_path_factory):
    """A run of 50 steps of two micro-batches each."""
    data = {"name": "scenes", "scenes": {"train": 8, "test": TEST_IMAGES, "size": [32, 64]}, "workers": 0}
    train = {"batch_size": 4, "micro_batch": 2, "steps": STEPS, "validate_every": 25, "log_every": 1}
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text(yaml.safe_dump(content | {"data": data, "train": train, "eval": {"pictures": 0}}))
    return path


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    """The folder of that run, carried out by one process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    process = launch(["train", str(config), "--output", str(folder)], folder.with_suffix(".log"))
    process.join()
    assert process.exitcode == 0, folder.with_suffix(".log").read_text()
    return folder


@pytest.fixture
def start(config, tmp_path):
    """start(count, *words): that many processes of the same run, in a folder of its own."""
    started = []

    def group(count, *words):
        command = ["train", str(config), *words, "--output", str(tmp_path / "run")]
        started.extend(launch_group(command, tmp_path / "log", count))
        return started

    yield group
    for process in started:
        process.kill()


def wait_for(folder, count):
    deadline = time.monotonic() + 120
    while len(records(folder)) < count and time.monotonic() < deadline:
        time.sleep(0.01)


def end(processes, seconds=60):
    for process in processes:
        process.join(seconds)
    return [process.exitcode for process in processes]


def assert_same_run(folder, other):
    """The same weights in every bit; running statistics, which are added up in another order, and metrics nearly."""
    one, two = (Checkpoints(path / "checkpoints").load()["module"] for path in (folder, other))
    assert one.keys() == two.keys()
    for key, value in one.items():
        if "running_" in key:
            assert torch.allclose(value, two[key], rtol=1e-4), key
        else:
            assert torch.equal(value, two[key]), key
    scores = [[r["rmse"] for r in records(path) if r["kind"] == "val"] for path in (folder, other)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)
    losses = [[r["loss"] for r in records(path) if r["kind"] == "train"] for path in (folder, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_two_processes_stop_together_and_one_goes_on_to_the_same_weights(start, alone, tmp_path):
    folder = tmp_path / "run"
    processes = start(2)
    wait_for(folder, 30)
    os.kill(processes[1].pid, signal.SIGTERM)  # the main process learns of it from the other
    assert end(processes) == [143, 143]
    state = Checkpoints(folder / "checkpoints").load()["state"]
    assert STEPS > state["step"] >= 28
    assert state["validated"] == 25
    assert "stopped by SIGTERM; the state is saved" in (tmp_path / "log.0").read_text()
    assert "step 25: abs_rel" in (tmp_path / "log.0").read_text()
    assert "step 25: abs_rel" not in (tmp_path / "log.1").read_text()  # one process talks
    assert end(
        [launch(["train", str(folder / "config.yaml"), "--resume", "--output", str(folder)], tmp_path / "log")]
    ) == [0]
    assert_same_run(folder, alone)


def test_a_process_that_is_killed_ends_the_other_with_its_traceback(start, tmp_path):
    processes = start(2)
    wait_for(tmp_path / "run", 1)
    processes[1].kill()
    assert end(processes) == [1, -signal.SIGKILL]
    assert "Traceback" in (tmp_path / "log.0").read_text()
    assert not (tmp_path / "run" / "run.lock").exists()


def torchrun(log, *words):
    """Start PyTorch's own launcher."""
    command = [sys.executable, "-m", "torch.distributed.run", *map(str, words)]
    with log.open("w") as file:
        return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=file, stderr=file)


def test_a_process_that_raises_ends_the_other_within_a_minute_with_its_traceback_first(config, tmp_path):
    words = ["raise", "train", str(config), "train.steps=100000", "--output", str(tmp_path / "run")]
    processes = launch_group(words, tmp_path / "log", 2, FAULTY)
    wait_for(tmp_path / "run", 2)
    try:
        assert end(processes[::-1]) == [1, 1]  # each is given a minute
    finally:
        for process in processes:
            process.kill()
    other, failed = ((tmp_path / f"log.{rank}") for rank in (0, 1))
    assert "RuntimeError: a fault of process 1" in failed.read_text()
    assert "Traceback" in other.read_text()
    assert failed.stat().st_mtime_ns < other.stat().st_mtime_ns
    assert len(records(tmp_path / "run")) == 2


def test_a_step_without_finite_gradient_on_one_process_is_skipped_by_all(config, tmp_path):
    words = ["nan", "train", str(config), "train.steps=4", "train.validate_every=4", "--output", str(tmp_path / "run")]
    assert end(launch_group(words, tmp_path / "log", 2, FAULTY)) == [0, 0]
    (path,) = (tmp_path / "run" / "faults").iterdir()
    fault = json.loads(path.read_text())
    assert fault["step"] == 3
    assert [(one["process"], len(one["images"])) for one in fault["batch"]] == [(0, 2), (1, 2)]
    assert json.loads((tmp_path / "run" / "done.json").read_text())["skipped_steps"] == 1
    assert all(record["loss"] > 0 for record in records(tmp_path / "run") if record["step"] == 4 and "loss" in record)


def test_two_machines_that_share_a_teacher_but_no_disk_carry_out_the_same_run(config, alone, tmp_path):
    point, processes = f"127.0.0.1:{free_port()}", []
    for machine in ("one", "two"):
        words = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint={point}"]
        words += ["--local-addr=127.0.0.1", "-m", "distill", "train", config, "teacher.shard=true"]
        processes.append(torchrun(tmp_path / f"{machine}.log", *words, "--output", tmp_path / machine))
    codes = [process.wait(240) for process in processes]
    assert codes == [0, 0], [(tmp_path / f"{machine}.log").read_text() for machine in ("one", "two")]
    (folder,) = [tmp_path / machine for machine in ("one", "two") if (tmp_path / machine).exists()]
    assert json.loads((folder / "done.json").read_text())["processes"] == 2
    assert_same_run(folder, alone)
