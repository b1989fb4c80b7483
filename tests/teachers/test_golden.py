"""DPT against the published implementation, number for number, on weights made by a fixed recipe.

The small networks have every part of the published ones (their file says how they were made), so the read-outs, sizes
and conversions are checked in milliseconds; DPT-Hybrid itself once.
"""

import gzip
import importlib.util
import json
from pathlib import Path

import pytest
import torch

from teachers import DPT_CONFIGS, DPTConfig, create_teacher
from teachers.stem import StemConfig

REFERENCE = Path(__file__).parent / "reference"
TOLERANCE = 1e-4  # relative to the largest stored value; rounding alone stays below a third of it
spec = importlib.util.spec_from_file_location("golden_weights", REFERENCE / "golden_weights.py")
assert spec
assert spec.loader
golden = importlib.util.module_from_spec(spec)
spec.loader.exec_module(golden)

SMALL = {
    "small_hybrid": DPTConfig(
        width=24,
        heads=3,
        hooks=(1, 2),
        channels=(64, 128, 24, 40),
        stem=StemConfig(layers=(1, 2, 1), channels=(64, 128, 256), width=16, groups=8),
        grid=4,
        features=16,
    ),
    "small_plain": DPTConfig(
        width=24, heads=3, hooks=(0, 1, 3, 4), channels=(8, 16, 24, 40), stem=None, grid=4, features=16
    ),
}
CASE = json.loads((REFERENCE / "dpt_hybrid_golden.json").read_text())["cases"][0]
VARIANTS = json.loads(gzip.decompress((REFERENCE / "dpt_variants_golden.json.gz").read_bytes()))
OPTIONS = ("readout", "non_negative", "scale", "shift", "invert")


def image_of(case):
    return torch.from_numpy(golden.image(case["height"], case["width"], case["batch"])) * 0.5 + 0.5


def teacher_of(case, file):
    weights = golden.state_dict(file["shapes"][case["keys"]])
    return create_teacher(case["model"], checkpoint=weights, **{name: case[name] for name in OPTIONS})


def differences(teacher, case):
    """Of the depth, then of each map that is stored."""
    maps = teacher.encode(image_of(case))
    depth = teacher.decode(maps, (case["height"], case["width"]))[:, 0]
    stored = [case["output"], *case.get("features", {}).values()]
    return [
        golden.difference(want, golden.summarise(got.numpy()))
        for want, got in zip(stored, [depth, *maps], strict=False)
    ]


@pytest.fixture(scope="module")
def recipe():
    return golden.state_dict(json.loads(gzip.decompress((REFERENCE / "dpt_hybrid_keys.json.gz").read_bytes())))


@pytest.fixture(scope="module")
def teacher(recipe):
    return create_teacher("dpt_hybrid", checkpoint=recipe)


def test_dpt_hybrid_is_the_published_network(teacher):
    gaps = differences(teacher, CASE)
    assert len(gaps) == 5
    assert max(gaps) <= TOLERANCE


@pytest.mark.parametrize("case", VARIANTS["cases"], ids=lambda case: case["name"])
def test_every_readout_and_conversion_is_the_published_one(case, monkeypatch):
    monkeypatch.setitem(DPT_CONFIGS, case["model"], SMALL[case["model"]])
    assert max(differences(teacher_of(case, VARIANTS), case)) <= TOLERANCE
