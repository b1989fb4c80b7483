from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from distill.data.augment import Augmentation
from distill.data.files.list_files import default_split
from distill.data.kitti.drives import KittiDataset, kb_crop
from distill.data.loader import Loader
from distill.data.nyu.halves import NyuDataset, mask_nyu_border
from distill.data.training_set import EpochBatches, TrainingSet
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


def test_a_set_that_cannot_be_read_is_set_up(numbered):
    everything = numbered(30, broken=range(30))
    with pytest.raises(
        UserError, match=r"20 samples in a row cannot be read, the first: cannot read 7.png: the file is"
    ):
        TrainingSet(everything, AUGMENTATION, seed=0)[(0, 7)]


def test_an_epoch_shows_every_image_once_and_drops_the_rest():
    batches = EpochBatches(count=11, batch_size=4, micro_batch=2, seed=0)
    keys = batches.epoch(3)
    assert batches.steps_per_epoch == 2
    assert [len(keys), {len(part) for part in keys}] == [4, {2}]
    indices = [index for part in keys for _, index in part]
    assert len(set(indices)) == 8
    assert set(indices) <= set(range(11))
    assert {epoch for part in keys for epoch, _ in part} == {3}


def test_epochs_and_seeds_differ_in_order():
    orders = [EpochBatches(50, 10, 10, seed).epoch(epoch) for seed, epoch in [(0, 0), (0, 1), (1, 0), (0, 0)]]
    indices = [[index for part in order for _, index in part] for order in orders]
    assert indices[0] == indices[3]
    assert indices[0] != indices[1] != indices[2] != indices[0]


@pytest.mark.parametrize("world", [2, 3, 6])
def test_processes_share_the_same_micro_batches(world):
    alone = EpochBatches(count=40, batch_size=12, micro_batch=2, seed=5, total_steps=7)
    shares = [list(replace(alone, rank=rank, world=world)) for rank in range(world)]
    dealt = [part for turn in zip(*shares, strict=True) for part in turn]
    assert dealt == list(alone)
    assert [len(share) for share in shares] == [len(alone) // world] * world


@pytest.mark.parametrize("start_step", [1, 3, 4, 7, 8])
def test_a_resumed_run_goes_on_where_it_stopped(start_step):
    whole = EpochBatches(count=11, batch_size=4, micro_batch=2, seed=0, total_steps=8)
    rest = replace(whole, start_step=start_step)
    assert list(rest) == list(whole)[2 * start_step :]
    assert len(rest) == len(list(rest))


def test_without_an_end_batches_go_on():
    batches = EpochBatches(count=11, batch_size=4, micro_batch=4, seed=0)
    assert [keys[0][0] for keys in islice(batches, 5)] == [0, 0, 1, 1, 2]
    with pytest.raises(TypeError, match="no end"):
        len(batches)


def test_a_set_smaller_than_a_batch_is_repeated_under_new_indices():
    batches = EpochBatches(count=3, batch_size=8, micro_batch=8, seed=0)
    ((*keys,),) = batches.epoch(0)
    assert batches.steps_per_epoch == 1
    assert len(set(keys)) == 8
    seen = [index % 3 for _, index in keys]
    assert sorted(seen[:3]) == sorted(seen[3:6]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        (
            {"batch_size": 10, "micro_batch": 4},
            "batch_size 10 is not a multiple of micro_batch 4: choose a micro_batch among 1, 2, 5, 10",
        ),
        (
            {"batch_size": 8, "micro_batch": 4, "world": 3},
            "batch_size 8 makes 2 micro-batches of 4, which 3 processes cannot share evenly: use 1, 2 processes, or a "
            "train.batch_size that is a multiple of 12",
        ),
        (
            {"batch_size": 8, "micro_batch": 8, "world": 4},
            "batch_size 8 makes 1 micro-batches of 8, which 4 processes cannot share evenly: set train.micro_batch=2 "
            "(or a divisor of it), use 1 processes, or a train.batch_size that is a multiple of 32",
        ),
        (
            {"batch_size": 8, "micro_batch": 0},
            "100 images, batch_size 8, micro_batch 0 and 1 processes: expected at least 1 of each",
        ),
    ],
)
def test_batches_that_cannot_be_shared_are_refused(options, refusal):
    with pytest.raises(UserError) as error:
        EpochBatches(count=100, seed=0, **options)
    assert str(error.value) == refusal


def test_real_sets_make_batches(sample_data):
    kitti = KittiDataset(sample_data / "kitti", default_split(sample_data / "kitti", "train"))
    nyu = NyuDataset(sample_data / "nyu", default_split(sample_data / "nyu", "train"))
    for dataset, prepare, crop, degrees in [(kitti, kb_crop, (352, 704), 1.0), (nyu, mask_nyu_border, (416, 544), 2.5)]:
        training_set = TrainingSet(dataset, Augmentation(crop, rotate_deg=degrees), seed=0, prepare=(prepare,))
        batches = EpochBatches(len(dataset), batch_size=4, micro_batch=2, seed=0, total_steps=1)
        for batch in (loaded.to("cpu") for loaded in Loader(training_set, batches, workers=0)):
            assert batch.image.shape == (2, 3, *crop)
            assert 0 <= batch.image.min() < 0.1
            assert 0.7 < batch.image.max() <= 1
            assert batch.depth[batch.valid].min() > 0.3
            assert batch.valid.float().mean() > 0.1
            assert not batch.faults
