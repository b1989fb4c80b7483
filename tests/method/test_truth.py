"""Students of classes by every method: what they learn, and what of a teacher counts for them."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from distill.method import METHODS, symptoms
from distill.method.health import describe_classes
from distill.method.losses import class_loss
from distill.method.outputs import Supervised
from students import create_student
from teachers import FrozenTeacher

NAMES = ("sky", "ground", "wall")
CHANNELS = (5, 7, 9, 11)


def make_class_student(names=NAMES, decoder="light"):
    torch.manual_seed(4)
    return create_student("test_resnet", decoder=decoder, width=8, lg_conv=False, pretrained=False, classes=names)


@pytest.fixture
def class_student():
    return make_class_student().train()


@pytest.fixture
def class_batch(batch):
    """Image, numbers of classes from 1, valid; the second image has no truth."""
    image, _, valid = batch
    number = (image[:, :1] * 3).floor().clamp(max=2) + 1
    return image, number, valid & torch.tensor([True, False]).view(2, 1, 1, 1)


def step_of(method, teacher, batch, step=9):
    image, number, valid = batch
    valid = method.limit(number, valid)
    return method(image, number, valid, method.consult(teacher, image, valid), step)


def test_the_loss_is_the_mean_cross_entropy_of_valid_pixels():
    logits = torch.tensor([[0.0, 1.0], [2.0, 1.0]], dtype=torch.float64).view(1, 2, 1, 2)
    target, valid = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2), torch.tensor([True, False]).view(1, 1, 1, 2)
    assert class_loss(logits, target, valid, classes=2).item() == pytest.approx(math.log(1 + math.exp(2)))
    both = torch.cat([logits, torch.zeros_like(logits)], dim=1)
    expected = math.log(1 + math.exp(2)) + 0.2 * math.log(2)
    assert class_loss(both, target, valid, classes=2).item() == pytest.approx(expected)
    assert class_loss(logits, target, valid & False, classes=2) == 0


def test_the_loss_refuses_logits_of_other_classes():
    target = torch.ones(1, 1, 4, 4)
    with pytest.raises(ValueError, match="logits of 3 classes"):
        class_loss(torch.zeros(1, 4, 4, 4), target, target > 0, classes=3)


@pytest.mark.parametrize("name", ["supervised", "feature", "disdepth"])
@pytest.mark.parametrize("decoder", ["paper", "light"])
def test_a_student_of_classes_learns_from_the_maps_of_a_depth_teacher(name, decoder, teacher, class_batch):
    student = make_class_student(decoder=decoder).train()
    options = {"teacher_channels": CHANNELS} if METHODS[name].needs_features else {}
    method = METHODS[name](student, **options)
    result = step_of(method, teacher, class_batch)
    result.loss.backward()
    assert result.loss.isfinite()
    assert [key for key, p in method.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert 0 <= result.logs["variety"] < 1


def test_a_depth_teacher_is_asked_for_no_truth_of_a_student_of_classes(teacher, class_student, class_batch):
    method = Supervised(class_student)
    assert method.consult(teacher, class_batch[0], class_batch[2]).depth is None
    assert not method.explained_by(teacher)


@pytest.mark.parametrize("name", ["output", "fill"])
def test_a_teacher_of_the_same_classes_explains_what_has_no_truth(name, class_student, class_batch):
    teacher = FrozenTeacher(make_class_student())
    method = METHODS[name](class_student)
    image, _, valid = class_batch
    taught = method.consult(teacher, image, valid).depth
    assert torch.equal(taught, teacher(image).argmax(1, keepdim=True) + 1)
    assert step_of(method, teacher, class_batch).loss > 0


def test_teachers_of_other_classes_explain_nothing(class_student):
    assert not Supervised(class_student).explained_by(make_class_student(("a", "b", "c")))


def test_only_numbers_of_classes_count(class_student):
    number = torch.tensor([0.0, 1, 3, 4]).view(1, 1, 1, 4)
    limited = Supervised(class_student).limit(number, torch.ones_like(number, dtype=torch.bool))
    assert limited.flatten().tolist() == [False, True, True, False]


def test_the_auxiliary_head_trains_and_is_silent_afterwards(class_student, batch):
    image = batch[0]
    assert class_student(image).shape == (2, 6, 64, 96)
    logits = class_student.eval()(image)
    assert logits.shape == (2, 3, 64, 96)
    assert_close(class_student.decode(class_student.encode(image), (64, 96)), logits)


def test_one_class_for_the_whole_image_is_a_symptom():
    one = F.one_hot(torch.zeros(2, 4, 4, dtype=torch.long), 3).movedim(-1, 1).float()
    logs = {key: value.item() for key, value in describe_classes(one).items()}
    assert logs == {"variety": 0}
    assert "one class" in symptoms(logs)["variety"]
