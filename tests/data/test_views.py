import numpy as np
import pytest

from distill.data import InMemory, PartlyLabelled, SceneDataset


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


def test_progress_is_reported_after_every_sample():
    done = []
    InMemory(SceneDataset("room", 3, seed=3, size=(32, 64)), workers=0, progress=done.append)
    assert done == [1, 2, 3]


def test_samples_behind_the_labelled_ones_lose_their_depth_and_nothing_else():
    scenes = SceneDataset("road", 3, seed=3, size=(32, 64))
    view = PartlyLabelled(scenes, 2)
    assert (len(view), view.max_depth) == (3, scenes.max_depth)
    assert [bool(sample.valid.any()) for sample in view] == [True, True, False]
    assert not view[2].depth.any()
    for index in range(3):
        np.testing.assert_array_equal(view[index].image, scenes[index].image)
    np.testing.assert_array_equal(view[1].depth, scenes[1].depth)
    assert scenes[2].valid.any()
