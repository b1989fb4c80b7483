from copy import deepcopy

import pytest
import torch

from students import create_student
from students.freezing import freeze


def step(student):
    """One step of training on two images."""
    student.train()
    learning = [p for p in student.parameters() if p.requires_grad]
    student(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))).log().mean().backward()
    torch.optim.SGD(learning, lr=1.0).step()


def changed(before, after):
    """Names of the modules, two deep, in which any weight or statistic is another."""
    old = before.state_dict()
    return {".".join(k.split(".")[:2]) for k, v in after.state_dict().items() if not torch.equal(v, old[k])}


@pytest.mark.parametrize(("part", "rest"), [("encoder", "decoder.up"), ("decoder", "encoder.net")])
def test_a_frozen_part_keeps_weights_and_statistics_while_the_rest_learns(make_student, part, rest):
    student = make_student("test_efficientnet", lg_conv=True)
    before = deepcopy(student)
    freeze(student, [part])
    step(student)
    found = changed(before, student)
    assert rest in found
    assert not [name for name in found if name.startswith(part)]


def test_the_stem_and_the_transformer_of_a_dpt_can_learn_one_after_the_other():
    for part, other in (("encoder.stem", "encoder.vit"), ("encoder.vit", "encoder.stem")):
        torch.manual_seed(0)
        student = create_student("dpt_micro", hooks=(0, 1), max_depth=10.0)
        before = deepcopy(student)
        freeze(student, [part])
        step(student)
        assert part not in changed(before, student)
        assert other in changed(before, student)


def test_a_copy_freezes_its_own_part(make_student):
    student = make_student("test_resnet")
    freeze(student, ["encoder"])
    other = deepcopy(student).train()
    assert other.encoder.train(True) is other.encoder
    assert other.encoder is not student.encoder
    assert not other.encoder.training
    assert other.decoder.training


def test_a_part_that_is_not_there_is_refused_with_those_that_are(make_student):
    with pytest.raises(
        ValueError, match=r"no part 'neck' to freeze; it has encoder, encoder.net, decoder, decoder.neck"
    ):
        freeze(make_student("test_resnet"), ["neck"])


@pytest.mark.parametrize("parts", [["encoder", "decoder"], [""]])
def test_a_student_that_would_not_learn_is_refused(make_student, parts):
    with pytest.raises(ValueError, match="frozen nothing is left that learns; freeze less"):
        freeze(make_student("test_resnet"), parts)
