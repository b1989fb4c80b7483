import time

import pytest
import torch

from distill.deploy.latency import WARMUP, Call, measure, median_latency_ms, summary


class Clock:
    """Time that passes only where the test says so."""

    def __init__(self):
        self.now = 0.0

    def pass_by(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(time, "sleep", clock.pass_by)
    return clock


def test_the_median_and_the_90th_percentile_are_those_of_the_measured_runs(clock):
    taken = iter([9.0] * WARMUP + [0.001 * i for i in range(1, 12)])
    result = measure({"model": Call(lambda: clock.pass_by(next(taken)))}, runs=11)["model"]
    assert result.median_ms == pytest.approx(6)
    assert result.p90_ms == pytest.approx(10)
    assert result.fps == pytest.approx(1000 / 6)
    assert result.runs == 11


def test_calls_take_turns_and_their_order_rotates(clock):
    order = []
    calls = {name: Call(lambda name=name: order.append(name)) for name in "abc"}
    rounds = []
    measure(calls, runs=3, progress=lambda: rounds.append(len(order)))
    assert "".join(order) == "abcbcacab" * 2
    assert rounds == [3, 6, 9, 12, 15, 18]


def test_a_slow_time_of_the_machine_spreads_over_all_calls(clock):
    """What is measured in turn sees the same machine: a drift leaves the ratio of two calls as it is."""
    calls = {name: Call(lambda cost=cost: clock.pass_by(cost * (1 + clock.now))) for name, cost in (("a", 1), ("b", 2))}
    result = measure(calls, runs=3)
    assert result["b"].median_ms > result["a"].median_ms


def test_the_pause_between_calls_is_not_measured(clock):
    calls = {name: Call(lambda: clock.pass_by(0.002)) for name in "ab"}
    assert measure(calls, runs=2)["a"].median_ms == pytest.approx(2)


def test_one_measurement_is_its_own_percentile():
    assert (summary([5.0]).median_ms, summary([5.0]).p90_ms) == (5.0, 5.0)


def test_nothing_to_measure_gives_nothing():
    assert measure({}, runs=2) == {}


def test_the_latency_of_a_model_is_that_of_one_image(clock):
    shapes = []

    def model(image):
        shapes.append(tuple(image.shape))
        clock.pass_by(0.004)

    assert median_latency_ms(model, (32, 64), runs=2) == pytest.approx(4)
    assert set(shapes) == {(1, 3, 32, 64)}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_work_on_a_gpu_is_measured_to_its_end():
    a = torch.rand(4096, 4096, device="cuda")
    quick, slow = (measure({"x": Call(lambda n=n: [a @ a for _ in range(n)], on_gpu=True)})["x"] for n in (1, 10))
    assert slow.median_ms > 4 * quick.median_ms
