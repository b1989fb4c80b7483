import os
import signal
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from distill.data.augment import Augmentation
from distill.data.loader import MAX_DEATHS, Loader, is_death, keep_freed_memory
from distill.data.sample import Batch, to_tensor
from distill.data.training_set import EpochBatches, TrainingSet
from distill.errors import UserError

AUGMENTATION = Augmentation((6, 8), rotate_deg=2.0)


def test_workers_change_nothing(numbered):
    training_set = TrainingSet(numbered(9, broken={5}), AUGMENTATION, seed=1)
    batches = EpochBatches((9,), batch_size=4, micro_batch=2, seed=1, total_steps=5)
    here, elsewhere = (list(Loader(training_set, batches, workers)) for workers in (0, 2))
    assert [batch.names for batch in here] == [batch.names for batch in elsewhere]
    assert len(here) == len(batches) == 10
    assert isinstance(here[0], Batch)
    assert here[0].image.shape == (2, 3, 6, 8)
    assert all((a.image == b.image).all() and (a.depth == b.depth).all() for a, b in zip(here, elsewhere, strict=True))
    assert {fault for batch in elsewhere for fault in batch.faults} == {"5.png"}


def test_images_travel_as_bytes_and_arrive_as_floats(numbered):
    training_set = TrainingSet(numbered(9), Augmentation(flip=0, colour=0), seed=1)
    batches = EpochBatches((9,), batch_size=2, micro_batch=2, seed=1, total_steps=1)
    (loaded,) = Loader(training_set, batches, workers=0)
    arrived = loaded.to("cpu")
    assert loaded.image.dtype == torch.uint8
    assert (arrived.image.dtype, arrived.image.is_contiguous()) == (torch.float32, True)
    for image, name in zip(arrived.image, arrived.names, strict=True):
        assert torch.equal(image, to_tensor(training_set.parts[0].dataset[int(name)].image))


def test_memory_is_kept_where_the_c_library_can(monkeypatch):
    asked = []
    library = SimpleNamespace(mallopt=lambda *words: asked.append(words))
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    keep_freed_memory()
    assert asked == [(-3, 32 << 20), (-1, 256 << 20)]
    del library.mallopt
    keep_freed_memory()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_refusal_arrives_as_one_line(numbered, workers):
    class Refusing(numbered):
        def __getitem__(self, index):
            raise UserError("depth of 12x16, expected 24x32")

    batches = EpochBatches((4,), batch_size=2, micro_batch=2, seed=0, total_steps=2)
    with pytest.raises(UserError, match=r"^depth of 12x16, expected 24x32$"):
        list(Loader(TrainingSet(Refusing(4), AUGMENTATION, seed=0), batches, workers))


@pytest.fixture
def deadly(numbered, tmp_path):
    """deadly(count, times): samples of which number 5 kills the worker that reads it, so many times."""

    class Deadly(numbered):
        def __init__(self, count, times):
            super().__init__(count)
            self.main, self.times = os.getpid(), times

        def __getitem__(self, index):
            seen = len(list(tmp_path.iterdir()))
            if index == 5 and seen < self.times:
                (tmp_path / str(seen)).touch()
                assert os.getpid() != self.main
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(index)

    return Deadly


@pytest.fixture(autouse=True)
def seen_soon(monkeypatch):
    """A death is noticed in a tenth of a second, not in five."""
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.1,))


def test_the_images_of_a_worker_that_died_are_read_again(numbered, deadly):
    batches = EpochBatches((9,), batch_size=4, micro_batch=2, seed=1, total_steps=3)
    undisturbed = list(Loader(TrainingSet(numbered(9), AUGMENTATION, seed=1), batches, workers=0))
    with pytest.warns(UserWarning, match="a process that loads images died"):
        result = list(Loader(TrainingSet(deadly(9, 1), AUGMENTATION, seed=1), batches, workers=2))
    assert [batch.names for batch in result] == [batch.names for batch in undisturbed]
    assert all((a.image == b.image).all() for a, b in zip(result, undisturbed, strict=True))


def test_a_death_while_a_batch_is_handed_over_is_one_as_well(numbered, monkeypatch):
    batches = EpochBatches((9,), batch_size=4, micro_batch=2, seed=1, total_steps=3)
    undisturbed = list(Loader(TrainingSet(numbered(9), AUGMENTATION, seed=1), batches, workers=0))
    take, calls = _MultiProcessingDataLoaderIter._next_data, []

    def torn(self):
        calls.append(self)
        if len(calls) == 3:
            raise ConnectionResetError(104, "Connection reset by peer")
        return take(self)

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_next_data", torn)
    with pytest.warns(UserWarning, match="a process that loads images died"):
        result = list(Loader(TrainingSet(numbered(9), AUGMENTATION, seed=1), batches, workers=1))
    assert [batch.names for batch in result] == [batch.names for batch in undisturbed]


def test_a_connection_that_a_workers_own_code_lost_is_no_death():
    assert not is_death(ConnectionResetError("Caught ConnectionResetError in DataLoader worker process 0."))
    assert is_death(EOFError())


@pytest.mark.filterwarnings("ignore:a process that loads images died")
def test_workers_that_die_one_after_the_other_end_the_run(deadly):
    batches = EpochBatches((9,), batch_size=8, micro_batch=8, seed=1, total_steps=3)
    samples = TrainingSet(deadly(9, MAX_DEATHS), AUGMENTATION, seed=1)
    with pytest.raises(UserError, match=rf"died {MAX_DEATHS} times in a row .*lower data.workers=1"):
        list(Loader(samples, batches, workers=1))


@pytest.mark.filterwarnings("error")
def test_another_error_of_a_worker_is_raised_as_it_is(numbered):
    class Broken(numbered):
        def __getitem__(self, index):
            raise RuntimeError("a mistake of ours")

    batches = EpochBatches((4,), batch_size=2, micro_batch=2, seed=0, total_steps=2)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        list(Loader(TrainingSet(Broken(4), AUGMENTATION, seed=0), batches, workers=1))
