"""A run twice, stopped and continued, or killed: its weights are those of one that was left alone."""

import os
import shutil
import signal
from pathlib import Path

import cv2
import pytest
import torch
import yaml
from forked_runs import launch
from run_files import last_state, read_json, records
from safetensors.torch import load_file, save_file

from distill.assembly import networks
from distill.assembly.validation import Validation
from distill.cli import main
from distill.data import PairDataset
from distill.engine.checkpoint import Checkpoints
from distill.method import Method
from students import create_student, load_student

FAULTY = Path(__file__).parent / "faulty_rank.py"
PLAIN = ["method.name=supervised"]  # for what is the same with a teacher and without


@pytest.fixture
def own_plain(plain, tmp_path):
    """A copy of a run without a teacher that a test may change."""
    return shutil.copytree(plain, tmp_path / "run")


@pytest.fixture
def stop_at(monkeypatch):
    """stop_at(step, signal): the process gets this signal while it works on that step."""

    def arrange(step, number=signal.SIGTERM):
        asked = []

        def consult(method, *inputs):
            if method.training:  # not for a picture
                asked.append(inputs)
                if len(asked) == step:
                    os.kill(os.getpid(), number)
            return original(method, *inputs)

        monkeypatch.setattr(Method, "consult", consult)

    original = Method.consult
    yield arrange
    monkeypatch.setattr(Method, "consult", original)


@pytest.fixture
def noisy_student(monkeypatch):
    """Students draw random numbers while they train, as dropout does."""

    def create(*inputs, **options):
        student = create_student(*inputs, **options)
        student.encoder.register_forward_hook(
            lambda module, _, maps: [m + 0.1 * torch.randn_like(m) for m in maps] if module.training else maps
        )
        return student

    monkeypatch.setattr(networks, "create_student", create)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    train, trained, finished, plain, weights, assert_same, tmp_path
):
    (tmp_path / "empty").mkdir()
    again = train("--resume", output=tmp_path / "empty")  # without a checkpoint it starts afresh
    assert_same(weights(again), weights(finished))
    assert_same(last_state(again)["module"], last_state(finished)["module"])
    other = weights(trained(*PLAIN, "seed=1"))
    assert any(not torch.equal(other[key], value) for key, value in weights(plain).items())


def test_the_number_of_workers_changes_nothing(train, plain, weights, assert_same):
    assert_same(weights(train(*PLAIN, "data.workers=2")), weights(plain))


def test_a_run_that_is_stopped_twice_continues_as_if_it_had_not_been(
    train, finished, config_file, tmp_path, weights, assert_same, stop_at
):
    for already, step in ((0, 1), (1, 3)):
        stop_at(step - already)
        assert main(["train", str(config_file), "--output", str(tmp_path / "run"), "--resume"]) == 143
        assert last_state(tmp_path / "run")["state"]["step"] == step
    folder = train("--resume")
    assert_same(weights(folder), weights(finished))
    assert_same(last_state(folder)["module"], last_state(finished)["module"])
    message = [
        [(r["kind"], r["step"], r.get("loss"), r.get("abs_rel")) for r in records(f)] for f in (folder, finished)
    ]
    assert message[0] == message[1]


def test_random_numbers_inside_a_network_continue_too(
    train, config_file, tmp_path, weights, assert_same, stop_at, noisy_student
):
    words = [*PLAIN, "train.steps=3", "train.validate_every=3"]
    undisturbed = train(*words, output=tmp_path / "undisturbed")
    stop_at(2)
    assert main(["train", str(config_file), *words, "--output", str(tmp_path / "run")]) == 143
    assert_same(weights(train(*words, "--resume")), weights(undisturbed))


def test_a_damaged_checkpoint_costs_the_steps_behind_the_one_before(
    train, plain, config_file, tmp_path, weights, assert_same, stop_at
):
    stop_at(3)
    words = [*PLAIN, "train.checkpoint_every=1"]
    assert main(["train", str(config_file), *words, "--output", str(tmp_path / "run")]) == 143
    (tmp_path / "run" / "checkpoints" / "step-000000003" / "state.pt").write_bytes(b"")
    with pytest.warns(UserWarning, match="step-000000003 is damaged"):
        folder = train(*words, "--resume")
    assert_same(weights(folder), weights(plain))


def test_a_run_that_was_killed_while_it_wrote_its_report_writes_it(train, own_plain, config_file):
    page = (own_plain / "report.html").stat().st_size
    for name in ("done.json", "results.json", "report.html"):
        (own_plain / name).unlink()
    saved = yaml.safe_load((own_plain / "config.yaml").read_text())
    train(*PLAIN, "--resume", output=own_plain)
    assert read_json(own_plain / "done.json")["step"] == 4
    assert (own_plain / "report.html").stat().st_size == pytest.approx(page, rel=0.1)
    assert yaml.safe_load((own_plain / "config.yaml").read_text()) == saved | {"output": str(own_plain)}


