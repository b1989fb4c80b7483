import copy

import torch
from torch.testing import assert_close

from distill.method import FixedGhost, ghost_decode


def test_the_ghost_sees_what_the_students_decoder_sees(any_student, batch):
    student, (image, *_) = any_student.eval(), batch
    features = student.encode(image)
    assert torch.equal(ghost_decode(student, features, (64, 96)), student.decode(features, (64, 96)))


def test_while_training_it_normalises_by_the_batch_as_the_student_does(any_student, batch):
    features = any_student.encode(batch[0])
    assert_close(ghost_decode(any_student, features, (64, 96)), any_student.decode(features, (64, 96)))


def test_it_cuts_odd_sizes_like_the_student(any_student):
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    assert ghost_decode(any_student, any_student.encode(image), (50, 75)).shape == (1, 1, 50, 75)


def test_it_is_the_student_of_this_very_time(any_student, batch):
    student = any_student.eval()
    features = student.encode(batch[0])
    before = ghost_decode(student, features, (64, 96))
    with torch.no_grad():
        for parameter in student.decoder.parameters():
            parameter.mul_(1.2)
    after = ghost_decode(student, features, (64, 96))
    assert not torch.allclose(after, before)
    assert torch.equal(after, student.decode(features, (64, 96)))


def test_gradients_pass_through_and_none_stay(any_student, batch):
    features = [f.detach().requires_grad_() for f in any_student.encode(batch[0])]
    ghost_decode(any_student, features, (64, 96)).log().sum().backward()
    assert all(f.grad is not None and f.grad.any() for f in features)
    assert all(p.grad is None for p in any_student.parameters())
    assert all(p.requires_grad for p in any_student.parameters())


def test_gradients_are_those_of_the_students_decoder(any_student, batch):
    student = any_student.eval()
    features = [f.detach().requires_grad_() for f in student.encode(batch[0])]
    ours = torch.autograd.grad(ghost_decode(student, features, (64, 96)).log().mean(), features)
    theirs = torch.autograd.grad(student.decode(features, (64, 96)).log().mean(), features)
    for mine, its in zip(ours, theirs, strict=True):
        assert_close(mine, its)


def test_running_statistics_are_the_students_own_affair(any_student, batch):
    features = any_student.encode(batch[0])
    before = {name: value.clone() for name, value in any_student.state_dict().items()}
    ghost_decode(any_student, [10 * f for f in features], (64, 96))
    assert all(torch.equal(value, before[name]) for name, value in any_student.state_dict().items())


def test_parameters_are_shared_and_not_copied(student, batch):
    seen = []
    student.decoder.last.register_forward_hook(lambda layer, _given, _out: seen.append(layer.weight.data_ptr()))
    ghost_decode(student, student.encode(batch[0]), (64, 96))
    assert seen == [student.decoder.last.weight.data_ptr()]


def test_a_fixed_ghost_is_the_trained_decoder_in_eval_mode_for_ever(any_student, batch):
    trained = copy.deepcopy(any_student).eval()
    features = trained.encode(batch[0])
    expected = trained.decode(features, (64, 96))
    ghost = FixedGhost(copy.deepcopy(any_student))
    for mode in (True, False):
        assert torch.equal(ghost.train(mode)(features, (64, 96)), expected)


def test_gradients_pass_through_a_fixed_ghost_and_none_stay(any_student, batch):
    features = [f.detach().requires_grad_() for f in any_student.encode(batch[0])]
    ghost = FixedGhost(any_student)
    ghost(features, (64, 96)).log().sum().backward()
    assert all(f.grad is not None and f.grad.any() for f in features)
    assert not [p for p in ghost.parameters() if p.requires_grad or p.grad is not None]
