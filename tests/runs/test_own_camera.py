"""Runs on recordings of one's own camera: what is held out, what a folder is taken for, focal lengths."""

import pytest
from run_files import read_json

from distill.cli import main


@pytest.fixture
def undivided(own_streets):
    """The streets without lists: eight of one name, two of another."""
    for listed in own_streets.glob("*.txt"):
        listed.unlink()
    return own_streets


def test_a_run_on_an_undivided_folder_ends_with_an_honest_number(train, undivided, capsys, tmp_path):
    folder = train(f"data.root={undivided}", "data.hold_out=0.2", "method.name=supervised", "teacher=null")
    shown = " ".join(capsys.readouterr().err.split())
    assert "held out: the end of a recording, 2 of 10 images" in shown
    assert "7 training images" in shown
    (student,) = read_json(folder / "results.json")
    assert [image["name"] for image in student["per_image"]] == ["image/train6.png", "image/train7.png"]
    assert main(["evaluate", str(folder), "--json", str(tmp_path / "again.json")]) == 0
    assert read_json(tmp_path / "again.json")["metrics"] == pytest.approx(student["metrics"], rel=1e-3)


def test_a_test_half_wins_over_a_held_out_share(train, streets):
    folder = train("data.hold_out=0.2", "method.name=supervised", "teacher=null")
    assert read_json(folder / "results.json")[0]["images"] == 2


def test_few_photographs_are_all_trained_on(train, undivided, capsys):
    photographs = [f"data.root={undivided / 'image'}", "data.depth_scale=null", "method.name=output"]
    train(*photographs, "data.hold_out=0.01", "eval.pictures=0")
    shown = " ".join(capsys.readouterr().err.split())
    assert "data.hold_out=0.01 of 10 photographs leaves none on one side: nothing is held out" in shown
    assert "on 10 photographs trained on" in shown


def test_a_hold_out_that_leaves_nothing_ends_a_run_before_it_begins(config_file, undivided, refused, tmp_path):
    words = [f"data.root={undivided}", "data.hold_out=0.01"]
    assert "data.hold_out=0.01" in refused("train", config_file, *words, "--output", tmp_path / "none")
    assert not (tmp_path / "none").exists()
