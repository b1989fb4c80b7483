from types import SimpleNamespace

import numpy as np
import pytest

from distill.data import Sample
from distill.data.focal import to_canonical
from distill.inference.agreement import FAR, NEAR, TaughtSamples, agreement_protocol, in_truths_place


@pytest.fixture
def relative():
    """A relative map of some span."""
    return np.random.default_rng(0).uniform(-3, 5, (20, 30)).astype(np.float32)


def test_a_relative_map_is_the_same_truth_at_any_scale_and_shift(relative):
    truth = in_truths_place(relative, True)
    np.testing.assert_allclose(truth, in_truths_place(7 * relative - 100, True), rtol=1e-3)
    assert (truth.min(), truth.max()) == pytest.approx((NEAR, FAR))


def test_what_is_not_finite_and_what_is_flat_is_no_truth(relative):
    relative[0, 0] = np.nan
    assert in_truths_place(relative, True)[0, 0] == 0
    assert not in_truths_place(np.ones((4, 5), np.float32), True).any()
    metres = np.float32([[2, -1], [np.inf, np.nan]])
    assert in_truths_place(metres, False).tolist() == [[2, 0], [0, 0]]


def test_a_student_with_the_teacher_s_shape_agrees_wholly_and_one_without_does_not(relative):
    protocol, truth = agreement_protocol("one", True, 80.0), in_truths_place(relative, True)
    assert protocol.score(4 * relative + 3, truth, relative=True)["abs_rel"] < 1e-4
    assert protocol.score(relative.T.reshape(20, 30), truth, relative=True)["abs_rel"] > 0.3
    metres = 1 / (0.01 + 0.02 * (relative + 3))
    assert protocol.score(metres, truth, relative=False)["abs_rel"] < 1e-3


def test_agreements_with_two_teachers_do_not_compare():
    prints = {agreement_protocol(name, False, 80.0).fingerprint for name in ("one", "another")}
    assert len(prints) == 2


def test_labels_in_metres_stay_metres_where_a_canonical_camera_s_depth_is_learnt():
    label = np.full((4, 6), 3, np.float32)
    camera = np.diag([50.0, 50.0, 1.0])
    nothing = np.zeros((4, 6), np.float32)
    sample = Sample("a", np.zeros((4, 6, 3), np.uint8), nothing, nothing > 0, intrinsics=camera, label=label)
    part = SimpleNamespace(dataset=[sample], prepare=[to_canonical])
    (taught,) = TaughtSamples([part], None, 1, 80.0)
    np.testing.assert_allclose(taught.depth, label)
