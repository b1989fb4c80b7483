import pytest
import torch
from torch import nn

from distill.engine.step import Statistics, running


@pytest.fixture
def norm():
    torch.manual_seed(0)
    return nn.BatchNorm1d(2, momentum=0.25)


def batches(count):
    return list(torch.randn(count, 8, 2) * 3 + 1)


def moved(norm, parts):
    """The running mean, variance and count after one step of these micro-batches."""
    statistics = Statistics(norm)
    for part in parts[:-1]:
        norm(part)
        statistics.next()
    norm(parts[-1])
    statistics.keep()
    return [kept.clone() for kept in running(norm)]


def test_a_step_moves_them_by_the_mean_of_what_its_micro_batches_would(norm):
    parts = batches(3)
    mean, variance, count = moved(norm, parts)
    assert count == 1
    assert torch.allclose(mean, 0.25 * torch.stack(parts).mean(dim=(0, 1)))
    assert torch.allclose(variance, 0.75 + 0.25 * torch.stack([part.var(dim=0) for part in parts]).mean(dim=0))


def test_processes_that_share_the_micro_batches_have_the_same_mean(norm):
    steps = [batches(2) for _ in range(5)]
    alone = [moved(norm, parts) for parts in steps][-1]
    shares = []
    for rank in (0, 1):
        norm.reset_running_stats()
        shares.append([moved(norm, parts[rank : rank + 1]) for parts in steps][-1])
    for one, first, second in zip(alone, *shares, strict=True):
        assert torch.allclose(one.double(), (first.double() + second) / 2, rtol=1e-6)


def test_one_micro_batch_moves_them_as_ever(norm):
    (part,) = batches(1)
    other = nn.BatchNorm1d(2, momentum=0.25)
    other(part)
    assert all(torch.equal(one, two) for one, two in zip(moved(norm, [part]), running(other), strict=True))


def test_an_undone_step_leaves_them_as_they_were(norm):
    former = [kept.clone() for kept in running(norm)]
    statistics = Statistics(norm)
    for part in batches(2):
        norm(part)
        statistics.next()
    norm(torch.full((8, 2), float("nan")))
    statistics.undo()
    assert all(torch.equal(one, two) for one, two in zip(running(norm), former, strict=True))


def test_a_norm_that_gathers_nothing_is_left_alone(norm):
    assert running(nn.Sequential(norm.eval(), nn.BatchNorm1d(2, track_running_stats=False), nn.GroupNorm(1, 2))) == []
