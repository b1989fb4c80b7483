import os
import shutil

import pytest
import torch

from distill.engine.checkpoint import STATE, Checkpoints
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
    with pytest.warns(UserWarning, match=r"step-000000002 is damaged \(its checksum does not match\); falling back"):
        assert checkpoints.load()["step"] == 1


@pytest.mark.parametrize("missing", ["state.pt", "state.sha256"])
def test_half_a_checkpoint_counts_as_damaged(checkpoints, missing):
    checkpoints.save(1, state(1))
    (checkpoints.save(2, state(2)) / missing).unlink()
    with pytest.warns(UserWarning, match="step-000000002 is damaged"):
        assert checkpoints.load()["step"] == 1


def test_if_all_are_damaged_there_is_none(checkpoints):
    checkpoints.save(1, state(1))
    checkpoints.save(2, state(2))
    damage(checkpoints, 1)
    damage(checkpoints, 2)
    with pytest.warns(UserWarning, match="is damaged"):
        assert checkpoints.load() is None


def test_damaged_checkpoints_of_later_steps_do_not_push_a_new_one_out(checkpoints):
    for step in (8, 9):
        checkpoints.save(step, state(step))
        damage(checkpoints, step)
    checkpoints.save(3, state(3))  # the run started afresh
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