LOST = {
    "student/model.safetensors": None,
    "student/config.json": b"",
    "metrics.jsonl": None,
    "report.html": None,
    "config.yaml": None,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LOST)
def test_a_training_that_is_over_finishes_whatever_file_was_lost(train, own_plain, name):
    (own_plain / "done.json").unlink()
    (own_plain / name).unlink()
    if LOST[name] is not None:
        (own_plain / name).write_bytes(LOST[name])
    train(*PLAIN, "--resume", output=own_plain)
    assert read_json(own_plain / "done.json")["step"] == 4
    assert (own_plain / "report.html").is_file()
    assert load_student(own_plain / "student").metadata["metrics"]["abs_rel"] > 0


def test_a_student_that_cannot_be_read_just_now_is_not_taken_for_a_lost_one(own_run, config_file, refused, monkeypatch):
    def fail(path):
        raise OSError(5, "Input/output error", str(path))

    (own_run / "done.json").unlink()
    monkeypatch.setattr("distill.assembly.run.load_student", fail)
    assert "cannot be read (Input/output error)" in refused("train", config_file, "--output", own_run, "--resume")


def change_pixels(root, name):
    path = root / "image" / name
    assert cv2.imwrite(str(path), 255 - cv2.imread(str(path)))


def swap_lines(root, part):
    path = root / f"{part}_files_with_gt.txt"
    path.write_text("\n".join(reversed(path.read_text().splitlines())))


CHANGES = {
    "training files": lambda root: change_pixels(root, "train3.png"),
    "training order": lambda root: swap_lines(root, "train"),
    "test files": lambda root: change_pixels(root, "test0.png"),
    "nothing": lambda root: None,
}


@pytest.mark.parametrize("what", CHANGES)
def test_data_that_changed_since_a_run_stopped_are_told(
    train, config_file, own_streets, tmp_path, capsys, stop_at, what
):
    stop_at(3)
    words = [f"data.root={own_streets}", *PLAIN]
    assert main(["train", str(config_file), *words, "--output", str(tmp_path / "run")]) == 143
    CHANGES[what](own_streets)
    capsys.readouterr()
    train(*words, "--resume")
    message = capsys.readouterr().err
    assert (f"since step 3 was saved these have changed: {what}. The run" in message) == (what != "nothing")
    assert ("the best student is chosen anew" in message) == what.startswith("test")


def test_a_corrected_evaluation_may_be_forced_and_chooses_the_best_anew(
    train, config_file, tmp_path, capsys, stop_at, refused
):
    stop_at(3)
    words = ["train", str(config_file), *PLAIN, "--output", str(tmp_path / "run")]
    assert main(words) == 143
    assert "accept that with --resume --force" in refused(*words, "eval.tta=flip", "--resume")
    folder = train(*PLAIN, "eval.tta=flip", "--resume", "--force")
    assert "these have changed: protocol" in capsys.readouterr().err
    assert read_json(folder / "done.json")["best_step"] == 4


