import math
import shutil

import pytest

WEIGHT = {"rows": {}, "grid": {"method.name": ["feature"], "method.kd_weight": [0.05, 1]}}


@pytest.fixture
def elsewhere(stage):
    """Folder of an ablation that has run: "plain", and "+KD" with the weight that is the default."""
    assert stage.ablate() == 0
    return stage.output.rename(stage.folder / "elsewhere")


def test_a_run_of_the_same_configuration_is_taken_over_and_the_others_are_carried_out(stage, elsewhere, capsys):
    assert stage.ablate("--reuse", elsewhere, **WEIGHT) == 0
    assert [run for run, _ in stage.started()][2:] == ["kd_weight=1/seed_0"]
    assert "1 of 2 runs were taken over" in capsys.readouterr().err
    for name in ("results.json", "metrics.jsonl", "done.json"):
        taken = stage.output / "kd_weight=0.05" / "seed_0" / name
        assert taken.read_text() == (elsewhere / "+KD" / "seed_0" / name).read_text()
    assert stage.ablate("--reuse", elsewhere, **WEIGHT) == 0
    assert len(stage.started()) == 3


def test_another_seed_or_value_is_not_the_same(stage, elsewhere, capsys):
    assert stage.ablate("--reuse", elsewhere, "optim.lr=0.5") == 0
    assert "0 of 2 runs were taken over" in capsys.readouterr().err
    shutil.rmtree(stage.output)
    assert stage.ablate("--reuse", elsewhere, seeds=[1]) == 0
    assert len(stage.started()) == 6


def test_what_is_not_finished_is_not_taken_over(stage, elsewhere):
    (elsewhere / "+KD" / "seed_0" / "done.json").unlink()
    assert stage.ablate("--reuse", elsewhere, **WEIGHT) == 0
    assert len(stage.started()) == 4


def test_a_copy_that_was_cut_short_is_not_taken_over(stage, elsewhere):
    (elsewhere / "+KD" / "seed_0").rename(elsewhere / "+KD" / "seed_0.part")
    assert stage.ablate("--reuse", elsewhere, **WEIGHT) == 0
    assert len(stage.started()) == 4


def test_runs_of_one_configuration_that_differ_are_refused(stage, elsewhere, refused, results):
    stage.models["+KD", 0] = [results("student", {"x": 2.0})]
    stage.output = stage.folder / "other_code"
    assert stage.ablate() == 0
    both = ("--reuse", elsewhere, "--reuse", stage.output)
    message = refused("ablate", stage.write(**WEIGHT), *both, "--output", stage.folder / "weight")
    assert "have one configuration and different results; give --reuse the folder of one" in message
    assert not (stage.folder / "weight").exists()


def test_a_run_whose_metrics_are_not_numbers_does_not_differ_from_itself(stage, results):
    stage.models["+KD", 0] = [results("student", {"x": 2.0}), results("ghost", {"x": math.nan})]
    assert stage.ablate() == 0
    elsewhere = stage.output.rename(stage.folder / "elsewhere")
    assert stage.ablate("--reuse", elsewhere, **WEIGHT) == 0
    assert len(stage.started()) == 3


def test_a_folder_that_is_not_there_is_refused(stage, refused):
    message = refused("ablate", stage.write(), "--reuse", stage.folder / "nowhere", "--output", stage.output)
    assert message.endswith("there is no such folder; give that of a run or an ablation")


@pytest.mark.parametrize("only_shows", ["--dry-run", "--list"])
def test_what_only_shows_runs_takes_over_none(stage, elsewhere, refused, only_shows):
    message = refused("ablate", stage.write(), "--reuse", elsewhere, only_shows, "--output", stage.output)
    assert message.endswith("give --reuse DIR --jobs 0 before")
    assert not stage.output.exists()
    assert stage.ablate("--reuse", elsewhere, "--jobs", "0") == 0
    assert len(stage.started()) == 2
