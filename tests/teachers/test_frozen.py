import pytest
import torch
from torch import nn

from teachers import FrozenTeacher, create_dpt
from teachers.frozen import fingerprint
from teachers.stem import StandardisedConv2d


class Pooled(nn.Module):
    """A depth model of one convolution with what training would change: BatchNorm and dropout."""

    feature_channels = (4, 4, 4, 4)
    min_depth, max_depth, output = 0.1, 9.0, "metric"

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))

    def encode(self, image):
        x = self.conv(image)
        return [nn.functional.avg_pool2d(x, s) for s in (4, 8, 16, 32)]

    def decode(self, features, size):
        return nn.functional.interpolate(features[0].mean(1, keepdim=True), size=size)

    def forward(self, image):
        return self.decode(self.encode(image), image.shape[-2:])


class Pair(nn.Module):
    """A parent that trains its own layer beside a teacher."""

    def __init__(self, teacher):
        super().__init__()
        self.teacher, self.own = teacher, nn.Conv2d(1, 1, 1)

    def forward(self, image):
        return (self.own(self.teacher(image)) - 1).square().mean()


@pytest.fixture(params=["toy", "dpt"])
def teacher(request, tiny_dpt):
    torch.manual_seed(0)
    return FrozenTeacher(Pooled() if request.param == "toy" else tiny_dpt("hybrid", min_depth=0.1, max_depth=9.0))


def test_train_is_ignored(teacher):
    assert teacher.train() is teacher
    assert not any(module.training for module in teacher.modules())
    Pair(teacher).train()
    assert not any(module.training for module in teacher.modules())


def test_no_parameter_needs_a_gradient(teacher):
    assert list(teacher.parameters())
    assert not any(p.requires_grad for p in teacher.parameters())


def test_a_parent_that_trains_changes_nothing_in_its_teacher(teacher, images):
    parent = Pair(teacher).train()
    optimizer = torch.optim.SGD([p for p in parent.parameters() if p.requires_grad], lr=1.0, weight_decay=0.1)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    own = parent.own.weight.clone()
    parent(images(64, 64)).backward()
    optimizer.step()
    assert not torch.equal(parent.own.weight, own)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())


def test_an_optimizer_of_what_needs_gradients_holds_nothing_of_the_teacher(teacher):
    parent = Pair(teacher)
    learnt = {id(p) for p in parent.parameters() if p.requires_grad}
    assert learnt == {id(p) for p in parent.own.parameters()}


def test_outputs_carry_no_graph_even_to_the_image(teacher, images):
    image = images(64, 64).requires_grad_()
    features = teacher.encode(image)
    outputs = [*features, teacher.decode(features, (64, 64)), teacher(image)]
    assert not any(out.requires_grad for out in outputs)


def test_outputs_can_be_saved_for_a_backward_pass(teacher, images):
    weight = torch.ones((), requires_grad=True)
    (weight * teacher(images(32, 32))).sum().backward()
    assert weight.grad is not None


def test_it_tells_the_channels_and_limits_of_what_it_wraps(teacher):
    assert teacher.feature_channels == tuple(teacher.model.feature_channels)
    assert (teacher.min_depth, teacher.max_depth) == (0.1, 9.0)


def test_it_computes_what_it_wraps_computes(tiny_dpt, images):
    image, plain = images(75, 64), tiny_dpt("hybrid")
    teacher = FrozenTeacher(tiny_dpt("hybrid"))
    expected = plain(image)
    assert (teacher(image) - expected).abs().max() < 1e-5 * expected.abs().max()
    assert not any(isinstance(m, StandardisedConv2d) for m in teacher.modules())


def test_it_compiles_to_one_graph(tiny_dpt, images):
    teacher, image = FrozenTeacher(tiny_dpt("hybrid")), images(32, 32)
    compiled = torch.compile(teacher, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(image), teacher(image), rtol=1e-5, atol=1e-5)


def test_random_layers_are_off(teacher, images):
    assert torch.equal(teacher(images(32, 32)), teacher(images(32, 32)))


def test_a_fingerprint_tells_weights_apart_and_not_where_they_lie():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    same = fingerprint(network)
    assert fingerprint(network.to(memory_format=torch.channels_last)) == same
    with torch.no_grad():
        network[0].weight[0, 0, 0, 0] += 1e-6
    assert fingerprint(network) != same


def test_a_teacher_is_known_by_the_weights_it_was_set_not_by_what_became_of_them():
    network = create_dpt("dpt_micro")
    before = fingerprint(network)
    assert FrozenTeacher(network).fingerprint == before
