"""DPT-Hybrid against the published implementation, number for number, on weights made by a fixed recipe."""

import gzip
import importlib.util
import json
import math
from pathlib import Path

import pytest
import torch

from teachers import create_teacher

REFERENCE = Path(__file__).parent / "reference"
spec = importlib.util.spec_from_file_location("golden_weights", REFERENCE / "golden_weights.py")
assert spec
assert spec.loader
golden = importlib.util.module_from_spec(spec)
spec.loader.exec_module(golden)
CASE = json.loads((REFERENCE / "dpt_hybrid_golden.json").read_text())["cases"][0]


@pytest.fixture(scope="module")
def recipe():
    return golden.state_dict(json.loads(gzip.decompress((REFERENCE / "dpt_hybrid_keys.json.gz").read_bytes())))


@pytest.fixture(scope="module")
def teacher(recipe):
    return create_teacher("dpt_hybrid", checkpoint=recipe)


@pytest.fixture(scope="module")
def image():
    return torch.from_numpy(golden.image(CASE["height"], CASE["width"])) * 0.5 + 0.5


def test_output_is_that_of_the_published_network(teacher, image):
    depth = teacher(image)[:, 0]
    assert golden.difference(CASE["output"], golden.summarise(depth.numpy())) <= 1e-4


def test_reassembled_maps_are_those_of_the_published_network(teacher, image):
    maps = teacher.encode(image)
    wanted = CASE["features"]
    wanted = list(wanted.values()) if isinstance(wanted, dict) else wanted
    for want, got in zip(wanted, maps, strict=True):
        assert golden.difference(want, golden.summarise(got.numpy())) <= 1e-4


def test_metric_conversion_is_that_of_the_published_checkpoints(teacher, recipe, image):
    metric = create_teacher("dpt_hybrid", checkpoint=recipe, scale=6.016e-5, shift=0.00579, invert=True)
    crop = image[..., :64, :96]
    expected = 1 / (6.016e-5 * teacher(crop) + 0.00579).clamp(min=1e-8)
    torch.testing.assert_close(metric(crop), expected)


def test_a_batch_gives_what_its_images_give(teacher):
    pair = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    both, scale = teacher(pair), teacher(pair).abs().max()
    alone = torch.cat([teacher(pair[:1]), teacher(pair[1:])])
    assert (both - alone).abs().max() <= 1e-5 * scale
    assert math.isfinite(float(scale))
