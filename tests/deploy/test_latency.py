import platform

import pytest
import torch

from distill.deploy import latency
from distill.deploy.latency import WARMUP, Call, measure


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


def test_the_pause_between_calls_is_not_measured(clock):
    calls = {name: Call(lambda: clock.pass_by(0.002)) for name in "ab"}
    assert measure(calls, runs=2)["a"].median_ms == pytest.approx(2)


def test_one_measurement_is_its_own_percentile_and_nothing_gives_nothing(clock):
    result = measure({"model": Call(lambda: clock.pass_by(0.005))}, runs=1)["model"]
    assert (result.median_ms, result.p90_ms) == pytest.approx((5, 5))
    assert measure({}, runs=2) == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_work_on_a_gpu_is_measured_to_its_end():
    a = torch.rand(4096, 4096, device="cuda")
    quick, slow = (measure({"x": Call(lambda n=n: [a @ a for _ in range(n)], on_gpu=True)})["x"] for n in (1, 10))
    assert slow.median_ms > 4 * quick.median_ms


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n" * 2, "Some CPU @ 2 GHz"),
        ("processor\t: 0\nBogoMIPS\t: 108.00\n", "arm"),
        (None, "arm"),
    ],
    ids=["linux", "linux_on_arm", "elsewhere"],
)
def test_the_environment_names_processor_threads_and_versions(tmp_path, monkeypatch, message, name):
    file = tmp_path / "cpuinfo"
    if message is not None:
        file.write_text(message)
    monkeypatch.setattr(latency, "CPU_INFO", file)
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    facts = latency.environment(torch.device("cpu"))
    assert facts["device"].startswith(f"{name} ({platform.machine()}")
    assert f"{torch.get_num_threads()} threads" in facts["device"]
    assert facts["PyTorch"] == torch.__version__
