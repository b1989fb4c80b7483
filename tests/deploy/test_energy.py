import sys
from types import SimpleNamespace

import pytest
import torch

from distill.deploy import energy
from distill.deploy.energy import meter_of
from distill.deploy.latency import WARMUP, Call, measure

CPU = torch.device("cpu")


@pytest.fixture
def powercap(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    for name, microjoules in {"intel-rapl:0": 1_500_000, "intel-rapl:1": 250_000, "intel-rapl:0:0": 9_000_000}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{microjoules}\n")
    return tmp_path


def test_a_processor_tells_the_joules_of_its_packages_and_not_again_those_of_their_parts(powercap):
    assert meter_of(CPU)() == pytest.approx(1.75)


@pytest.mark.parametrize("content", [None, "", "locked"])
def test_a_processor_whose_counter_cannot_be_read_tells_nothing(powercap, content):
    counter = powercap / "intel-rapl:0" / "energy_uj"
    counter.unlink() if content is None else counter.write_text(content)
    assert meter_of(CPU) is None


def test_a_machine_without_counters_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "absent")
    assert meter_of(CPU) is None


def test_a_gpu_is_asked_by_its_uuid_and_counts_in_millijoules(monkeypatch):
    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: {"GPU-ab-1": 2500}[handle],
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="ab-1"))
    assert meter_of(torch.device("cuda"))() == 2.5


def test_a_gpu_without_its_library_or_its_counter_tells_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert meter_of(torch.device("cuda")) is None


def test_each_model_has_the_mean_joules_of_its_own_measured_calls(clock):
    counter = [100.0]

    def use(joules):
        counter[0] += joules

    calls = {"small": Call(lambda: use(0.5)), "large": Call(lambda: use(2))}
    result = measure(calls, runs=4, meter=lambda: counter[0])
    assert (result["small"].joules, result["large"].joules) == (0.5, 2)
    assert measure(calls, runs=1)["small"].joules is None


def test_a_counter_that_begins_again_at_0_does_not_count(clock):
    steps = iter([*[1.0] * (WARMUP + 1), -99.0, 3.0])
    counter = [100.0]

    def use():
        counter[0] += next(steps)

    assert measure({"x": Call(use)}, runs=3, meter=lambda: counter[0])["x"].joules == 2
