from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from distill.data.augment import Augmentation
from distill.data.files.list_files import default_split
from distill.data.kitti.drives import KittiDataset, kb_crop
from distill.data.loader import Loader
from distill.data.nyu.halves import NyuDataset, mask_nyu_border
from distill.data.training_set import EpochBatches, TrainingPart, TrainingSet, mix
from distill.errors import UserError

AUGMENTATION = Augmentation((6, 8), rotate_deg=2.0)


def test_a_key_always_gives_the_same_sample(numbered):
    images = [TrainingSet(numbered(5), AUGMENTATION, seed=3)[(2, 4)].image for _ in range(2)]
    assert np.array_equal(*images)


@pytest.mark.parametrize(("seed", "key"), [(4, (2, 4)), (3, (1, 4)), (3, (2, 9))])
def test_seed_epoch_and_repetition_each_change_the_draw(numbered, seed, key):
    first = TrainingSet(numbered(5), AUGMENTATION, seed=3)[(2, 4)]
    other = TrainingSet(numbered(5), AUGMENTATION, seed=seed)[key]
    assert first.name == other.name == "4"
    assert not np.array_equal(first.image, other.image)


def test_preparation_comes_before_augmentation_and_in_order(numbered):
    steps = [lambda s: replace(s, name=f"{s.name} first"), lambda s: replace(s, name=f"{s.name} second")]
    assert TrainingSet(numbered(5), AUGMENTATION, 0, prepare=steps)[(0, 1)].name == "1 first second"


def test_an_unreadable_sample_is_replaced_by_the_next_and_named(numbered):
    sample = TrainingSet(numbered(5, broken={3, 4}), AUGMENTATION, seed=0)[(0, 3)]
    assert sample.name == "0"
    assert sample.faults == ("3.png", "4.png")
    assert TrainingSet(numbered(5, broken={3, 4}), AUGMENTATION, seed=0)[(0, 1)].faults == ()


def test_a_set_that_cannot_be_read_is_refused(numbered):
    everything = numbered(30, broken=range(30))
    with pytest.raises(UserError, match=r"20 samples in a row .*, the first: cannot read 7.png: the file is"):
        TrainingSet(everything, AUGMENTATION, seed=0)[(0, 7)]


def batches(count=11, batch_size=4, micro_batch=2, seed=0, photographs=0, share=0.5, **options):
    """Batches of `count` images, and of photographs, which make up this share of an epoch."""
    shown = (count, round(count * share / (1 - share)))
    counts, shown = ((count, photographs), shown) if photographs else ((count,), ())
    return EpochBatches(counts, batch_size, micro_batch, seed, shown=shown, **options)


def indices(batches, epoch):
    return [index for part in batches.epoch(epoch) for _, index in part]


def test_an_epoch_shows_every_image_once_and_drops_the_rest():
    keys = batches().epoch(3)
    assert batches().steps_per_epoch == 2
    assert [len(keys), {len(part) for part in keys}] == [4, {2}]
    assert {epoch for part in keys for epoch, _ in part} == {3}
    seen = indices(batches(), 3)
    assert len(set(seen)) == 8
    assert set(seen) <= set(range(11))


def test_epochs_and_seeds_differ_in_order():
    first, other_epoch, other_seed, again = (
        indices(batches(50, 10, 10, seed), epoch) for seed, epoch in [(0, 0), (0, 1), (1, 0), (0, 0)]
    )
    assert first == again
    assert first != other_epoch != other_seed != first


