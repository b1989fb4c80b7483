from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from distill.assembly import preflight
from distill.assembly.preflight import advise_schedule, advise_workers, check_norms
from distill.config import TrainConfig
from distill.engine.processes import cores
from distill.errors import UserError


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    monkeypatch.setattr(preflight, "cores", lambda: 4)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)


def test_the_cores_of_this_process_are_counted():
    assert cores() >= 1


def test_more_workers_than_cores_are_worth_a_line(monkeypatch):
    assert advise_workers(4) == []
    assert advise_workers(5) == ["data.workers=5 on 4 cores: they will wait for each other"]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert advise_workers(2) == []
    assert advise_workers(3) == ["data.workers=3 for each of 2 processes on 4 cores: they will wait for each other"]


def test_a_batch_of_more_images_than_there_are_is_worth_a_line():
    assert advise_schedule(TrainConfig(batch_size=8), 8, 100) == []
    (line,) = advise_schedule(TrainConfig(batch_size=8), 7, 100)
    assert line == "train.batch_size=8 exceeds the 7 training images: steps repeat some"


def test_a_schedule_that_the_data_cannot_fill_is_worth_a_line():
    assert advise_schedule(TrainConfig(batch_size=4), 8, 2000) == []
    (line,) = advise_schedule(TrainConfig(batch_size=4), 8, 100_000)
    assert line.startswith("100000 steps of 4 images go 50000 times through 8 training images; lower train.steps")


@pytest.mark.parametrize(
    ("sizes", "side", "fix"),
    [
        ({"batch_size": 1}, 32, "raise train.batch_size to 2, or data.size to 64"),
        ({"batch_size": 4, "micro_batch": 1}, 32, "raise train.micro_batch to 2, or data.size to 64"),
        ({"batch_size": 4, "micro_batch": 2}, 32, None),
        ({"batch_size": 1}, 64, None),
    ],
)
def test_a_batchnorm_of_one_value_is_refused_before_the_first_step(sizes, side, fix):
    student = nn.Sequential(nn.Conv2d(3, 2, 32, 32), nn.BatchNorm2d(2))
    samples = {(0, 0): SimpleNamespace(depth=np.zeros((side, side)))}
    before = {name: value.clone() for name, value in student.state_dict().items()}
    if fix is None:
        check_norms(student, TrainConfig(**sizes), samples)
    else:
        with pytest.raises(UserError, match=fix):
            check_norms(student, TrainConfig(**sizes), samples)
    assert student.training
    assert all(value.equal(before[name]) for name, value in student.state_dict().items())
    check_norms(student[0], TrainConfig(batch_size=1), samples)  # without norms any batch goes
