"""Alignment of predictions: public evaluators' values on synthetic cases, and what a protocol makes of it."""

import functools
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from zeroshot_functions import FUNCTIONS

from distill.errors import UserError
from distill.evaluation import ALIGNMENTS, PROTOCOLS
from distill.evaluation.aligning import TINY, least_absolute, least_squares

HERE = Path(__file__).parent / "reference"
FOLDER = PROTOCOLS["folder"]
SLOW = {"moge.depth_affine": ("negative", "tiny9")}  # of which all pairs of 4096 pixels are tried


def load(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


inputs, checker = load("zeroshot_inputs"), load("zeroshot_check")


@functools.cache
def golden():
    content = checker.load()
    for block, cases in SLOW.items():
        values = content["blocks"][block]["f64"]
        content["blocks"][block]["f64"] = {name: values[name] for name in cases if name in values}
    return content


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_public_evaluators_values_come_of_our_parts(monkeypatch):
    monkeypatch.setattr(checker, "check_inputs", lambda golden: [])  # bit-identical anywhere, and slow to digest
    lines = []
    assert checker.check(FUNCTIONS, golden(), lines.append) == []
    assert int(next(line for line in lines if "numbers compared" in line).split()[0]) > 2000


@pytest.fixture
def room():
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 9, (12, 16)).astype(np.float32)
    return truth, rng.uniform(0.9, 1.1, truth.shape).astype(np.float32)


@pytest.mark.parametrize("name", [name for name in ALIGNMENTS if name != "none"])
def test_an_alignment_forgives_what_it_fits_and_has_a_fingerprint_of_its_own(name, room):
    truth, noise = room
    protocol, aligner = FOLDER.with_(alignment=name), ALIGNMENTS[name]
    pred = truth * noise
    free = 0.3 * pred + (2 if name.startswith("affine") else 0)
    if aligner.inverse:
        pred, free = 1 / pred, 3 / pred + 0.7
    score, freed = (protocol.score(p, truth, relative=aligner.inverse) for p in (pred, free))
    assert freed["abs_rel"] == pytest.approx(score["abs_rel"], rel=1e-4)
    assert score["abs_rel"] < 0.1 < FOLDER.score(free, truth)["abs_rel"]
    assert protocol.fingerprint not in {
        FOLDER.with_(alignment=other).fingerprint for other in ALIGNMENTS if other != name
    }
    assert aligner.words in protocol.describe()


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_tensors_are_aligned_as_arrays_are(name, room):
    truth, noise = (one.ravel().astype(np.float64) for one in room)
    both = [
        ALIGNMENTS[name](*make, 1 / 80)
        for make in ((noise * truth, truth), map(torch.from_numpy, (noise * truth, truth)))
    ]
    assert isinstance(both[1][0], torch.Tensor)
    np.testing.assert_allclose(both[1][0].numpy(), both[0][0], rtol=1e-12)


def test_a_constant_is_fitted_by_the_least_scale_and_shift():
    x, y = np.full(50, 2.5), np.linspace(1, 2, 50)
    expected = np.linalg.lstsq(np.stack([x, np.ones(50)], 1), y, rcond=None)[0]
    assert least_squares(x, y) == pytest.approx(tuple(expected))
    assert least_squares(x, y, flat=(1.0, 0.0)) == (1.0, 0.0)


def test_one_wild_pixel_does_not_move_the_least_absolute_fit():
    x = np.linspace(1, 5, 40)
    y = 2 * x + 1
    y[7] = 500
    assert least_absolute(x, y) == pytest.approx((2, 1))


def test_metres_are_scored_by_an_affine_protocol_as_their_inverse_is(room):
    truth, noise = room
    protocol = PROTOCOLS["folder_affine"]
    as_metres = protocol.score(truth * noise, truth, relative=False)
    assert as_metres == pytest.approx(protocol.score(1 / (truth * noise), truth), rel=1e-5)


def test_without_a_floor_what_is_no_depth_is_counted_and_never_scores_better():
    truth = np.linspace(1, 9, 100, dtype=np.float32).reshape(10, 10)
    pred = 1 / truth
    pred[0, 3], pred[9, 4:9] = np.nan, -0.5  # the last are below zero once aligned
    floored, bare = (FOLDER.with_(alignment=name).score(pred, truth) for name in ("disparity", "disparity_unclamped"))
    assert (floored["repaired"], bare["repaired"]) == (1, 6)
    assert all(bare[key] >= floored[key] for key in ("abs_rel", "rmse", "rmse_log", "silog"))
    assert all(bare[key] <= floored[key] for key in ("d1", "d2", "d3"))
    assert bare["abs_rel"] > 0.01 / TINY / 9


def test_a_constant_prediction_is_counted_where_it_is_aligned():
    truth = np.linspace(1, 9, 100, dtype=np.float32).reshape(10, 10)
    flat = np.full_like(truth, 3)
    protocols = [FOLDER, PROTOCOLS["folder_affine"]]
    assert [protocol.pixels(flat, truth).constant for protocol in protocols] == [False, True]
    assert not protocols[1].pixels(truth, truth).constant


def test_too_few_pixels_to_fit_to_have_no_score():
    truth = np.zeros((8, 8), np.float32)
    truth.flat[:9] = 2
    assert np.isnan(PROTOCOLS["folder_affine"].score(truth, truth)["abs_rel"])
    assert FOLDER.score(truth, truth)["abs_rel"] == 0


def test_relative_models_are_scored_by_the_affine_form_alone():
    assert FOLDER.affine() == PROTOCOLS["folder_affine"] == PROTOCOLS["folder_affine"].affine()
    with pytest.raises(UserError, match=r"alignment scale .*disparity"):
        FOLDER.with_(alignment="scale").affine()
    with pytest.raises(ValueError, match="affine"):
        FOLDER.score(np.ones((4, 4)), np.ones((4, 4)), relative=True)
