import os
from pathlib import Path

import pytest
import torch

from distill.config import TrainConfig, load_config
from distill.engine.device import precision_here, settle
from distill.engine.faults import step_explained
from distill.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"
FOR_A_CPU = {"a_scenes", "few_labels", "imagenet", "imagenet_teacher", "small", "small_rooms", "small_teacher"}
FOR_A_CPU |= {"ablations"}
RECIPES = [
    path
    for path in sorted(CONFIGS.glob("*/*.yaml"))
    if path.stem not in FOR_A_CPU and path.parent.name not in FOR_A_CPU
]


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """What PyTorch keeps for the whole process is put back."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("gpu", "native", "chosen"), [(True, True, "bf16"), (True, False, "no"), (False, True, "no")])
def test_a_precision_is_chosen_by_the_device(monkeypatch, gpu, native, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert precision_here("auto") == chosen
    assert [precision_here(one) for one in ("no", "bf16", "fp16")] == ["no", "bf16", "fp16"]


@pytest.mark.parametrize(("device", "expected"), [("cpu", "highest"), ("cuda", "high")])
def test_only_a_gpu_multiplies_matrices_at_less_than_float32(device, expected):
    settle(TrainConfig(matmul="high"), torch.device(device))
    assert torch.get_float32_matmul_precision() == expected


@pytest.mark.parametrize("deterministic", [False, True])
def test_convolutions_of_a_gpu_are_chosen_by_time_unless_bits_are_to_repeat(deterministic):
    settle(TrainConfig(deterministic=deterministic), torch.device("cuda"))
    assert torch.backends.cudnn.benchmark is not deterministic


def test_determinism_is_asked_for_and_taken_back_by_the_next_run():
    settle(TrainConfig(deterministic=True), torch.device("cpu"))
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    settle(TrainConfig(), torch.device("cpu"))
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_operation_that_refuses_determinism_is_named_with_the_key(make_batch):
    refusal = "cumsum_cuda_kernel does not have a deterministic implementation, but you set 'torch.use_determ..."
    named = r"train\.deterministic=true: cumsum_cuda_kernel .* false"
    with pytest.raises(UserError, match=named), step_explained(make_batch(), 0):
        raise RuntimeError(refusal)


@pytest.mark.parametrize(
    "path", [CONFIGS / "folder.yaml", *RECIPES], ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_recipes_for_gpus_decide_what_a_gpu_computes_in(path):
    config = load_config(path, [])
    assert (config.train.precision, config.train.matmul, config.data.workers) == ("auto", "high", None)
