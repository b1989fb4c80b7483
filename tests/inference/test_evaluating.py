"""The ghost as a model that is evaluated."""

import copy

import pytest
import torch
from torch import nn

from distill.data import SceneDataset, TrainingSet
from distill.data.augment import Augmentation
from distill.inference.evaluating import MOST_BATCHES, GhostModel, training_images
from distill.method import DisDepth, FixedGhost, Guide
from students import create_student
from teachers import FrozenTeacher

SMALL = {"pretrained": False, "width": 8, "bins": 8, "max_depth": 10.0}


@pytest.fixture(scope="module")
def trio():
    """(method, teacher, images): the student's running statistics are those of its own features."""
    torch.manual_seed(0)
    student, teacher = (create_student("test_resnet", **SMALL) for _ in range(2))
    method = DisDepth(student, teacher_channels=teacher.feature_channels, window=4)
    images = torch.rand(4, 3, 64, 96)
    for norm in (m for m in student.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = None
    student.train()(images)
    return method.eval(), FrozenTeacher(teacher), images


def while_training(method, teacher, images):
    """The ghost's depth as a training step decodes it: normalised by the batch."""
    method = copy.deepcopy(method).train()
    with torch.no_grad():
        return method.explain(images, Guide(teacher.encode(images)))["ghost"]


def test_one_evaluated_image_looks_as_it_did_while_training(trio):
    method, teacher, images = trio
    expected = while_training(method, teacher, images)
    torch.testing.assert_close(GhostModel(method, teacher, [images])(images), expected, rtol=0.02, atol=0)
    by_the_students_statistics = method.explain(images, Guide(teacher.encode(images)))["ghost"]
    assert not torch.allclose(by_the_students_statistics, expected, rtol=0.02)


def test_the_student_keeps_its_own_statistics(trio):
    method, teacher, images = trio
    before = copy.deepcopy(method.state_dict())
    GhostModel(method, teacher, [images])
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())


def test_a_fixed_ghost_keeps_those_of_its_training(trio):
    method, teacher, images = trio
    fixed = copy.deepcopy(method)
    fixed.ghost = FixedGhost(copy.deepcopy(method.student))
    scored = GhostModel(fixed, teacher, [images])
    assert torch.equal(scored(images), fixed.explain(images, Guide(teacher.encode(images)))["ghost"])


@pytest.mark.parametrize(("count", "size", "sizes"), [(5, 2, [2, 2]), (3, 8, [3]), (40, 2, [2] * MOST_BATCHES)])
def test_its_statistics_come_from_a_few_whole_batches(count, size, sizes):
    samples = TrainingSet(SceneDataset("road", count, 1, (32, 32)), Augmentation(), 0)
    batches = list(training_images(samples, size, torch.device("cpu")))
    assert [len(batch) for batch in batches] == sizes
    assert batches[0].dtype == torch.float32
    assert batches[0].max() <= 1
