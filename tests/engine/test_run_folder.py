import os
import socket
import time

import pytest
from forked_runs import launch

from distill.config import parse_config
from distill.engine.run_folder import HARMLESS, RunFolder, flatten
from distill.errors import UserError
from distill.files import write_atomically


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "deep" / "run")


HOLDER = """
import pathlib, signal, sys
from distill.engine.run_folder import RunFolder
RunFolder(pathlib.Path(sys.argv[1])).claim(resume=True)
pathlib.Path(sys.argv[2]).touch()
signal.pause()
"""


@pytest.fixture
def holder(folder, tmp_path):
    """Another process that has claimed the folder."""
    script, claimed = tmp_path / "holder.py", tmp_path / "claimed"
    script.write_text(HOLDER)
    process = launch([str(folder.path), str(claimed)], tmp_path / "log", script=script)
    while not claimed.exists():
        assert process.is_alive(), (tmp_path / "log").read_text()
        time.sleep(0.01)
    yield process
    process.kill()
    process.join()


def lock(folder, process, host=None):
    write_atomically(folder.lock, f"{process} {host or socket.gethostname()}\n")


def test_a_claim_makes_the_folder_and_locks_it(folder):
    folder.claim(resume=False)
    assert folder.lock.read_text().split() == [str(os.getpid()), socket.gethostname()]


def test_a_released_folder_can_be_claimed_again(folder):
    folder.claim(resume=False)
    folder.release()
    assert not folder.lock.exists()
    folder.claim(resume=False)


def test_a_folder_in_use_is_refused_until_its_process_ends(folder, holder):
    write_atomically(folder.config, "seed: 0\n")
    for resume in (False, True):
        with pytest.raises(UserError, match=rf"is in use by process {holder.pid} on .*delete .*run\.lock"):
            folder.claim(resume)
    assert folder.lock.read_text().split()[0] == str(holder.pid)
    holder.kill()
    holder.join()
    folder.claim(resume=True)


def test_a_lock_that_nobody_holds_is_taken_over_whoever_has_the_number_now(folder):
    lock(folder, os.getppid())
    folder.claim(resume=False)
    assert folder.lock.read_text().split()[0] == str(os.getpid())


def test_a_lock_that_is_released_while_another_waits_for_it_is_no_lock(folder, monkeypatch):
    former = RunFolder(folder.path)
    former.claim(resume=False)
    opened, calls = os.open, []

    def open_and_release(path, *options):
        descriptor = opened(path, *options)
        if not calls:
            calls.append(former.release())
        return descriptor

    monkeypatch.setattr(os, "open", open_and_release)
    folder.claim(resume=False)
    assert folder._is_ours(folder.held)


def test_a_lock_is_not_followed_to_another_file(folder, tmp_path):
    (tmp_path / "precious").write_text("kept")
    folder.path.mkdir(parents=True)
    folder.lock.symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="cannot be written"):
        folder.claim(resume=False)
    assert (tmp_path / "precious").read_text() == "kept"


@pytest.mark.parametrize("content", ["", "12", "twelve here", "\x00\x00 \x00", f"{10**30} {socket.gethostname()}"])
def test_a_lock_that_says_nothing_is_taken_over(folder, content):
    write_atomically(folder.lock, content)
    folder.claim(resume=False)
    assert folder.lock.read_text().split()[0] == str(os.getpid())


def test_the_lock_of_another_machine_says_nothing_about_processes_of_this_one(folder):
    lock(folder, 1, host="elsewhere")
    with pytest.warns(UserWarning, match=r"was in use by process 1 on elsewhere; if it still is, stop one"):
        folder.claim(resume=True)
    assert folder.lock.read_text().split()[0] == str(os.getpid())


def test_another_run_is_refused_unless_it_is_resumed(folder):
    write_atomically(folder.config, "seed: 0\n")
    with pytest.raises(UserError, match=r"holds another run; continue it with --resume, or choose another --output"):
        folder.claim(resume=False)
    folder.claim(resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_other_files_are_never_mixed_with_a_run(folder, resume):
    write_atomically(folder.path / "checkpoints" / "step-100" / "model.bin", b"")
    with pytest.raises(UserError, match=r"holds other files \(checkpoints\) and no config.yaml"):
        folder.claim(resume)
    assert [path.name for path in folder.path.iterdir()] == ["checkpoints"]


@pytest.mark.parametrize("name", ["run.lock", "alignment.json", "events.out.tfevents.1", ".config.yaml.part"])
def test_a_run_that_was_killed_before_its_configuration_was_written_may_begin_again(folder, name):
    write_atomically(folder.path / name, "")
    folder.claim(resume=True)
    assert (folder.path / "run.lock").is_file()


def test_a_run_whose_configuration_was_lost_goes_on_from_its_checkpoints(folder):
    write_atomically(folder.checkpoints / "step-000000003" / "state.sha256", "")
    with pytest.warns(UserWarning, match=r"config\.yaml is lost"):
        folder.claim(resume=True)


def test_a_log_that_a_scheduler_began_there_is_no_reason_not_to_start(folder):
    write_atomically(folder.path / "slurm-1.out", "")
    folder.claim(resume=True)
    assert (folder.path / "run.lock").is_file()


def test_a_file_in_the_folders_place_is_refused(folder):
    write_atomically(folder.path, "")
    with pytest.raises(UserError, match="is a file; give a folder"):
        folder.claim(resume=False)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "run", tmp_path / ("a" * 300)):
        with pytest.raises(UserError, match=r"cannot be written \(.+\); choose another --output"):
            RunFolder(path).claim(resume=False)


@pytest.mark.skipif(os.getuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written"):
        RunFolder(tmp_path / "run").claim(resume=False)


@pytest.fixture
def begun(folder):
    """A run's folder, and config(**keys): its configuration with other values of `optim` or `train`."""

    def config(**sections):
        return parse_config({"data": {"name": "scenes"}, **sections}, "test")

    folder.begin(config())
    return folder, config


def test_the_same_configuration_goes_on(begun):
    folder, config = begun
    assert not folder.holds_finished(config())
    for path in (folder.student / "model.safetensors", folder.student / "config.json", folder.path / "report.html"):
        write_atomically(folder.done, "{}")
        assert not folder.holds_finished(config())
        write_atomically(path, "")
    assert folder.holds_finished(config())


def test_another_configuration_is_refused_by_its_keys_forced_or_not(begun):
    folder, config = begun
    for force in (False, True):
        with pytest.raises(UserError, match=r"optim\.lr was 4e-05, now 0\.1\); choose another --output"):
            folder.check_same(config(optim={"lr": 0.1}, train={"keep": 5}), force)


def test_what_changes_nothing_learnt_is_refused_until_it_is_forced(begun):
    folder, config = begun
    other = config(train={"keep": 5, "log_every": 1})
    with pytest.raises(
        UserError, match=r"train\.keep was 2, now 5; train\.log_every was 20, now 1\); accept that with"
    ):
        folder.check_same(other)
    folder.check_same(other, force=True)


def test_every_key_that_may_be_forced_exists(begun):
    _, config = begun
    assert flatten(config().model_dump(mode="json")).keys() >= HARMLESS
