import pytest
import torch

from distill.method import METHODS, DepthPull, Guide, OutputDistillation
from distill.method.guide import guide_of_labels, without_worst
from students import create_student
from teachers import DepthModel

LIMITS = (1e-3, 40.0)


@pytest.fixture
def label(batch):
    """The depth of the batch as a teacher wrote it, of which a tenth is missing."""
    _, depth, _ = batch
    torch.manual_seed(0)
    return torch.where(torch.rand(depth.shape) < 0.1, torch.nan, depth)


def guide(label, batch, relative=None):
    _, depth, valid = batch
    return guide_of_labels(label, None if relative is None else torch.tensor(relative), depth, valid, LIMITS)


def test_labels_in_metres_teach_where_something_is_written(label, batch):
    made = guide(label, batch)
    assert torch.equal(made.known, label.isfinite())
    assert torch.equal(made.depth[made.known], label[made.known])
    assert made.depth.isfinite().all()
    assert made.relative is None


def test_labels_in_metres_are_what_the_teacher_itself_would_say(batch, student):
    image, depth, valid = batch
    method = METHODS["output"](student)
    far = 3 * depth
    made = method.consult(None, image, valid, depth, far)
    assert torch.equal(made.depth, far.clamp(*method.limits))
    assert made.known.all()


def test_relative_labels_are_fitted_to_the_truth_of_each_image(label, batch):
    made = guide(3 / label + 1, batch, [True, True])
    assert torch.equal(made.known, label.isfinite())
    torch.testing.assert_close(made.depth[made.known], label[made.known], rtol=1e-3, atol=1e-3)
    assert not made.shape_only.any()


def test_relative_and_metric_labels_stand_in_one_batch(label, batch, student):
    image, depth, valid = batch
    mixed = torch.cat([label[:1], 3 / label[1:] + 1])
    made = guide(mixed, batch, [False, True])
    torch.testing.assert_close(made.depth[made.known], label[made.known], rtol=1e-3, atol=1e-3)
    blind = guide_of_labels(mixed, torch.tensor([False, True]), depth, torch.zeros_like(valid), LIMITS)
    assert blind.shape_only.tolist() == [False, True]
    assert blind.known.flatten(1).any(dim=1).tolist() == [True, False]
    result = METHODS["output"](student)(image, depth, torch.zeros_like(valid), blind, 0)
    result.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in student.parameters())


def test_an_image_without_a_label_is_neither_taught_nor_counted_as_dropped(batch, student):
    image, depth, valid = batch
    made = guide(torch.full_like(depth, torch.nan), batch, [True, True])
    result = METHODS["output"](student)(image, depth, valid, made, 0)
    assert not made.known.any()
    assert not made.shape_only.any()
    assert result.logs["guides_dropped"] == 0
    assert result.logs["kd"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("name", ["output", "fill"])
def test_pixels_that_are_not_written_get_no_gradient(name, batch, student, label):
    image, depth, valid = batch
    method = METHODS[name](student)
    nothing = torch.zeros_like(valid)
    preds = []
    student.register_forward_hook(lambda *call: preds.append(call[2]) or call[2].retain_grad())
    method(image, depth, nothing, guide(label, (image, depth, nothing)), 0).loss.backward()
    assert torch.equal(preds[0].grad != 0, label.isfinite())


def test_the_worst_share_of_each_image_is_left_out():
    depth = torch.full((2, 1, 2, 10), 4.0)
    pred = depth.clone()
    pred[0, 0, 0, :2], pred[1, 0, 1, 3], pred[1, 0, 0, 0] = 8.0, 1.0, 5.0
    known = torch.ones_like(depth, dtype=torch.bool)
    known[1, 0, :, 5:] = False  # so that one pixel is a tenth
    kept, logs = without_worst(pred, Guide(depth=depth, known=known), 0.1)
    left_out = known & ~kept.known
    assert left_out[0].nonzero().tolist() == [[0, 0, 0], [0, 0, 1]]
    assert left_out[1].nonzero().tolist() == [[0, 1, 3]]
    assert logs["trimmed_gap"] == pytest.approx((2 * 0.6931 + 1.3863) / 3, abs=1e-3)
    assert logs["kept_gap"] == pytest.approx(0.2231 / 27, abs=1e-3)


def test_a_trimmed_method_forgives_gross_errors_of_its_teacher(batch, student):
    image, depth, valid = batch
    pred = student(image).detach()
    wrong = torch.where(torch.rand(depth.shape) < 0.05, 35.0, pred)
    losses = []
    for trim in (0.0, 0.1):
        method = METHODS["output"](student, pull=DepthPull(trim=trim))
        losses.append(method(image, depth, valid, Guide(depth=wrong), 0).logs["kd"].item())
    assert losses[1] < 0.05 * losses[0]


def test_a_teachers_metres_become_canonical_with_the_truth():
    class Metres(DepthModel):
        """Two metres everywhere."""

        def encode(self, image):
            return [image]

        def decode(self, features, size):
            return torch.full((len(features[0]), 1, *size), 2.0)

    student = create_student("test_resnet", pretrained=False, width=8, bins=8, max_depth=10.0)
    image, valid = torch.rand(2, 3, 32, 32), torch.ones(2, 1, 32, 32, dtype=torch.bool)
    guide = OutputDistillation(student).consult(Metres(), image, valid, canonical=torch.tensor([1.5, 0.5]))
    assert guide.depth[:, 0, 0, 0].tolist() == [3.0, 1.0]
