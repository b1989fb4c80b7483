import platform

import pytest
import torch

from distill.pages import machine


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n" * 2, "Some CPU @ 2 GHz"),
        ("processor\t: 0\nBogoMIPS\t: 108.00\n", "arm"),
        (None, "arm"),
    ],
    ids=["linux", "linux_on_arm", "elsewhere"],
)
def test_a_processor_is_named_as_well_as_it_is_known(tmp_path, monkeypatch, message, name):
    file = tmp_path / "cpuinfo"
    if message is not None:
        file.write_text(message)
    monkeypatch.setattr(machine, "CPU_INFO", file)
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert machine.processor_name() == name


def test_the_environment_names_device_threads_and_versions():
    message = machine.environment(torch.device("cpu"))
    assert message["device"].startswith(machine.processor_name())
    assert platform.machine() in message["device"]
    assert f"{torch.get_num_threads()} threads" in message["device"]
    assert message["PyTorch"] == torch.__version__
