import pytest
import torch
from torch import nn

from distill.config import OptimConfig
from distill.engine.optimisation import build_optimizer, build_schedule
from distill.errors import UserError
from distill.method import METHODS
from students import create_student


class Bare(nn.ModuleDict):
    """A student of an encoder and a decoder with one weight each."""

    min_depth, max_depth = 1e-3, 80.0

    def __init__(self, *parts):
        super().__init__({part: nn.Linear(1, 1, bias=False) for part in parts})


def bare_method(*parts):
    return METHODS["supervised"](Bare(*parts))


def rates(steps=10, **options):
    """The learning rate of every step, and of the one behind the last."""
    inputs = OptimConfig(lr=1.0, **options)
    optimizer = build_optimizer(inputs, bare_method("decoder"))
    schedule = build_schedule(inputs, optimizer, steps)
    result = []
    for _ in range(steps + 1):
        result.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return result


def test_linear_falls_evenly_to_its_final_share():
    assert rates(final_lr_share=0.5) == pytest.approx([1 - 0.05 * step for step in range(11)])


def test_cosine_is_half_way_in_the_middle():
    result = rates(schedule="cosine", final_lr_share=0.1)
    assert (result[0], result[5], result[10]) == pytest.approx((1.0, 0.55, 0.1))


def test_constant_stays():
    assert rates(schedule="constant") == [1.0] * 11


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_a_warm_up_rises_evenly_to_the_peak(schedule):
    result = rates(schedule=schedule, warmup_share=0.4, final_lr_share=0.1)
    assert result[:5] == pytest.approx([0.25, 0.4375, 0.625, 0.8125, 1.0])
    assert result[-1] == pytest.approx(1.0 if schedule == "constant" else 0.1)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimizer_has_what_learns_and_its_options(name, kind):
    method = bare_method("encoder", "decoder")
    method.student["encoder"].requires_grad_(False)
    optimizer = build_optimizer(OptimConfig(name=name, lr=0.5, weight_decay=0.25, betas=(0.5, 0.75)), method)
    (group,) = optimizer.param_groups
    assert type(optimizer) is kind
    assert group["params"] == list(method.student["decoder"].parameters())
    assert (group["lr"], group["weight_decay"], group["betas"]) == (0.5, 0.25, (0.5, 0.75))


def learning_rates(student, optimizer):
    """The learning rate of every parameter of a student by its name."""
    names = {id(p): name for name, p in student.named_parameters()}
    return {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("name", ["test_efficientnet", "dpt_micro"])
def test_the_encoder_learns_at_its_share_of_the_rate_and_the_rest_at_the_whole(name):
    student = create_student(name, pretrained=False)
    optimizer = build_optimizer(OptimConfig(lr=1.0, encoder_lr_share=0.1), METHODS["supervised"](student))
    result = learning_rates(student, optimizer)
    assert result.keys() == dict(student.named_parameters()).keys()
    for key, rate in result.items():
        backbone = key.startswith("encoder.") and not key.startswith("encoder.reassemble.")
        assert rate == (0.1 if backbone else 1.0), key


@pytest.mark.parametrize("lam", [True, False])
def test_fam_and_lam_learn_at_their_share_of_the_rate_and_the_student_at_its_own(lam):
    student = create_student("test_efficientnet", pretrained=False)
    method = METHODS["disdepth"](student, teacher_channels=(4, 4, 4, 4), lam=lam)
    optimizer = build_optimizer(OptimConfig(lr=1.0, fam_lr_share=0.1, encoder_lr_share=0.5), method)
    expected = {"fam": 0.1, "lam": 0.1, "student.encoder": 0.5, "student.decoder": 1.0}
    result = learning_rates(method, optimizer)
    assert result.keys() == dict(method.named_parameters()).keys()
    for key, rate in result.items():
        assert rate == next(share for start, share in expected.items() if key.startswith(f"{start}.")), key


def test_a_rate_for_fam_is_of_no_matter_to_a_method_without_it():
    student = create_student("test_efficientnet", pretrained=False)
    (group, *others) = build_optimizer(OptimConfig(fam_lr_share=0.1), METHODS["supervised"](student)).param_groups
    assert (len(group["params"]), others) == (len(list(student.parameters())), [])


def test_what_does_not_learn_is_in_no_group():
    student = create_student("test_efficientnet", pretrained=False)
    student.encoder.requires_grad_(False)
    optimizer = build_optimizer(OptimConfig(encoder_lr_share=0.5), METHODS["supervised"](student))
    assert learning_rates(student, optimizer).keys() == {
        f"decoder.{key}" for key, _ in student.decoder.named_parameters()
    }


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_every_group_keeps_its_share_through_the_schedule(schedule):
    inputs = OptimConfig(lr=1.0, encoder_lr_share=0.25, schedule=schedule, warmup_share=0.4, final_lr_share=0.1)
    optimizer = build_optimizer(inputs, bare_method("encoder", "decoder"))
    scheduler = build_schedule(inputs, optimizer, 10)
    for _ in range(11):
        decoder, encoder = scheduler.get_last_lr()
        assert encoder == pytest.approx(0.25 * decoder)
        optimizer.step()
        scheduler.step()


def test_a_rate_for_the_encoder_of_something_without_one_is_refused():
    with pytest.raises(UserError, match=r"optim\.encoder_lr_share needs a student with an encoder, Bare has none"):
        build_optimizer(OptimConfig(encoder_lr_share=0.1), bare_method("decoder"))