@pytest.mark.parametrize("photographs", [0, 5])
@pytest.mark.parametrize("world", [2, 3, 6])
def test_processes_share_the_same_micro_batches(world, photographs):
    alone = batches(40, 12, seed=5, total_steps=7, photographs=photographs)
    shares = [list(replace(alone, rank=rank, world=world)) for rank in range(world)]
    assert [part for turn in zip(*shares, strict=True) for part in turn] == list(alone)
    assert [len(share) for share in shares] == [len(alone) // world] * world


@pytest.mark.parametrize("photographs", [0, 5])
@pytest.mark.parametrize("start_step", [1, 3, 4, 7, 8])
def test_a_resumed_run_goes_on_where_it_stopped(start_step, photographs):
    whole = batches(total_steps=8, photographs=photographs)
    rest = replace(whole, start_step=start_step)
    assert list(rest) == list(whole)[2 * start_step :]
    assert len(rest) == len(list(rest))


def test_without_an_end_batches_go_on():
    endless = batches(micro_batch=4)
    assert [keys[0][0] for keys in islice(endless, 5)] == [0, 0, 1, 1, 2]
    with pytest.raises(TypeError, match="no end"):
        len(endless)


@pytest.mark.parametrize(("count", "photographs", "share"), [(3, 0, 0), (2, 1, 0.75)])
def test_a_set_smaller_than_a_batch_is_repeated_under_new_indices(count, photographs, share):
    small = batches(count, 8, 8, photographs=photographs, share=share)
    seen = indices(small, 0)
    assert small.steps_per_epoch == 1
    assert len(set(seen)) == len(seen) == 8
    assert photographs or sorted(index % 3 for index in seen[:3]) == sorted(index % 3 for index in seen[3:6])


@pytest.mark.parametrize(("share", "expected"), [(0.5, 60), (0.25, 20), (0.75, 180), (0.01, 1)])
def test_an_epoch_has_every_labelled_image_and_the_stated_share_of_photographs(share, expected):
    mixed = batches(60, 1, 1, photographs=1000, share=share)
    seen = indices(mixed, 2)
    assert sorted(index for index in seen if index < 60) == list(range(60))
    assert len(seen) - 60 == mixed.shown[1] == expected
    assert len(set(seen)) == len(seen)


def test_every_photograph_is_seen_once_before_any_is_seen_again():
    mixed = batches(4, 8, photographs=10)
    seen = [index % mixed.total for epoch in range(5) for index in mixed.turns(epoch, 1)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(4, 14))
    assert seen[:10] != seen[10:]


def test_a_photograph_that_comes_again_in_an_epoch_is_varied_anew():
    seen = indices(batches(20, 8, photographs=3), 0)
    assert len(set(seen)) == len(seen) == 40
    times = np.bincount([index % 23 for index in seen], minlength=23)
    assert set(times[:20]) == {1}
    assert set(times[20:]) == {6, 7}


def test_without_photographs_the_order_is_what_it_always_was():
    assert indices(batches(seed=3), 5) == np.random.default_rng((3, 5)).permutation(11)[:8].tolist()


@pytest.mark.parametrize(
    ("counts", "weights", "expected"),
    [
        ((10,), (3,), (10,)),
        ((10, 30), (1, 1), (20, 20)),
        ((10, 30), (1, 3), (10, 30)),
        ((1000, 10), (1e3, 1), (1009, 1)),
    ],
)
def test_an_epoch_draws_as_many_images_as_there_are_in_proportion_to_the_weights(counts, weights, expected):
    assert mix(counts, weights) == expected


def test_every_source_comes_by_turns_and_in_its_share():
    mixed = EpochBatches((4, 12, 8), 8, 8, seed=1, shown=(12, 6, 6))
    epochs = [np.array(indices(mixed, epoch)) for epoch in range(4)]
    for epoch in epochs:
        sources = np.digitize(epoch % 24, [4, 16])
        assert np.bincount(sources).tolist() == [12, 6, 6]
        assert len(set(epoch)) == 24
        assert np.bincount(epoch[sources == 0] % 24).tolist() == [3] * 4
    seen = np.concatenate(epochs[:2]) % 24
    assert sorted(seen[(seen >= 4) & (seen < 16)]) == list(range(4, 16))


@pytest.mark.parametrize("world", [2, 4])
def test_the_draw_of_several_sources_depends_on_the_seed_alone(world):
    mixed = EpochBatches((5, 9, 3), 8, 2, seed=1, total_steps=9, shown=(6, 6, 5))
    shares = [list(replace(mixed, rank=rank, world=world)) for rank in range(world)]
    assert [part for turn in zip(*shares, strict=True) for part in turn] == list(mixed)
    assert list(replace(mixed, start_step=5)) == list(mixed)[20:]
    assert list(replace(mixed, seed=2)) != list(mixed)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mixed_set_is_prepared_in_its_labelled_part_alone(numbered, workers):
    prepare = [lambda s: replace(s, name=f"{s.name} prepared")]
    training = TrainingSet(
        numbered(6), AUGMENTATION, 0, prepare, [TrainingPart(numbered(5, broken={2}, prefix="photo "))]
    )
    loaded = list(Loader(training, batches(6, photographs=5, total_steps=3), workers))
    names = [name for batch in loaded for name in batch.names]
    assert (len(training), len(names)) == (11, 12)
    assert sum(name.startswith("photo") for name in names) in (5, 6, 7)
    assert all(name.startswith("photo") != name.endswith("prepared") for name in names)


def test_an_unreadable_photograph_is_replaced_by_another_and_named(numbered):
    training = TrainingSet(
        numbered(3), AUGMENTATION, 0, others=[TrainingPart(numbered(3, broken={2}, prefix="photo "))]
    )
    sample = training[(0, 5)]
    assert (sample.name, sample.faults) == ("photo 0", ("photo 2.png",))
    assert training[(0, 6 + 5)].name == "photo 0"
    assert training.unvaried(6 + 1).name == "1"


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"batch_size": 10, "micro_batch": 4}, "batch_size 10 .* micro_batch 4: choose .* among 1, 2, 5, 10$"),
        ({"batch_size": 8, "micro_batch": 4, "world": 3}, "evenly: use 1, 2 processes, or .* a multiple of 12$"),
        (
            {"batch_size": 8, "micro_batch": 8, "world": 4},
            "evenly: set train.micro_batch=2 .*, use 1 processes, or a train.batch_size .* multiple of 32$",
        ),
        ({"batch_size": 8, "micro_batch": 0}, "micro_batch 0 and 1 processes: expected at least 1 of each"),
    ],
)
def test_batches_that_cannot_be_shared_are_refused(options, refusal):
    with pytest.raises(UserError, match=refusal):
        batches(count=100, **options)


def test_real_sets_make_batches(sample_data):
    kitti = KittiDataset(sample_data / "kitti", default_split(sample_data / "kitti", "train"))
    nyu = NyuDataset(sample_data / "nyu", default_split(sample_data / "nyu", "train"))
    for dataset, prepare, crop, degrees in [(kitti, kb_crop, (352, 704), 1.0), (nyu, mask_nyu_border, (416, 544), 2.5)]:
        training_set = TrainingSet(dataset, Augmentation(crop, rotate_deg=degrees), seed=0, prepare=(prepare,))
        loader = Loader(training_set, batches(len(dataset), total_steps=1), workers=0)
        for batch in (loaded.to("cpu") for loaded in loader):
            assert batch.image.shape == (2, 3, *crop)
            assert 0 <= batch.image.min() < 0.1
            assert 0.7 < batch.image.max() <= 1
            assert batch.depth[batch.valid].min() > 0.3
            assert batch.valid.float().mean() > 0.1
            assert not batch.faults
