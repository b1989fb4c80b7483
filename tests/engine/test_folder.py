import os
import socket
import subprocess
import sys

import pytest

from distill.engine.files import write_atomically
from distill.engine.folder import RunFolder, is_alive
from distill.errors import UserError


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "deep" / "run")


@pytest.fixture(scope="module")
def gone():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def alive():
    """The number of a process that lives, and is not this one."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate(b"\n")


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


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_in_use_is_refused(folder, alive, resume):
    write_atomically(folder.config, "seed: 0\n")
    lock(folder, alive)
    with pytest.raises(UserError, match=rf"is in use by process {alive}; wait for it, or choose another --output"):
        folder.claim(resume)


def test_the_lock_of_a_process_that_is_gone_is_taken_over(folder, gone):
    lock(folder, gone)
    folder.claim(resume=False)
    assert folder.lock.read_text().split()[0] == str(os.getpid())


@pytest.mark.parametrize("content", ["", "12", "twelve here", "\x00\x00 \x00"])
def test_a_lock_that_says_nothing_is_taken_over(folder, content):
    write_atomically(folder.lock, content)
    folder.claim(resume=False)
    assert folder.lock.read_text().split()[0] == str(os.getpid())


def test_the_lock_of_another_machine_says_nothing_about_processes_of_this_one(folder, alive):
    lock(folder, alive, host="elsewhere")
    folder.claim(resume=True)
    assert folder.lock.read_text().split()[0] == str(os.getpid())


def test_another_run_is_refused_unless_it_is_resumed(folder):
    write_atomically(folder.config, "seed: 0\n")
    with pytest.raises(UserError, match=r"holds another run; continue it with --resume, or choose another --output"):
        folder.claim(resume=False)
    folder.claim(resume=True)


def test_other_files_are_never_mixed_with_a_run(folder):
    write_atomically(folder.path / "holiday.jpg", b"")
    with pytest.raises(UserError, match="holds other files"):
        folder.claim(resume=False)


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


def test_this_process_and_the_first_are_alive(gone):
    assert is_alive(os.getpid())
    assert is_alive(1)
    assert not is_alive(gone)
