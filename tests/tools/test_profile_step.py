import json
import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import profile_step

TINY = ["data.scenes.size=[32,64]", "data.workers=0", "student.backbone=test_efficientnet", "student.width=8"]


@pytest.fixture(scope="module")
def found(micro_weights, tmp_path_factory):
    """The figures of a tiny run of two steps, of two micro-batches each."""
    path = tmp_path_factory.mktemp("profile") / "found.json"
    words = [*TINY, "teacher.name=dpt_micro", f"teacher.checkpoint={micro_weights}", "train.micro_batch=1"]
    assert profile_step.main([*words, "--steps", "2", "--json", str(path)]) == 0
    return json.loads(path.read_text())


def test_every_part_of_a_step_takes_time(found):
    parts = found["parts_ms"]
    assert parts.keys() == {*profile_step.PARTS} - {"step", "floor"}
    assert all(value > 0 for value in parts.values())


def test_the_parts_make_up_the_step(found):
    parts = {name: value for name, value in found["parts_ms"].items() if not name.startswith("floor")}
    assert sum(parts.values()) == pytest.approx(found["step_ms"], rel=0.5)  # medians, of two steps
    assert found["step_ms"] > found["floor_ms"] > parts["teacher"] / 2
    assert (found["images"], found["memory_gib"] > 0.1, found["start_s"] > 0) == (2, True, True)


def test_a_part_inside_another_counts_once():
    watch = profile_step.Stopwatch(torch.device("cpu"))
    with watch.part("outer"):
        time.sleep(0.01)
        watch.around(time.sleep, "inner")(0.03)
    assert 0.03 <= watch.seconds["inner"] < watch.seconds["inner"] + watch.seconds["outer"]
    assert 0.01 <= watch.seconds["outer"] < 0.03


def test_a_method_without_a_teacher_has_the_floor_of_its_student(tmp_path):
    path = tmp_path / "found.json"
    assert profile_step.main([*TINY, "method.name=supervised", "--steps", "1", "--json", str(path)]) == 0
    parts = json.loads(path.read_text())["parts_ms"]
    assert {"teacher", "ghost", "floor: teacher"}.isdisjoint(parts)
    assert parts["floor: student"] > 0


def test_a_wrong_key_is_refused_in_a_line(capsys):
    assert profile_step.main(["student.nothing=1"]) == 2
    assert "unknown key student.nothing" in capsys.readouterr().err
