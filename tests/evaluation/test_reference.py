"""Agreement with values that public evaluation code gave on synthetic inputs (reference/eval_golden_sample.json)."""

import functools
import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from distill.evaluation import METRICS, PROTOCOLS

HERE = Path(__file__).parent / "reference"
REFERENCE = json.loads((HERE / "eval_golden_sample.json").read_text())
inputs = SimpleNamespace(**runpy.run_path(str(HERE / "golden_inputs.py")))

PROTOCOL_OF = {  # block -> protocol; where no name exists, the nearest with an option
    "kitti/fullframe/garg": PROTOCOLS["kitti_eigen_garg_full"],
    "kitti/fullframe/eigen": PROTOCOLS["kitti_eigen_crop_full"],
    "kitti/fullframe/none": PROTOCOLS["kitti_eigen_garg_full"].with_(crop=None),
    "kitti/kbpaste/garg": PROTOCOLS["kitti_eigen_garg_full"],
    "kitti/kbboth/garg": PROTOCOLS["kitti_eigen_garg_kb"],
    "nyu/full/eigen": PROTOCOLS["nyu_eigen"],
    "nyu/full/none": PROTOCOLS["nyu_eigen"].with_(crop=None),
}
CASES = [(c, b, k) for c, blocks in REFERENCE["metrics"].items() for b, kinds in blocks.items() for k in kinds]


@functools.cache
def case(name):
    return inputs.kitti_case(name) if name.startswith("k") else inputs.nyu_case(name)


@pytest.mark.parametrize("name", REFERENCE["inputs"])
def test_the_inputs_are_those_the_values_were_taken_on(name):
    digests = {key: entry["digest"] for key, entry in REFERENCE["inputs"][name].items()}
    assert {key: inputs.digest(array) for key, array in case(name).items()} == digests


@pytest.mark.parametrize(("name", "block", "behaviour"), CASES)
def test_every_reference_value_is_met(name, block, behaviour):
    expected = REFERENCE["metrics"][name][block][behaviour]
    arrays = case(name)
    key = "pred_kb" if "/kb" in block else "pred"
    flipped = arrays[f"{key}_flip"] if behaviour == "flip_mean_clip_first" else None
    score = PROTOCOL_OF[block].score(arrays[key], arrays["gt"], flipped)
    assert score["pixels"] == expected["n"]
    assert {m: score[m] for m in METRICS} == pytest.approx({m: float(expected["f64"][m]) for m in METRICS}, rel=1e-6)


def test_every_block_of_the_reference_is_covered():
    assert {block for _, block, _ in CASES} == set(PROTOCOL_OF)


@pytest.mark.parametrize(
    ("protocol", "key", "expected"),
    [
        (
            PROTOCOLS["kitti_eigen_garg_kb"],
            "pred_kb",
            {"pixels": 11514, "rmse": 1.884, "abs_rel": 0.10920, "d1": 0.90768},
        ),
        (
            PROTOCOLS["kitti_eigen_garg_full"],
            "pred",
            {"pixels": 12405, "rmse": 2.381, "abs_rel": 0.10915, "d1": 0.90730},
        ),
        (PROTOCOL_OF["kitti/fullframe/none"], "pred_kb", {"rmse": 11.57, "silog": 203.6}),
    ],
)
def test_the_two_kitti_conventions_differ_as_they_do_in_public_code(protocol, key, expected):
    """k0_clean; the last row is a prediction pasted into zeros, which a crop would have hidden."""
    arrays = case("k0_clean")
    score = protocol.score(arrays[key], arrays["gt"])
    assert {name: score[name] for name in expected} == pytest.approx(expected, rel=5e-4)
    assert score["repaired"] == 0