def test_resuming_a_finished_run_changes_nothing(finished, config_file, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert main(["train", str(config_file), "--output", str(finished), "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before
    assert str(finished / "report.html") in capsys.readouterr().out


def test_a_run_is_not_resumed_under_another_configuration(finished, config_file, refused):
    message = refused("train", config_file, "optim.lr=0.5", "seed=3", "--output", finished, "--resume")
    assert "was started with another configuration" in message
    assert "optim.lr was 0.001, now 0.5" in message
    assert "seed was 0, now 3" in message
    assert "output was" not in message


def test_keys_that_change_nothing_learnt_may_be_forced(
    train, own_plain, config_file, refused, weights, assert_same, plain
):
    (own_plain / "done.json").unlink()
    words = [*PLAIN, "train.keep=3"]
    message = refused("train", config_file, *words, "--output", own_plain, "--resume")
    assert "train.keep was 2, now 3); accept that with --resume --force" in message
    train(*words, "--resume", "--force", output=own_plain)
    assert_same(weights(own_plain), weights(plain))
    assert yaml.safe_load((own_plain / "config.yaml").read_text())["train"]["keep"] == 3


def test_force_alone_is_refused(config_file, refused):
    assert "give --resume as well" in refused("train", config_file, "--force")


def test_another_teacher_behind_the_same_path_is_refused(content, tmp_path, refused, stop_at, micro_weights):
    own = tmp_path / "teacher.safetensors"
    own.write_bytes(micro_weights.read_bytes())
    config = tmp_path / "own.yaml"
    config.write_text(yaml.safe_dump(content | {"teacher": {"name": "dpt_micro", "checkpoint": str(own)}}))
    stop_at(1)
    assert main(["train", str(config), "--output", str(tmp_path / "run")]) == 143
    other = {key: value + 1e-3 if value.is_floating_point() else value for key, value in load_file(own).items()}
    save_file(other, own)
    message = refused("train", config, "--output", tmp_path / "run", "--resume")
    assert "was started with another teacher" in message


def test_a_validation_that_was_cut_short_is_made_up_for(
    train, plain, config_file, tmp_path, weights, assert_same, monkeypatch
):
    asked = []

    def read(self, index):
        asked.append(index)
        if len(asked) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, index)

    whole = PairDataset.__getitem__
    train_words = ["train", str(config_file), *PLAIN, "--output", str(tmp_path / "run")]
    validate, folder = Validation.evaluate, tmp_path / "run"

    def evaluate(self, interrupted):
        monkeypatch.setattr(PairDataset, "__getitem__", read)
        return validate(self, interrupted)

    monkeypatch.setattr(Validation, "evaluate", evaluate)
    assert main(train_words) == 143
    monkeypatch.undo()
    assert last_state(folder)["state"]["step"] == 2
    assert [record["kind"] for record in records(folder)] == ["train", "train"]
    train(*PLAIN, "--resume")
    assert_same(weights(folder), weights(plain))
    assert [(r["kind"], r["step"], r.get("abs_rel")) for r in records(folder)] == [
        (r["kind"], r["step"], r.get("abs_rel")) for r in records(plain)
    ]


def test_a_run_refused_while_it_is_put_together_leaves_no_trace(config_file, tmp_path, refused, finished):
    wrong = f"teacher.checkpoint={finished / 'student' / 'model.safetensors'}"
    refused("train", config_file, wrong, "--output", tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_checkpoint_that_cannot_be_written_does_not_stop_the_run(train, monkeypatch, capsys):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "save", full_disk)
    folder = train(*PLAIN)
    assert "checkpoint of step 4 not written ([Errno 28] No space left on device); the last good one is none, the" in (
        capsys.readouterr().err
    )
    assert read_json(folder / "done.json")["step"] == 4


def test_a_checkpoint_that_cannot_be_written_stops_the_run_if_so_asked(config_file, tmp_path, monkeypatch, capsys):
    whole, calls = Checkpoints.save, []

    def full_disk(self, step, state):
        calls.append(step)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return whole(self, step, state)

    monkeypatch.setattr(Checkpoints, "save", full_disk)
    words = [*PLAIN, "train.checkpoint_every=1", "train.if_not_saved=stop"]
    assert main(["train", str(config_file), *words, "--output", str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert (
        "checkpoint of step 2 not written ([Errno 28] No space left on device); the last good one is step-00" in message
    )
    assert "continue with --resume" in message
    assert last_state(tmp_path / "run")["state"]["step"] == 1


@pytest.mark.filterwarnings("ignore")  # TensorBoard is lost, and says so twice
def test_a_folder_that_vanishes_is_made_anew_and_the_run_ends_well(train, plain, weights, assert_same, tmp_path):
    taken = []

    def consult(method, *inputs):
        if method.training:  # not for a picture
            taken.append(inputs)
            if len(taken) == 4:
                shutil.rmtree(tmp_path / "run")
        return original(method, *inputs)

    original, Method.consult = Method.consult, consult
    try:
        folder = train(*PLAIN, "train.checkpoint_every=1")
    finally:
        Method.consult = original
    assert_same(weights(folder), weights(plain))
    assert yaml.safe_load((folder / "config.yaml").read_text())["train"]["steps"] == 4
    assert not (folder / "run.lock").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_process_with_its_code_and_the_state_saved(config_file, tmp_path, number, code):
    folder, log = tmp_path / "run", tmp_path / "log"
    words = ["train", str(config_file), *PLAIN, "--output", str(folder)]
    process = launch([f"{number.name}@3", *words], log, script=FAULTY)
    process.join()
    message = log.read_text()
    assert process.exitcode == code, message
    assert message.splitlines()[-1].startswith(f"distill: stopped by {number.name}; the state is saved")
    assert "Traceback" not in message
    assert last_state(folder)["state"]["step"] == 3
    assert not (folder / "run.lock").exists()
    assert not (folder / "done.json").exists()


def test_a_run_that_is_killed_continues_as_if_it_had_not_been(
    train, finished, config_file, tmp_path, weights, assert_same
):
    words = ["train", str(config_file), "train.checkpoint_every=1", "--output", str(tmp_path / "run")]
    process = launch(["SIGKILL@4", *words], tmp_path / "log", script=FAULTY)
    process.join()
    assert process.exitcode == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert last_state(tmp_path / "run")["state"]["step"] == 3
    assert_same(weights(train("train.checkpoint_every=1", "--resume")), weights(finished))
