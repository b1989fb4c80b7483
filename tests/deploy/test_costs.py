import sys

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from distill.deploy.costs import count_gflops, peak_growth, weight_bytes
from students import create_student
from teachers import create_dpt

CPU = torch.device("cpu")


def test_flops_are_two_for_each_multiply_accumulate():
    conv = nn.Conv2d(3, 8, 3, padding=1)
    assert count_gflops(conv, (32, 64)) == pytest.approx(2 * 3 * 8 * 9 * 32 * 64 / 1e9)


@pytest.mark.parametrize("name", ["test_efficientnet", "dpt_micro"])
def test_they_are_those_of_pytorchs_own_counter(name):
    with torch.device("meta"), torch.no_grad():
        model = create_dpt(name) if name == "dpt_micro" else create_student(name, pretrained=False, bins=8, width=8)
        with FlopCounterMode(display=False) as counter:
            model.eval()(torch.zeros(1, 3, 45, 70))
    assert count_gflops(model, (45, 70)) == pytest.approx(counter.get_total_flops() / 1e9)


def test_counting_leaves_the_model_as_it_is():
    student = create_student("test_efficientnet", pretrained=False, bins=8, width=8)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    assert count_gflops(student, (64, 64)) > 0
    assert student.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_the_bytes_are_those_of_weights_and_buffers():
    assert weight_bytes(nn.BatchNorm1d(10)) == 4 * 40 + 8  # two weights, two statistics, one counter


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_the_peak_is_what_was_held_at_once_not_what_is_left():
    quiet = peak_growth(lambda: None, CPU)
    held = peak_growth(lambda: torch.ones(16 * 2**20).sum(), CPU)
    assert quiet < 8 * 2**20
    assert 60 * 2**20 < held < 100 * 2**20


def test_where_the_system_does_not_tell_the_work_is_done_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr("distill.deploy.costs.CLEAR_REFS", tmp_path / "absent" / "file")
    done = []
    assert peak_growth(lambda: done.append(1), CPU) is None
    assert done == [1]
