"""Tiny runs: a teacher of random weights, a folder of ten small streets, the command line called in this process."""

import shutil
import time
from contextlib import redirect_stderr
from functools import cache, partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file

from distill.cli import main
from distill.data import SceneDataset
from distill.deploy.costs import count_gflops
from distill.deploy.latency import measure
from distill.pages.model_results import model_costs
from teachers import create_dpt

torch.set_num_threads(1)  # networks this small only wait for a second thread

SIZE = (32, 64)
DEPTH_SCALE = 256
GPU = torch.cuda.is_available()


def shapes(model):
    """By which networks count as one."""
    return type(model), *((key, weight.shape) for key, weight in model.state_dict().items())


@pytest.fixture(scope="session", autouse=True)
def brief_costs():
    """What a run says of a network's costs is found once for all networks of its shapes, its latency in one round.

    TensorBoard gets one picture in place of a large strip of them.
    """
    known = {}

    def costs(models, size, device):
        key = (*((name, shapes(model)) for name, model in models.items()), size, device)
        known[key] = known.get(key) or model_costs(models, size, device)
        return known[key]

    def gflops(model, size):
        key = (shapes(model), size)
        known[key] = known.get(key) or count_gflops(model, size)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distill.pages.model_results.measure", partial(measure, runs=1))
        patch.setattr("distill.pages.model_results.model_costs", costs)
        patch.setattr("distill.pages.run_page.count_gflops", gflops)
        patch.setattr("distill.assembly.validation.panel_strip", lambda panel: panel.pictures["image"])
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """A file's bytes may lie in memory: a test kills processes, and no machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)
        yield


@pytest.fixture(scope="session")
def micro_weights(tmp_path_factory):
    """A checkpoint of dpt_micro that has learnt nothing."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "dpt_micro.safetensors"
    save_file(create_dpt("dpt_micro").state_dict(), path)
    return path


def write_pair(root, name, sample):
    """One image and its depth in a data set of `data.name: folder`."""
    for folder in ("image", "depth"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(root / "image" / f"{name}.png"), sample.image[..., ::-1])
    assert cv2.imwrite(str(root / "depth" / f"{name}.png"), (sample.depth * DEPTH_SCALE).astype(np.uint16))
    return f"image/{name}.png depth/{name}.png\n"


@pytest.fixture(scope="session")
def streets(tmp_path_factory):
    """Eight small streets to learn from and two to be evaluated on. Tests copy it before they spoil it."""
    root = tmp_path_factory.mktemp("streets")
    for part, count, seed in (("train", 8, 1), ("test", 2, 2)):
        scenes = SceneDataset("road", count, seed, SIZE)
        lines = [write_pair(root, f"{part}{i}", scenes[i]) for i in range(count)]
        (root / f"{part}_files_with_gt.txt").write_text("".join(lines))
    return root


@pytest.fixture
def own_streets(streets, tmp_path):
    """A copy of the streets that a test may spoil."""
    return shutil.copytree(streets, tmp_path / "own_streets")


@pytest.fixture(scope="session")
def content(streets, micro_weights):
    """The configuration of a run of four steps that takes a second, as a nested mapping."""
    return {
        "data": {"name": "folder", "root": str(streets), "depth_scale": DEPTH_SCALE, "workers": 0},
        "teacher": {"name": "dpt_micro", "checkpoint": str(micro_weights)},
        "student": {"backbone": "test_efficientnet", "pretrained": False, "width": 8, "bins": 8},
        "train": {"batch_size": 4, "steps": 4, "validate_every": 2, "log_every": 1},
        "optim": {"lr": 1e-3},
        "eval": {"pictures": 0},
    }


@pytest.fixture(scope="session")
def config_file(content, tmp_path_factory):
    """The same as a YAML file."""
    path = tmp_path_factory.mktemp("configs") / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only where the test says so."""
    clock = SimpleNamespace(now=0.0)
    clock.pass_by = lambda seconds: setattr(clock, "now", clock.now + seconds)
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(time, "sleep", clock.pass_by)
    return clock


@pytest.fixture
def other_precision():
    """Lets a test use another precision, of which a process has one for good."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture
def train(config_file, tmp_path):
    """train(*overrides and options, output=...) carries out a run and returns its folder."""

    def run(*words, output=None):
        output = output or tmp_path / "run"
        assert main(["train", str(config_file), *words, "--output", str(output)]) == 0
        return output

    return run


@pytest.fixture(scope="session")
def trained(config_file, tmp_path_factory):
    """trained(*overrides, config=...): the folder of that run, carried out once; beside it lies what it said, in `log`.

    Tests copy it before they change it.
    """

    @cache
    def run(*words, config=config_file):
        output = tmp_path_factory.mktemp("trained") / "run"
        with output.with_name("log").open("w") as log, redirect_stderr(log):
            assert main(["train", str(config), *words, "--output", str(output)]) == 0
        return output

    return run


@pytest.fixture(scope="session")
def finished(trained):
    """A finished run of the tiny configuration."""
    return trained()


@pytest.fixture(scope="session")
def plain(trained):
    """A finished run without a teacher, for what is the same with one."""
    return trained("method.name=supervised")


@pytest.fixture
def own_run(finished, tmp_path):
    """A copy of the finished run that a test may change."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture(scope="session")
def weights():
    """weights(run folder): the tensors of its student by name."""
    return lambda folder: load_file(folder / "student" / "model.safetensors")


@pytest.fixture(scope="session")
def assert_same():
    """assert_same(one, other): two mappings of tensors are equal in every bit, on GPUs nearly: sums have no order."""

    def same(one, other):
        return torch.allclose(one.double(), other.double(), rtol=1e-3, atol=1e-5) if GPU else torch.equal(one, other)

    def check(one, other):
        assert one.keys() == other.keys()
        assert [key for key in one if not same(one[key], other[key])] == []

    return check


@pytest.fixture
def refused(capsys):
    """refused(*arguments): the line with which the command refuses them. It is the only one, and the code is 2."""

    def run(*arguments):
        capsys.readouterr()
        assert main([str(word) for word in arguments]) == 2
        message = capsys.readouterr()
        assert message.out == ""
        lines = message.err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("distill: ")
        return lines[0].removeprefix("distill: ")

    return run
