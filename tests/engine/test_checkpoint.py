import errno
import os
import shutil
from pathlib import Path

import pytest
import torch

from distill.engine.checkpoint import STATE, Checkpoints
from distill.errors import UserError
from distill.files import HashingWriter


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints", keep=2)


def state(step):
    return {"step": step, "weights": {"a": torch.full((3,), float(step))}, "faults": ["x.png"], "scaler": None}


def names(checkpoints):
    return [path.name for path in checkpoints.paths()]


def damage(checkpoints, step):
    """One byte in the middle changes, as on a failing disk."""
    path = checkpoints.folder / f"step-{step:09d}" / STATE
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_the_newest_state_comes_back_as_it_was(checkpoints):
    checkpoints.save(9, state(9))
    checkpoints.save(10, state(10))
    loaded = checkpoints.load()
    assert torch.equal(loaded["weights"]["a"], torch.full((3,), 10.0))
    assert {k: loaded[k] for k in ("step", "faults", "scaler")} == {"step": 10, "faults": ["x.png"], "scaler": None}


def test_without_a_checkpoint_there_is_nothing_to_load(checkpoints):
    assert checkpoints.load() is None


def test_only_the_newest_are_kept(checkpoints):
    for step in (5, 10, 1000000, 15):
        checkpoints.save(step, state(step))
    assert names(checkpoints) == ["step-000000015", "step-000000010"]


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_are_kept_as_asked_for(tmp_path, keep):
    checkpoints = Checkpoints(tmp_path, keep)
    for step in range(1, 6):
        checkpoints.save(step, state(step))
    assert len(names(checkpoints)) == keep


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(checkpoints):
    checkpoints.save(1, state(1))
    checkpoints.save(2, state(2))
    damage(checkpoints, 2)
    with pytest.warns(UserWarning, match=r"step-000000002 is damaged \(its checksum does not match\) and passed"):
        assert checkpoints.load()["step"] == 1


@pytest.mark.parametrize("missing", ["state.pt", "state.sha256"])
def test_half_a_checkpoint_counts_as_damaged(checkpoints, missing):
    checkpoints.save(1, state(1))
    (checkpoints.save(2, state(2)) / missing).unlink()
    with pytest.warns(UserWarning, match="step-000000002 is damaged"):
        assert checkpoints.load()["step"] == 1


def test_if_all_are_damaged_the_run_is_not_begun_again(checkpoints):
    for step in (1, 2):
        checkpoints.save(step, state(step))
        damage(checkpoints, step)
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(UserError, match=r"no checkpoint in .* is whole \(2 are damaged\); .*remove that folder"),
    ):
        checkpoints.load()
    assert len(names(checkpoints)) == 2


FAILING = {"open": errno.EIO, "listdir": errno.EACCES}


@pytest.mark.parametrize("call", FAILING)
def test_a_checkpoint_that_cannot_be_read_just_now_is_not_taken_for_a_damaged_one(checkpoints, monkeypatch, call):
    for step in (1, 2):
        checkpoints.save(step, state(step))

    def fail(path, *options, **named):
        if "step-000000002" in str(path):
            raise OSError(FAILING[call], os.strerror(FAILING[call]), str(path))
        return {"open": opened, "listdir": listdir}[call](path, *options, **named)

    opened, listdir = Path.open, os.listdir
    monkeypatch.setattr(*{"open": (Path, "open"), "listdir": (os, "listdir")}[call], fail)
    with pytest.raises(UserError, match=rf"cannot be read \({os.strerror(FAILING[call])}\); nothing was changed"):
        checkpoints.load()


@pytest.mark.parametrize("name", ["state.pt", "state.sha256"])
def test_a_checkpoint_that_may_never_end_is_not_opened(checkpoints, name):
    path = checkpoints.save(1, state(1)) / name
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="it is a FIFO"):
        checkpoints.load()


def test_what_others_put_beside_checkpoints_is_neither_read_nor_removed(checkpoints):
    kept = [checkpoints.folder / name for name in ("step-000000001-good", "step-7", "step-000000005")]
    for path in kept:
        path.mkdir(parents=True)
        (path / "model.bin").write_bytes(b"theirs")
    (checkpoints.save(2, state(2)) / "notes.txt").write_text("mine")
    for step in (3, 4):
        checkpoints.save(step, state(step))
    assert names(checkpoints) == ["step-000000004", "step-000000003"]
    assert all((path / "model.bin").exists() for path in kept)
    assert os.listdir(checkpoints.folder / "step-000000002") == ["notes.txt"]


def test_damaged_checkpoints_of_later_steps_do_not_push_a_new_one_out(checkpoints):
    for step in (8, 9):
        checkpoints.save(step, state(step))
        damage(checkpoints, step)
    checkpoints.save(3, state(3))  # the run went back behind them
    assert checkpoints.load()["step"] == 3


def test_a_write_that_was_interrupted_is_neither_loaded_nor_kept(checkpoints):
    checkpoints.save(1, state(1))
    left_over = checkpoints.folder / ".part-000000002"
    left_over.mkdir()
    (left_over / STATE).write_bytes(b"torn")
    assert checkpoints.load()["step"] == 1
    checkpoints.save(3, state(3))
    assert not left_over.exists()


class Full:
    """A file on a disk that is full after so many bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return self.file.write(data)


@pytest.mark.parametrize("room", [0, 700, 1500])
def test_a_full_disk_leaves_the_older_ones_and_nothing_else(checkpoints, monkeypatch, room):
    checkpoints.save(1, state(1))

    class FullWriter(HashingWriter):
        def __init__(self, file):
            super().__init__(Full(file, room))

    monkeypatch.setattr("distill.engine.checkpoint.HashingWriter", FullWriter)
    with pytest.raises(OSError, match="No space left on device"):
        checkpoints.save(2, {"weights": torch.zeros(1000)})
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-000000001"]
    assert checkpoints.load()["step"] == 1


def test_a_folder_that_vanished_is_made_anew(checkpoints):
    shutil.rmtree(checkpoints.save(1, state(1)).parent)
    checkpoints.save(2, state(2))
    assert checkpoints.load()["step"] == 2


def test_a_step_saved_twice_holds_the_second_state(checkpoints):
    checkpoints.save(4, state(4))
    checkpoints.save(4, {"again": True})
    assert checkpoints.load() == {"again": True}


@pytest.mark.parametrize("next_step", [None, 5])
def test_a_kill_between_the_renames_of_a_step_saved_twice_loses_nothing(checkpoints, monkeypatch, next_step):
    rename = os.rename
    checkpoints.save(4, state(4))

    def killed(source, target):
        rename(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", killed)
    monkeypatch.setattr(Checkpoints, "_clear", lambda self: None)  # a killed process clears nothing up
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(4, state(4) | {"again": True})
    monkeypatch.undo()
    assert names(checkpoints) == []
    if next_step:
        shutil.rmtree(checkpoints.save(next_step, state(next_step)))
    assert checkpoints.load()["step"] == 4
