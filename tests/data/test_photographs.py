from dataclasses import replace

import numpy as np
import pytest

from distill.data import (
    Augmentation,
    DecodeError,
    EpochBatches,
    Loader,
    Photographs,
    Sample,
    TrainingSet,
    cover,
    find_photographs,
)
from distill.errors import UserError

AUGMENTATION = Augmentation((32, 48), rotate_deg=2.0)
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


def test_every_image_below_a_folder_is_recognised_whatever_its_format_and_name(folder):
    result = find_photographs(folder)
    assert {pair.name for pair in result.usable} == set(SIZES)
    assert result.images_only
    assert all(pair.depth is None for pair in result.usable)


def test_a_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"data root .*absent does not exist, expected a folder of photographs"):
        find_photographs(tmp_path / "absent")
    with pytest.raises(UserError, match=r"no images in .*, expected files of the kinds .bmp .jpeg"):
        find_photographs(tmp_path)


def test_a_photograph_covers_the_size_and_keeps_its_proportions(folder):
    shapes = {sample.name: sample.depth.shape for sample in Photographs(find_photographs(folder), (32, 48))}
    assert shapes == {
        "a.png": (32, 48),
        "b.jpg": (72, 48),
        "deep/er/c.webp": (32, 160),
        "deep/a.bmp": (32, 48),
        "deep/a.tif": (32, 48),
    }


@pytest.mark.parametrize("size", [(7, 9), (31, 64), (64, 31), (100, 100), (1, 1)])
def test_what_covers_a_size_is_never_smaller(make_sample, size):
    for shape in [(30, 40), (41, 29), (100, 7)]:
        covered = cover(make_sample(*shape), size).depth.shape
        assert covered[0] >= size[0]
        assert covered[1] >= size[1]
        assert covered[0] == size[0] or covered[1] == size[1]


def test_without_a_size_photographs_stay_as_they_are(folder):
    sizes = {sample.name: sample.image.shape[:2] for sample in Photographs(find_photographs(folder), None)}
    assert sizes == SIZES


def test_a_photograph_has_no_depth(folder):
    for sample in Photographs(find_photographs(folder), (32, 48)):
        assert not sample.depth.any()
        assert not sample.valid.any()


# ---------------------------------------------------------------------------------------------------------------- mixed


class Numbered:
    """Sample i is called i, is of one colour, and is i + 1 metres away. Those in `broken` cannot be read."""

    max_depth = 80.0

    def __init__(self, count, prefix="", broken=()):
        self.count, self.prefix, self.broken = count, prefix, broken

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index in self.broken:
            raise DecodeError(f"{self.prefix}{index}.jpg", "the file is cut short")
        depth = np.full((40, 60), index + 1, np.float32)
        return Sample(np.full((*depth.shape, 3), 9, np.uint8), depth, depth > 0, f"{self.prefix}{index}")


def mixed(count=6, photographs=5, share=0.5, **options):
    """Batches of a set of `count` images and so many photographs."""
    inputs = {"batch_size": 4, "micro_batch": 2, "seed": 3, **options}
    return EpochBatches(count, photographs=photographs, share=share, **inputs)


def indices(batches, epoch):
    return [index for part in batches.epoch(epoch) for _, index in part]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 60), (0.25, 20), (0.75, 180), (0.01, 1)])
def test_an_epoch_has_every_labelled_image_and_the_stated_share_of_photographs(share, expected):
    batches = mixed(count=60, photographs=1000, share=share, batch_size=1, micro_batch=1)
    seen = indices(batches, 2)
    assert sorted(index for index in seen if index < 60) == list(range(60))
    assert len(seen) - 60 == batches.photographs_per_epoch == expected
    assert len(set(seen)) == len(seen)


def test_every_photograph_is_seen_once_before_any_is_seen_again():
    batches = mixed(count=4, photographs=10, share=0.5, batch_size=8)
    seen = [index % batches.total for epoch in range(5) for index in batches.turns(epoch)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(4, 14))
    assert seen[:10] != seen[10:]


def test_a_photograph_that_comes_again_in_an_epoch_is_varied_anew():
    batches = mixed(count=20, photographs=3, share=0.5, batch_size=8)
    seen = indices(batches, 0)
    assert len(set(seen)) == len(seen) == 40
    times = np.bincount([index % 23 for index in seen], minlength=23)
    assert set(times[:20]) == {1}
    assert set(times[20:]) == {6, 7}


def test_a_mixed_set_smaller_than_a_batch_is_repeated_under_new_indices():
    batches = mixed(count=2, photographs=1, share=0.75, batch_size=32, micro_batch=32)
    seen = indices(batches, 1)
    assert len(set(seen)) == len(seen) == 32


def test_without_photographs_the_order_is_what_it_always_was():
    plain = EpochBatches(11, 4, 2, 3)
    rng = np.random.default_rng((3, 5))
    assert indices(plain, 5) == rng.permutation(11)[:8].tolist()


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_mixed_batches(world):
    alone = mixed(batch_size=8, total_steps=7)
    shares = [list(replace(alone, rank=rank, world=world)) for rank in range(world)]
    assert [part for turn in zip(*shares, strict=True) for part in turn] == list(alone)


@pytest.mark.parametrize("start_step", [1, 3, 8])
def test_a_resumed_mixed_run_goes_on_where_it_stopped(start_step):
    whole = mixed(total_steps=9)
    assert list(replace(whole, start_step=start_step)) == list(whole)[2 * start_step :]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mixed_set_is_prepared_in_its_labelled_part_alone(workers):
    photographs = Numbered(5, "photo ", broken={2})
    training = TrainingSet(Numbered(6), AUGMENTATION, 0, [lambda s: replace(s, name=f"{s.name} prepared")], photographs)
    assert len(training) == 11
    batches = list(Loader(training, mixed(total_steps=3), workers))
    names = [name for batch in batches for name in batch.names]
    assert len(names) == 12
    assert sum(name.startswith("photo") for name in names) in (5, 6, 7)
    assert all(name.startswith("photo") != name.endswith("prepared") for name in names)


def test_an_unreadable_photograph_is_replaced_by_another_and_named():
    training = TrainingSet(Numbered(3), AUGMENTATION, 0, photographs=Numbered(3, "photo ", broken={2}))
    sample = training[(0, 5)]
    assert (sample.name, sample.faults) == ("photo 0", ("photo 2.jpg",))
    again = training[(0, 6 + 5)]
    assert again.name == "photo 0"
    assert training.unvaried(6 + 1).name == "1"
