"""What a step asks of a device, counted call by call: no GPU is needed for that."""

from collections import Counter

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from distill.data import Batch
from distill.engine.step import Learner, Statistics, count_pixels, run_step
from distill.method import METHODS
from students import create_student
from teachers import create_teacher

WAIT = "aten::_local_scalar_dense"  # a number that Python asks for


class Calls(TorchDispatchMode):
    """Counts what reaches the device, by name."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func.name().split(".")[0]] += 1
        return func(*args, **(kwargs or {}))


def calls_of_statistics(norms):
    module = nn.Sequential(*(nn.BatchNorm1d(2) for _ in range(norms)))
    with Calls() as calls:
        statistics = Statistics(module)
        statistics.next()
        statistics.keep()
    return sum(count for name, count in calls.counts.items() if "empty" not in name)


def test_the_running_statistics_of_many_norms_take_no_more_calls_than_those_of_one():
    assert calls_of_statistics(20) == calls_of_statistics(1) < 12


@pytest.mark.parametrize("name", METHODS)
def test_a_step_waits_for_its_device_once_however_many_parts_its_batch_has(monkeypatch, name):
    monkeypatch.setattr("teachers.model.check_pixels", lambda image: None)  # which looks at images on CPUs only
    student = create_student("test_efficientnet", pretrained=False, max_depth=80.0, width=16, bins=8)
    teacher = create_teacher("dpt_micro")
    options = {"teacher_channels": teacher.feature_channels} if METHODS[name].needs_features else {}
    method = METHODS[name](student, **options)
    accelerator = Accelerator()
    optimizer = accelerator.prepare(torch.optim.SGD(method.parameters(), lr=1e-3))
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer.optimizer, 1)
    learner = Learner(accelerator, method, method, teacher, optimizer, schedule)
    part = Batch(torch.rand(2, 3, 64, 96), 1 + torch.rand(2, 1, 64, 96), torch.ones(2, 1, 64, 96).bool(), ("a", "b"))
    counts = count_pixels(learner, [part, part])  # on the host, of what the loader gives
    asked, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda one: asked.append(one.shape) or tolist(one))
    with Calls() as calls:
        run_step(learner, [part, part], 0, counts)
    assert calls.counts[WAIT] == 0
    assert asked == [(2 if name == "disdepth" else 1,)]  # whether gradients are finite, of the student and of FAM
