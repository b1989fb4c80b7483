"""Several processes carry out one run: it is the run of one process, and ends with all of them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from forked_runs import free_port, launch, launch_group
from run_files import records

from distill.cli import main
from distill.engine.checkpoint import Checkpoints

STEPS = 6
FAULTY = Path(__file__).parent / "faulty_rank.py"
TEST_IMAGES = 3  # which two processes cannot share evenly
PLAIN = "method.name=supervised"  # for what is the same with a teacher and without


@pytest.fixture(scope="module")
def config(content, tmp_path_factory):
    """A run of six steps of two micro-batches each."""
    data = {"name": "scenes", "scenes": {"train": 8, "test": TEST_IMAGES, "size": [32, 64]}, "workers": 0}
    train = {"batch_size": 4, "micro_batch": 2, "steps": STEPS, "validate_every": 3, "log_every": 1, "ema": 0.9}
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text(yaml.safe_dump(content | {"data": data, "train": train, "eval": {"pictures": 0}}))
    return path


@pytest.fixture(scope="module")
def alone(config, trained):
    """The folder of that run, carried out by one process."""
    return trained(config=config)


@pytest.fixture
def start(config, tmp_path):
    """start(fault, *words): two processes of the same run, in a folder of its own, of which one meets this fault."""
    started = []

    def group(fault, *words):
        command = [fault, "train", str(config), *words, "--output", str(tmp_path / "run")]
        started.extend(launch_group(command, tmp_path / "log", 2, FAULTY))
        return started

    yield group
    for process in started:
        process.kill()


def end(processes, seconds=300):  # a group by itself waits for half an hour
    for process in processes:
        process.join(seconds)
    return [process.exitcode for process in processes]


def assert_same_run(folder, other):
    """The same weights in every bit; running statistics, which are added up in another order, and metrics nearly."""
    states = [Checkpoints(path / "checkpoints").load() for path in (folder, other)]
    one, two = (state["module"] | state["average"] for state in states)  # of which each has a prefix of its own
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
    assert end(start("SIGTERM@4")) == [143, 143]  # the main process learns of it from the other
    state = Checkpoints(folder / "checkpoints").load()["state"]
    assert STEPS > state["step"] >= 4
    assert state["validated"] == 3
    assert "stopped by SIGTERM; the state is saved" in (tmp_path / "log.0").read_text()
    assert "step 3: abs_rel" in (tmp_path / "log.0").read_text()
    assert "step 3: abs_rel" not in (tmp_path / "log.1").read_text()  # one process talks
    assert main(["train", str(folder / "config.yaml"), "--resume", "--output", str(folder)]) == 0
    assert_same_run(folder, alone)


def test_a_process_that_is_killed_ends_the_other_with_its_traceback(start, tmp_path):
    assert end(start("SIGKILL@2", PLAIN)) == [1, -signal.SIGKILL]
    assert "Traceback" in (tmp_path / "log.0").read_text()
    assert not (tmp_path / "run" / "run.lock").exists()


def test_a_process_that_raises_ends_the_other_soon_with_its_traceback_first(start, tmp_path):
    assert end(start("raise@3", PLAIN)) == [1, 1]
    other, failed = ((tmp_path / f"log.{rank}") for rank in (0, 1))
    assert "RuntimeError: a fault of process 1" in failed.read_text()
    assert "Traceback" in other.read_text()
    assert failed.stat().st_mtime_ns < other.stat().st_mtime_ns
    assert len(records(tmp_path / "run")) == 2


def test_a_step_without_finite_gradient_on_one_process_is_skipped_by_all(start, tmp_path):
    assert end(start("nan@3", PLAIN, "train.steps=4", "train.validate_every=4")) == [0, 0]
    (path,) = (tmp_path / "run" / "faults").iterdir()
    fault = json.loads(path.read_text())
    assert fault["step"] == 3
    assert [(one["process"], len(one["images"])) for one in fault["batch"]] == [(0, 2), (1, 2)]
    assert json.loads((tmp_path / "run" / "done.json").read_text())["skipped_steps"] == 1
    assert all(record["loss"] > 0 for record in records(tmp_path / "run") if record["step"] == 4 and "loss" in record)


def by_environment(commands, logs):
    """The exit codes of one process a machine, joined by what a launcher tells them."""
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    pairs = enumerate(zip(commands, logs, strict=True))
    return end([launch(words, log, shared | {"RANK": str(rank)}) for rank, (words, log) in pairs])


def by_torchrun(commands, logs):
    """The same by PyTorch's own launcher."""
    words = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d"]
    words += [f"--rdzv-endpoint=127.0.0.1:{free_port()}", "--local-addr=127.0.0.1", "-m", "distill"]
    processes = []
    for command, log in zip(commands, logs, strict=True):
        with log.open("w") as file:
            env = {**os.environ, "OMP_NUM_THREADS": "1"}
            processes.append(subprocess.Popen([*words, *command], env=env, stdout=file, stderr=file))
    return [process.wait() for process in processes]


@pytest.mark.parametrize("launched", [by_environment, pytest.param(by_torchrun, marks=pytest.mark.slow)])
def test_two_machines_that_share_a_teacher_but_no_disk_carry_out_the_same_run(config, alone, tmp_path, launched):
    machines = [tmp_path / name for name in ("one", "two")]
    logs = [machine.with_suffix(".log") for machine in machines]
    commands = [["train", str(config), "teacher.shard=true", "--output", str(machine)] for machine in machines]
    assert launched(commands, logs) == [0, 0], [log.read_text() for log in logs]
    (folder,) = [machine for machine in machines if machine.exists()]
    assert json.loads((folder / "done.json").read_text())["processes"] == 2
    assert_same_run(folder, alone)
