"""The real step on a GPU that is not there: all tensors meet on one device, and what is asked of it has bounds."""

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from pretend_gpu import GPU, pretend_gpu

from distill.data import Batch
from distill.engine.step import Learner, count_pixels, run_step
from distill.method import LOSSES, METHODS, DepthPull, FixedGhost
from students import create_student
from teachers import DPT, DPT_CONFIGS, FrozenTeacher
from teachers.stem import StemConfig

STEM = StemConfig(layers=(1, 1, 1), channels=(32, 64, 128), width=16, groups=8)
TINY = replace(
    DPT_CONFIGS["dpt_micro"], width=32, heads=2, hooks=(0, 1), channels=(32, 64, 16, 16), stem=STEM, features=16
)
TEACHERS = {"metric": TINY, "relative": replace(TINY, invert=False, min_depth=None, max_depth=None)}
PULL = DepthPull(gradient_weight=0.5, trim=0.1)


def cnn(**options):
    return create_student("test_efficientnet", pretrained=False, **{"width": 8, **options})


STUDENTS = {
    "paper": cnn,
    "lg_conv": lambda: cnn(lg_conv=True),
    "light": lambda: cnn(decoder="light", width=16, bins=64),
    "classes": lambda: cnn(decoder="light", width=16, classes=("sky", "ground", "wall")),
    "pruned": lambda: create_student("dpt_micro", heads=1, hooks=(0, 1), resolution_scale=0.5),
}


def make_method(name, student, loss="silog", **options):
    if METHODS[name].needs_features:
        options["teacher_channels"] = TINY.channels
    return METHODS[name](student, LOSSES[loss], **options)


def make_batch(measured=True):
    """Bytes, as the loader gives them; the first of two images may have no truth."""
    valid = torch.tensor([measured, True]).view(2, 1, 1, 1).expand(2, 1, 64, 64)
    return Batch(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8), torch.ones(2, 1, 64, 64), valid, ("a", "b"))


def count_step(method, teacher, precision, batches):
    """The calls of one step."""
    hosted = Learner(Accelerator(), method, method, teacher, None, None)
    counts = count_pixels(hosted, batches)  # by the host, of what the loader gives
    with pretend_gpu() as calls:
        method.to(GPU)
        accelerator = Accelerator(mixed_precision=precision)
        optimizer = accelerator.prepare(torch.optim.AdamW(method.parameters(), lr=1e-3, fused=True))
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer.optimizer, 1)
        module = accelerator.prepare_model(method, device_placement=False)
        teacher = None if teacher is None else teacher.to(GPU)
        learner = Learner(accelerator, method, module, teacher, optimizer, schedule, clip=1.0)
        calls.clear()
        values, _ = run_step(learner, batches, 0, counts)
        assert {key for key, value in values.items() if value.device != GPU} == {"lr"}
    return calls


# Method, student, teacher, precision, what else; and the most calls of the device.
STEPS = {
    "supervised": ("supervised", "lg_conv", None, "no", {}, 1045),
    "output of a relative teacher": ("output", "light", "relative", "bf16", {"pull": PULL}, 2145),
    "fill": ("fill", "pruned", "metric", "no", {}, 2410),
    "feature": ("feature", "classes", "metric", "bf16", {}, 1375),
    "disdepth": ("disdepth", "paper", "metric", "bf16", {}, 2585),
    "supervised in bf16": ("supervised", "lg_conv", None, "bf16", {}, 1185),
    "output": ("output", "light", "metric", "no", {"pull": PULL}, 1400),
    "fill in bf16": ("fill", "light", "metric", "bf16", {"loss": "midas"}, 1570),
    "feature and depth": ("feature", "pruned", "metric", "no", {"depth_pull": PULL, "loss": "eigen"}, 2950),
    "disdepth in float32": ("disdepth", "lg_conv", "metric", "no", {"kd_normalise": True}, 2575),
    "disdepth without LAM": ("disdepth", "classes", "metric", "no", {"lam": False}, 1835),
    "disdepth with a fixed ghost": ("disdepth", "light", "metric", "bf16", {"ghost": True}, 2880),
}


def marks(name):
    """One step is enough for every run of the tests: each takes seconds."""
    return () if name == "supervised" else pytest.mark.slow


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in STEPS])
def test_a_step_waits_for_its_device_once_and_calls_it_seldom(name):
    method, kind, teacher, precision, options, most = STEPS[name]
    if "ghost" in options:
        options = {"ghost": FixedGhost(STUDENTS[kind]())}
    method = make_method(method, STUDENTS[kind](), **options)
    frozen = None if teacher is None else FrozenTeacher(DPT(TEACHERS[teacher]))
    calls = count_step(method, frozen, precision, [make_batch(measured=kind == "classes" or teacher is None)])
    assert +calls.waits == {"tolist": 1}  # whether gradients are finite
    assert calls.total <= most


@pytest.mark.slow
def test_a_step_of_many_micro_batches_waits_as_often_as_one_of_one():
    calls = count_step(make_method("supervised", STUDENTS["light"]()), None, "no", [make_batch(), make_batch()])
    assert +calls.waits == {"tolist": 1}


@pytest.mark.parametrize("loss", LOSSES)
def test_no_loss_waits_for_its_device(loss):
    with pretend_gpu() as calls:
        pred = torch.ones(2, 1, 8, 8, device=GPU, dtype=torch.bfloat16, requires_grad=True)
        target = torch.ones(2, 1, 8, 8, device=GPU)
        calls.clear()
        LOSSES[loss](pred, target, target > 0).backward()
        assert pred.grad.device == GPU
    assert not +calls.waits
    assert calls.total <= 320


def test_tensors_on_two_devices_and_what_is_waited_for_are_noticed():
    with pretend_gpu() as calls:
        there = torch.ones(3, device=GPU)
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3)
        with pytest.raises(RuntimeError, match="nonzero"):
            there[there > 0]
        calls.clear()
        bool(there.any()), there.cpu(), there.tolist(), torch.tensor(1.0, device=GPU)
        torch.ones(3).to(GPU, non_blocking=True)
    assert calls.waits.total() == 4
