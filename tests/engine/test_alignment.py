"""A DPT whose output is inverse depth up to a scale and a shift, and images whose depth says which."""

import json
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from distill.data import Augmentation, DecodeError, Sample, TrainingSet
from distill.engine.alignment import MIN_PIXELS, align, fit_samples, raw_output
from distill.errors import UserError
from teachers import DPT_CONFIGS

SCALE, SHIFT = 0.02, 0.05
HERE = SimpleNamespace(process_index=0, num_processes=1, is_main_process=True, device=torch.device("cpu"))
AUGMENTATION = Augmentation(crop=(32, 32), flip=1.0)  # which no alignment may see


class Red(nn.Module):
    """A network whose raw output is ten times an image's red, converted as a DPT's is."""

    def __init__(self, **config):
        super().__init__()
        config = {"scale": 7.0, "shift": 9.0, "invert": True, "min_depth": 1e-3, "max_depth": 80.0} | config
        self.decoder = SimpleNamespace(config=DPT_CONFIGS["dpt_micro"].__class__(**config))
        self.min_depth, self.max_depth = config["min_depth"], config["max_depth"]
        self.conversions = []

    def set_conversion(self, *inputs):
        self.conversions.append(inputs)

    def forward(self, image):
        assert not self.training
        config, raw = self.decoder.config, 10 * image[:, :1]
        raw = 1 / (config.scale * raw + config.shift) if config.invert else raw
        return raw.clamp(config.min_depth, config.max_depth) if config.max_depth else raw


class Images(list):
    """Samples as a data set; an exception among them is raised."""

    max_depth, contents = 80.0, None

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        if isinstance(sample, Exception):
            raise sample
        return sample


def sample(seed, scale=SCALE, shift=SHIFT, size=(32, 48)):
    """An image whose depth is 1 / (scale * output + shift) at half of its pixels."""
    rng = np.random.default_rng(seed)
    image = rng.random((*size, 3), dtype=np.float32)
    depth = 1 / (scale * 10 * image[..., 0] + shift)
    valid = rng.random(size) < 0.5
    return Sample(image, np.where(valid, depth, 0).astype(np.float32), valid, f"image {seed}")


def aligned(*samples, model=None, **options):
    return fit_samples(model or Red(**options), TrainingSet(Images(samples), AUGMENTATION, 0), HERE)


def test_scale_and_shift_are_those_the_depth_was_made_with():
    result = aligned(sample(0), sample(1), sample(2, size=(40, 64)))
    assert (result.scale, result.shift) == pytest.approx((SCALE, SHIFT), rel=1e-4)
    assert (result.used, result.left_out) == (3, 0)


def test_they_are_averaged_over_the_images():
    result = aligned(sample(0, 0.01, 0.04), sample(1, 0.03, 0.08))
    assert (result.scale, result.shift) == pytest.approx((0.02, 0.06), rel=1e-4)


def test_what_the_output_meant_before_does_not_matter():
    assert aligned(sample(0), scale=1e-4, shift=0.5) == aligned(sample(0), invert=False) == aligned(sample(0))


def test_an_image_that_contradicts_the_others_is_left_out_and_counted():
    result = aligned(sample(0), sample(1, scale=-0.02, shift=0.4), sample(2))
    assert (result.scale, result.shift, result.used, result.left_out) == pytest.approx((SCALE, SHIFT, 2, 1), rel=1e-4)


def test_depth_beyond_the_limits_does_not_count():
    beyond = sample(0)
    beyond.depth[:, :20] = 500.0
    assert aligned(beyond).scale == pytest.approx(SCALE, rel=1e-4)


def test_images_with_hardly_any_depth_or_none_are_passed_over():
    sparse, broken = sample(1, scale=-1.0), DecodeError("broken.png", "is damaged")
    sparse.valid[:] = False
    sparse.valid[0, : MIN_PIXELS - 1] = True
    result = aligned(sample(0), sparse, broken, sample(2))
    assert (result.used, result.left_out) == (2, 0)


def test_the_model_is_as_it_was_afterwards():
    model = Red().train()
    former = model.decoder.config
    aligned(sample(0), model=model)
    assert model.training
    assert model.decoder.config is former


def test_the_conversion_comes_back_after_an_error():
    model = Red()
    former = model.decoder.config
    with suppress(ZeroDivisionError), raw_output(model):
        assert not model.decoder.config.invert
        raise ZeroDivisionError
    assert model.decoder.config is former


def test_a_set_without_depth_is_refused():
    empty = sample(0)
    empty.valid[:] = False
    with pytest.raises(
        UserError, match=r"none of 2 training images has 10 pixels of depth between 0.001 and 80 m; give"
    ):
        aligned(empty, empty)


def test_outputs_that_are_no_inverse_depth_are_refused():
    with pytest.raises(UserError, match=r"2 of 3 samples have no positive scale; is student.checkpoint a network for"):
        aligned(sample(0, -0.02, 0.4), sample(1), sample(2, -0.02, 0.4))


def test_every_process_looks_at_its_share(monkeypatch):
    asked = []
    monkeypatch.setattr("distill.engine.alignment.fit_sample", lambda *inputs: asked.append(inputs[2]) or (1.0, 0.0))
    second = SimpleNamespace(process_index=1, num_processes=3, device=torch.device("cpu"))
    fit_samples(Red(), TrainingSet(Images([sample(0)] * 8), AUGMENTATION, 0), second)
    assert asked == [1, 4, 7]


# ------------------------------------------------------------------------------------------------------- a run's folder


def test_the_alignment_is_applied_shown_and_kept(tmp_path, capsys):
    model = Red()
    align(model, TrainingSet(Images([sample(0), sample(1)]), AUGMENTATION, 0), HERE, tmp_path)
    assert model.conversions[0] == pytest.approx((SCALE, SHIFT), rel=1e-4)
    assert "aligned: depth = 1 / (0.02 * output + 0.05), the mean of 2 images" in capsys.readouterr().err
    kept = json.loads((tmp_path / "alignment.json").read_text())
    assert (kept["scale"], kept["shift"]) == model.conversions[0]
    assert (kept["used"], kept["left_out"]) == (2, 0)


def test_a_resumed_run_takes_what_was_kept(tmp_path):
    (tmp_path / "config.yaml").touch()
    (tmp_path / "alignment.json").write_text('{"scale": 3.0, "shift": 0.5, "used": 9, "left_out": 1}')
    model = Red()
    align(model, TrainingSet(Images([sample(0)]), AUGMENTATION, 0), HERE, tmp_path)
    assert model.conversions == [(3.0, 0.5)]


def test_what_was_kept_of_a_run_that_never_began_is_not_taken(tmp_path):
    (tmp_path / "alignment.json").write_text('{"scale": 3.0, "shift": 0.5, "used": 9, "left_out": 1}')
    model = Red()
    align(model, TrainingSet(Images([sample(0)]), AUGMENTATION, 0), HERE, tmp_path)
    assert model.conversions[0] == pytest.approx((SCALE, SHIFT), rel=1e-4)
