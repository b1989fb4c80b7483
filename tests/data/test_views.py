import numpy as np
import pytest

from distill.data import InMemory, PairDataset, PartlyLabelled, SceneDataset, cover, find_photographs
from distill.errors import UserError


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_kept_are_those_of_the_data_set(workers):
    scenes = SceneDataset("road", 4, seed=3, size=(32, 64))
    counts = []
    kept = InMemory(scenes, workers, counts.append)
    assert counts == [1, 2, 3, 4]
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


SIZES = {
    "a.png": (32, 48),
    "b.jpg": (90, 60),
    "deep/er/c.webp": (40, 200),
    "deep/a.bmp": (20, 30),
    "deep/a.tif": (33, 49),
}


@pytest.fixture
def folder(tmp_path, write_image):
    """Five photographs of five formats and sizes, in folders; two have one name."""
    for number, (name, size) in enumerate(SIZES.items()):
        write_image(tmp_path / name, np.full((*size, 3), 40 * number + 20, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_every_image_below_a_folder_is_a_photograph_whatever_its_format_and_name(folder):
    contents = find_photographs(folder)
    assert contents.images_only
    assert all(pair.depth is None for pair in contents.usable)
    samples = list(PairDataset(contents))
    assert {sample.name: sample.image.shape[:2] for sample in samples} == SIZES
    assert not any(sample.depth.any() or sample.valid.any() for sample in samples)


def test_a_photograph_covers_the_size_and_keeps_its_proportions(folder):
    covering = [cover(sample, (32, 48)) for sample in PairDataset(find_photographs(folder))]
    shapes = {sample.name: sample.depth.shape for sample in covering}
    larger = {"b.jpg": (72, 48), "deep/er/c.webp": (32, 160)}
    assert shapes == dict.fromkeys(SIZES, (32, 48)) | larger


def test_a_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(UserError, match="absent does not exist, expected a folder of photographs"):
        find_photographs(tmp_path / "absent")
    with pytest.raises(UserError, match=r"no images in .*, expected files of the kinds .bmp .jpeg"):
        find_photographs(tmp_path)
