import pytest
import torch
from torch.testing import assert_close

from students.bins import AdaptiveBins


@pytest.fixture
def head():
    torch.manual_seed(0)
    return AdaptiveBins(context=6, features=5, bins=4, min_depth=1.0, max_depth=9.0).double()


def seeded(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def set_last(layer, bias):
    """Let a layer put out `bias` whatever comes in."""
    torch.nn.init.zeros_(layer.weight)
    layer.bias.data = torch.as_tensor(bias, dtype=layer.bias.dtype)


def test_equal_widths_put_the_centres_in_the_middle_of_equal_bins(head):
    set_last(head.widths.fc2, [0.0, 0, 0, 0])
    assert_close(head.centres(seeded(2, 6, 3, 3)), torch.tensor([[2.0, 4, 6, 8]] * 2))


def test_unequal_widths_move_the_centres(head):
    # widths 1/8, 1/8, 1/4, 1/2 of the 8 metres from 1 to 9
    set_last(head.widths.fc2, torch.tensor([1.0, 1, 2, 4]).log())
    assert_close(head.centres(seeded(1, 6, 2, 2)), torch.tensor([[1.5, 2.5, 4, 7]]))


def test_centres_increase_and_lie_within_the_limits(head):
    centres = head.centres(20 * seeded(16, 6, 3, 3))
    assert (centres.diff(dim=1) >= 0).all()
    assert centres.min() >= 1
    assert centres.max() <= 9


def test_centres_depend_on_the_mean_of_the_context_alone(head):
    context = seeded(1, 6, 2, 3)
    shuffled = context.flatten(2)[..., [3, 1, 5, 0, 4, 2]].unflatten(2, (2, 3))
    assert_close(head.centres(shuffled), head.centres(context))
    assert not torch.allclose(head.centres(context + seeded(1, 6, 1, 1)), head.centres(context))


def test_even_probabilities_give_the_mean_of_the_centres(head):
    set_last(head.scores, [0.0, 0, 0, 0])
    context = seeded(2, 6, 3, 3)
    depth = head(context, seeded(2, 5, 4, 4))
    assert_close(depth, head.centres(context).mean(1).view(2, 1, 1, 1).expand(2, 1, 4, 4))


def test_a_certain_bin_gives_its_centre(head):
    set_last(head.widths.fc2, [0.0, 0, 0, 0])
    set_last(head.scores, [0.0, 0, 99, 0])
    assert_close(head(seeded(1, 6, 1, 1), seeded(1, 5, 2, 2)), torch.full((1, 1, 2, 2), 6.0))


def test_depth_is_the_mean_of_the_centres_under_the_probabilities(head):
    context, features = seeded(2, 6, 3, 3), seeded(2, 5, 4, 6)
    probabilities, centres = head.scores(features).softmax(1), head.centres(context)
    expected = sum(probabilities[:, k] * centres[:, k, None, None] for k in range(4))
    assert_close(head(context, features)[:, 0].double(), expected.double(), rtol=1e-5, atol=0)


def test_autocast_does_not_coarsen_the_depth(head):
    head = head.float()
    context, features = seeded(1, 6, 3, 3).float(), torch.zeros(1, 5, 4, 4)
    set_last(head.scores, [0.1, 0.2, 0.3, 0.4])
    set_last(head.widths.fc2, [0.1, 0.2, 0.3, 0.4])
    with torch.autocast("cpu", torch.bfloat16):
        coarse = head(context, features)
    assert coarse.dtype == torch.float32
    assert_close(coarse, head(context, features), rtol=2e-3, atol=0)
    assert coarse.unique().item() != coarse.unique().bfloat16().item()
