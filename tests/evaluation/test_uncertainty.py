"""Sparsification curves: what is left of the error as pixels are left out, least sure first."""

import numpy as np
import pytest
import torch

from distill.data import SceneDataset, collate
from distill.evaluation import PROTOCOLS, Prediction
from distill.evaluation.scoring import score_samples
from distill.evaluation.uncertainty import STEPS, mean_sparsification, sparsify
from distill.method import silog_loss
from students import create_student

TARGET = np.linspace(2, 20, 500)
ERROR = np.random.default_rng(0).exponential(size=500)


@pytest.fixture
def sample():
    return SceneDataset("road", 1, 0, (32, 64))[0]


def test_an_uncertainty_that_knows_the_error_leaves_no_area_and_its_opposite_is_worse_than_chance():
    perfect, opposite = (sparsify(TARGET + ERROR, TARGET, one) for one in (ERROR, 1 / ERROR))
    assert perfect.ause["rmse"] == pytest.approx(0, abs=1e-12)
    assert perfect.aurg["rmse"] > 0.1
    assert opposite.aurg["rmse"] < -0.1
    assert opposite.ause["rmse"] > perfect.ause["rmse"]


def test_a_point_of_a_curve_is_the_metric_of_the_pixels_that_stay():
    uncertainty = np.random.default_rng(1).random(500)
    ours = sparsify(TARGET + ERROR, TARGET, uncertainty)
    kept = np.argsort(uncertainty)[:250]
    half = STEPS // 2
    assert ours.least_sure_first["rmse"][half] == pytest.approx(np.sqrt(np.mean(ERROR[kept] ** 2)))
    assert ours.least_sure_first["abs_rel"][half] == pytest.approx(np.mean(ERROR[kept] / TARGET[kept]))
    assert ours.worst_first["rmse"][half] == pytest.approx(np.sqrt(np.mean(np.sort(ERROR)[:250] ** 2)))
    assert all(len(curve) == STEPS + 1 and curve[-1] == 0 for curve in ours.least_sure_first.values())


def test_shares_within_one_and_two_standard_deviations_are_counted():
    noise = np.random.default_rng(2).normal(size=20_000)
    target = np.full(20_000, 10.0)
    assert sparsify(target + noise, target, np.ones(20_000)).within == pytest.approx((0.683, 0.954), abs=0.01)


def test_one_pixel_is_enough_and_the_mean_is_over_images():
    one, other = (sparsify(np.array([2.0]), np.array([target]), np.array([1.0])) for target in (1.0, 2.0))
    assert one.least_sure_first["abs_rel"] == [1.0] * STEPS + [0.0]
    mean = mean_sparsification([one, other])
    assert mean.least_sure_first["abs_rel"][0] == 0.5
    assert mean.within == (1.0, 1.0)
    assert mean_sparsification([]) is None


def test_a_map_of_another_size_lies_where_the_depth_does(sample):
    truth = sample.depth
    coarse = np.repeat(np.repeat(np.float32([[1, 5]]), 8, 0), 16, 1)  # unsure at the right, where it is wrong
    pred = truth * np.where(np.arange(64) < 32, 1, 1.5).astype(np.float32)
    prediction = Prediction(pred, view=(32, 64), uncertainty=coarse)
    (outcome,) = score_samples(lambda _: prediction, [sample], [PROTOCOLS["scenes_road"].with_(crop=None)])
    measured = outcome.scores[0].uncertainty
    assert measured.aurg["abs_rel"] > 0.05
    assert measured.least_sure_first["abs_rel"][30] == pytest.approx(0, abs=1e-6)


def test_a_student_is_less_sure_where_it_is_more_wrong():
    """On streets that it has not seen; nothing is trained for the spread."""
    torch.manual_seed(0)
    student = create_student("test_resnet", decoder="light", pretrained=False, width=16, bins=16)
    learnt, unseen = (collate(list(SceneDataset("road", 4, seed, (32, 64)))).to("cpu") for seed in (1, 2))
    optimizer = torch.optim.AdamW(student.parameters(), 3e-3)
    for _ in range(30):
        loss = silog_loss(student(learnt.image), learnt.depth, learnt.valid)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        depth, spread = student.eval().with_uncertainty(unseen.image)
    valid = unseen.valid
    measured = sparsify(*(one[valid].double().numpy() for one in (depth, unseen.depth, spread)))
    assert np.corrcoef(spread[valid], (depth - unseen.depth)[valid].abs())[0, 1] > 0.2
    assert measured.aurg["rmse"] > 0
