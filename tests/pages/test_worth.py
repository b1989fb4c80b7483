"""What a teacher is worth is said before the first step and at the end, and changes nothing of the run."""

import shutil
from types import SimpleNamespace

import pytest

from distill.pages.worth import verdict


def result(role, abs_rel):
    return SimpleNamespace(role=role, results=SimpleNamespace(metrics={"abs_rel": abs_rel}))


def test_a_teacher_that_is_worse_than_its_student_is_told_with_both_figures():
    note = verdict([result("teacher", 0.3), result("student", 0.2)])
    assert "worse than the student" in note
    assert "abs_rel 0.3, 0.2" in note
    assert "method.name=supervised" in note


@pytest.mark.parametrize(
    "results",
    [
        [],
        [result("student", 0.2)],
        [result("teacher", 0.2), result("student", 0.2)],
        [result("teacher", 0.2), result("student", float("nan"))],
    ],
)
def test_any_other_pair_is_not_remarked_on(results):
    assert verdict(results) is None


def test_a_run_without_a_teacher_says_nothing_of_one(train, capsys):
    train("method.name=supervised")
    assert "of the teacher" not in capsys.readouterr().err


def test_a_run_says_what_its_teacher_is_worth_and_that_its_student_is_better(train, finished, tmp_path, capsys):
    blind = ["teacher.scale=1e-9", "teacher.shift=0.0125", "teacher.invert=true"]  # it says 80 m of everything
    folder = train(f"student.checkpoint={finished}", "optim.lr=1e-9", *blind, output=tmp_path / "again")
    shown = capsys.readouterr().err
    assert "of the teacher: abs_rel" in shown
    assert "on 2 validation images; the student so far: " in shown
    assert "the teacher is worse than the student is already (abs_rel" in shown
    assert "The teacher is worse than the student that it taught" in shown
    assert "The teacher is worse than the student that it taught" in (folder / "report.html").read_text()


def test_without_truth_the_worth_of_a_teacher_is_not_known(train, streets, tmp_path, capsys):
    photographs = shutil.copytree(streets / "image", tmp_path / "photographs")
    train(f"data.root={photographs}", "data.depth_scale=null", "method.name=output")
    assert "of the teacher: not known, as no image to validate on has depth" in capsys.readouterr().err
