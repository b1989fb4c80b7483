"""A student's form for inference gives what the student gives."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from students import create_student
from students.fused import FusedConv2d, optimise

STUDENTS = {
    "paper_lg": ("test_efficientnet", {"lg_conv": True}),
    "added in place": ("test_resnet", {}),
    "light": ("mobilenetv4_conv_small_035", {"decoder": "light"}),
    "squeezed": ("mobilenetv3_small_050", {"decoder": "light", "lg_conv": True}),
    "branches": ("repghostnet_050", {"decoder": "light"}),
    "dpt": ("dpt_micro", {"hooks": (0, 1)}),
}


def settle(student):
    """Give norms statistics that would be seen if they were lost."""
    generator = torch.Generator().manual_seed(0)
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, (low, high) in (
                (module.running_mean, (-0.5, 0.5)),
                (module.running_var, (0.5, 1.5)),
                (module.weight, (0.5, 1.5)),
                (module.bias, (-0.5, 0.5)),
            ):
                nn.init.uniform_(values, low, high, generator=generator)
    return student.eval()


@pytest.fixture(scope="module", params=STUDENTS)
def student(request):
    name, options = STUDENTS[request.param]
    torch.manual_seed(0)
    bins = {} if name == "dpt_micro" else {"width": 16, "bins": 8}
    return settle(create_student(name, pretrained=False, min_depth=0.5, max_depth=10.0, **bins, **options))


@torch.no_grad()
def test_it_gives_the_same_depth_at_any_size_and_batch(student, images):
    fast = optimise(student)
    for size in ((32, 64), (43, 71)):
        assert_close(fast(images(*size)), student(images(*size)), rtol=1e-5, atol=1e-5)
        assert_close(fast(images(*size)[:1]), student(images(*size)[:1]), rtol=1e-5, atol=1e-5)


def test_what_watches_or_wants_gradients_sees_plain_layers(student, images):
    fast, image = optimise(student), images(64, 64)
    expected = student(image).detach()
    assert_close(fast(image).detach(), expected, rtol=1e-5, atol=1e-5)  # gradients are on here


def test_nothing_but_convolutions_is_left_of_norms(make_student):
    fast = optimise(make_student("mobilenetv4_conv_small_035", decoder="light"))
    assert not [module for module in fast.modules() if isinstance(module, nn.BatchNorm2d)]
    convolutions = [module for module in fast.modules() if isinstance(module, nn.Conv2d)]
    assert all(type(conv) is FusedConv2d for conv in convolutions)


def test_the_student_itself_stays_as_it_was(student, images):
    before = {key: value.clone() for key, value in student.state_dict().items()}
    optimise(student)
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())
