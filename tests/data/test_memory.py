import numpy as np
import pytest

from distill.data import InMemory, SceneDataset


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_kept_are_those_of_the_data_set(workers):
    scenes = SceneDataset("road", 4, seed=3, size=(32, 64))
    kept = InMemory(scenes, workers)
    assert len(kept) == len(scenes)
    assert kept.max_depth == scenes.max_depth
    for one, other in zip(kept, scenes, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.depth, other.depth)


def test_each_sample_is_read_once():
    reads = []

    class Counted(SceneDataset):
        def __getitem__(self, index):
            reads.append(index)
            return super().__getitem__(index)

    kept = InMemory(Counted("room", 2, seed=3, size=(32, 64)), workers=0)
    assert kept[1] is kept[1]
    assert reads == [0, 1]


def test_progress_is_told_after_every_sample():
    done = []
    InMemory(SceneDataset("room", 3, seed=3, size=(32, 64)), workers=0, progress=done.append)
    assert done == [1, 2, 3]
