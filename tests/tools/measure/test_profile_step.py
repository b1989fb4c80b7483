import json

import pytest
import torch

TINY = ["data.scenes.size=[32,64]", "data.workers=0", "student.backbone=test_efficientnet", "student.width=8"]


@pytest.fixture(scope="module")
def measured(tool, micro_weights, tmp_path_factory):
    """The figures of a tiny run of two steps, of two micro-batches each."""
    path = tmp_path_factory.mktemp("profile") / "profile.json"
    words = [*TINY, "teacher.name=dpt_micro", f"teacher.checkpoint={micro_weights}", "train.micro_batch=1"]
    assert tool.main([*words, "--steps", "2", "--json", str(path)]) == 0
    return json.loads(path.read_text())


def test_every_part_of_a_step_takes_time(tool, measured):
    parts = measured["parts_ms"]
    assert parts.keys() == {*tool.PARTS} - {"step", "floor", "step from labels"}
    assert all(value > 0 for value in parts.values())


def test_the_parts_make_up_the_step(measured):
    parts = {name: value for name, value in measured["parts_ms"].items() if not name.startswith("floor")}
    assert 0 < sum(parts.values()) <= 1.001 * measured["step_ms"]  # medians, of two steps, and so means
    assert measured["floor_ms"] > 0
    assert (measured["images"], measured["memory_gib"] > 0.1, measured["start_s"] > 0) == (2, True, True)


def test_a_part_inside_another_counts_once(tool, clock):
    watch = tool.Stopwatch(torch.device("cpu"))
    with watch.part("outer"):
        clock.pass_by(1)
        watch.around(clock.pass_by, "inner")(3)
    assert watch.seconds == {"outer": 1, "inner": 3}


def test_a_method_without_a_teacher_has_the_floor_of_its_student(tool, tmp_path):
    path = tmp_path / "profile.json"
    assert tool.main([*TINY, "method.name=supervised", "--steps", "1", "--json", str(path)]) == 0
    parts = json.loads(path.read_text())["parts_ms"]
    assert {"teacher", "ghost", "floor: teacher"}.isdisjoint(parts)
    assert parts["floor: student"] > 0


def test_a_method_on_depth_is_timed_from_labels_too_beside_the_teacher_that_is_asked(tool, tmp_path, capsys):
    path = tmp_path / "profile.json"
    words = [*TINY, "method.name=output", "teacher.name=dpt_micro", "--steps", "1", "--json", str(path)]
    assert tool.main(words) == 0
    profile = json.loads(path.read_text())
    assert profile["labels_ms"] > 0
    assert "step from labels" in capsys.readouterr().out


def test_a_wrong_key_is_refused_in_a_line(tool, capsys):
    assert tool.main(["student.nothing=1"]) == 2
    assert "unknown key student.nothing" in capsys.readouterr().err
