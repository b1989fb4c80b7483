"""What a teacher is worth is said before the first step and at the end, and changes nothing of the run."""

import shutil
from types import SimpleNamespace

import pytest
from run_files import SHORT, read_json

from distill.cli import main
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


def test_a_run_without_a_teacher_says_nothing_of_one(plain):
    assert "of the teacher" not in plain.with_name("log").read_text()


def test_a_run_says_what_its_teacher_is_worth_and_that_its_student_is_better(train, finished, tmp_path, capsys):
    blind = ["teacher.scale=1e-9", "teacher.shift=0.0125", "teacher.invert=true"]  # it says 80 m of everything
    folder = train(f"student.checkpoint={finished}", "optim.lr=1e-9", *blind, SHORT, output=tmp_path / "again")
    shown = capsys.readouterr().err
    assert "of the teacher: abs_rel" in shown
    assert "on 2 validation images; the student so far: " in shown
    assert "the teacher is worse than the student is already (abs_rel" in shown
    assert "The teacher is worse than the student that it taught" in shown
    assert "The teacher is worse than the student that it taught" in (folder / "report.html").read_text()


@pytest.fixture
def photographs(streets, tmp_path):
    """Keys of a run on ten photographs without depth."""
    root = shutil.copytree(streets / "image", tmp_path / "photographs")
    return [f"data.root={root}", "data.depth_scale=null", "method.name=output"]


def test_without_truth_teacher_and_student_are_compared_on_photographs_held_out(train, photographs, capsys):
    folder = train(*photographs, "data.hold_out=0.2", "eval.pictures=1", SHORT)
    shown = " ".join(capsys.readouterr().err.split())
    assert "of the teacher: not known, as no image to validate on has depth" in shown
    assert "7 training images" in shown
    assert "student against its teacher on 2 photographs held out: abs_rel" in shown
    (agreement,) = read_json(folder / "results.json")
    assert (agreement["role"], agreement["protocol"], agreement["images"]) == ("agreement", "agreement", 2)
    assert [image["name"] for image in agreement["per_image"]] == ["train6.png", "train7.png"]
    page = (folder / "report.html").read_text()
    assert "Agreement with the teacher" in page
    assert "student against teacher" in page
    assert main(["compare", str(folder), str(folder)]) == 0
    assert "2 images" in capsys.readouterr().out


def test_with_none_held_out_it_is_said_that_the_photographs_were_trained_on(train, photographs, streets, capsys):
    beside = f"data.unlabelled.root={photographs[0].partition('=')[2]}"
    folder = train(beside, "method.name=output", SHORT)
    assert "on 10 photographs trained on: abs_rel" in " ".join(capsys.readouterr().err.split())
    assert [one["role"] for one in read_json(folder / "results.json")] == ["teacher", "student", "agreement"]
