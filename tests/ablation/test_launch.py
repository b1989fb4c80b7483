import json
import shlex
import sys

import pytest
import yaml

from distill.ablation import launch
from distill.cli import main


def logs(stage):
    return sorted(str(path.relative_to(stage.output)) for path in stage.output.rglob("*.log"))


def test_what_is_missing_is_carried_out_and_what_is_finished_is_not_repeated(stage):
    assert stage.ablate() == 0
    assert [run for run, _ in stage.started()] == ["plain/seed_0", "+KD/seed_0"]
    assert stage.ablate(seeds=[0, 1]) == 0
    assert [run for run, _ in stage.started()][2:] == ["plain/seed_1", "+KD/seed_1"]
    assert logs(stage) == ["+KD/seed_0.log", "+KD/seed_1.log", "plain/seed_0.log", "plain/seed_1.log"]


def test_one_failing_run_does_not_stop_the_others(stage, capsys):
    stage.does["plain"] = "fails"
    assert stage.ablate(seeds=[0, 1]) == 2
    assert [run for run, _ in stage.started()] == ["plain/seed_0", "+KD/seed_0", "plain/seed_1", "+KD/seed_1"]
    message = capsys.readouterr()
    assert "plain, seed 0: failed with exit code 2" in message.err
    assert f"{stage.output / 'plain' / 'seed_0.log'} ends with\n    distill: no space is left" in message.err
    assert "2 of 4 runs failed; the same command tries them again" in message.err
    assert "2 runs are not finished: their seeds are missing here" in message.err
    assert "report: " in message.out
    stage.does.clear()
    assert stage.ablate(seeds=[0, 1]) == 0
    assert [run for run, _ in stage.started()][4:] == ["plain/seed_0", "plain/seed_1"]


def test_a_failure_of_ours_has_its_own_code(stage, capsys):
    stage.does |= {"plain": "fails", "+KD": "crashes"}
    assert stage.ablate() == 1
    message = capsys.readouterr()
    assert "RuntimeError: a fault of ours" in message.err
    assert message.out == ""
    assert not (stage.output / "report.html").exists()


def test_a_changed_configuration_of_a_finished_run_is_refused_by_name(stage, refused):
    assert stage.ablate() == 0
    message = refused("ablate", stage.write(), "optim.lr=0.5", "--output", stage.output)
    assert message.startswith(f"{stage.output / 'plain' / 'seed_0'} was started with another configuration")
    assert "optim.lr was 4e-05, now 0.5" in message
    assert len(stage.started()) == 2


def test_keys_that_change_nothing_learnt_may_change(stage):
    assert stage.ablate() == 0
    assert stage.ablate("data.workers=1", "train.log_every=7", "--jobs", 0) == 0


def test_a_run_that_cannot_be_started_does_not_stop_the_others(stage, capsys):
    stage.output.mkdir()
    (stage.output / "plain").write_text("a file where a folder must be")
    assert stage.ablate() == 1
    assert [run for run, _ in stage.started()] == ["+KD/seed_0"]
    assert "plain, seed 0: could not be started: " in capsys.readouterr().err


@pytest.mark.parametrize(("name", "content"), [("results.json", "[{"), ("done.json", "")])
def test_a_damaged_run_is_left_out_and_named(stage, capsys, refused, name, content):
    assert stage.ablate() == 0
    (stage.output / "+KD" / "seed_0" / name).write_text(content)
    assert stage.ablate("--jobs", 0) == 0
    message = " ".join(capsys.readouterr().err.split())
    assert "+KD, seed 0 is left out: results.json or done.json in" in message
    assert "is damaged; delete the folder, and the same command trains it again" in message
    (stage.output / "plain" / "seed_0" / name).write_text(content)
    assert "plain, seed 0 is left out" in refused("ablate", stage.write(), "--jobs", 0, "--output", stage.output)


def test_another_row_and_seed_may_join_what_an_ablation_left(stage):
    assert stage.ablate() == 0
    assert stage.ablate(rows={"later": {"method.name": "supervised"}}, seeds=[1]) == 0
    assert [run for run, _ in stage.started()][2:] == ["later/seed_1"]


@pytest.mark.parametrize("name", ["results.md", "results.csv", "report.html"])
def test_tables_that_no_ablation_wrote_are_not_replaced(stage, refused, name):
    stage.output.mkdir(parents=True)
    (stage.output / name).write_text("mine")
    message = refused("ablate", stage.write(), "--output", stage.output)
    assert f"{stage.output / name} is there already" in message
    assert stage.started() == []


def test_an_unknown_teacher_is_refused_before_the_first_run(stage, refused):
    rows = {"plain": {"method.name": "supervised"}, "+KD": {"method.name": "feature", "teacher.name": "nobody"}}
    assert "unknown teacher 'nobody'" in refused("ablate", stage.write(rows=rows), "--output", stage.output)
    assert stage.started() == []


@pytest.mark.parametrize("moved", [False, True])
def test_rows_that_name_others_are_known_wherever_they_lie(stage, monkeypatch, moved):
    rows = {"big": {"method.name": "supervised"}, "small": {"teacher.name": "row:big"}}
    assert stage.ablate(rows=rows) == 0
    monkeypatch.chdir(stage.folder)
    if moved:
        stage.output = stage.output.rename(stage.folder / "elsewhere")
    words = ["ablate", str(stage.write(rows=rows)), "--jobs", "0", "--output", stage.output.name]
    assert main(words) == 0
    assert len(stage.started()) == 2


def test_a_teacher_is_trained_before_its_students_and_its_failure_is_theirs(stage, capsys):
    rows = {
        "big": {"method.name": "supervised"},
        "small": {"teacher.name": "row:big"},
        "tiny": {"teacher.name": "row:small"},
        "other": {"method.name": "fill"},
    }
    assert stage.ablate("--jobs", 4, rows=rows) == 0
    order = [run for run, _ in stage.started() if run != "other/seed_0"]  # which waits for nobody
    assert order == ["big/seed_0", "small/seed_0", "tiny/seed_0"]
    stage.does["big"] = "fails"
    assert stage.ablate("--jobs", 4, "seeds=[1]", rows=rows) == 2
    assert sorted(run for run, _ in stage.started()[4:]) == ["big/seed_1", "other/seed_1"]
    message = capsys.readouterr().err
    assert "small, seed 1: not started, as what it needs failed" in message
    assert "tiny, seed 1: not started, as what it needs failed" in message


def test_several_runs_at_a_time_share_the_cores(stage, monkeypatch):
    monkeypatch.setattr(launch, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert stage.ablate("--jobs", 3, seeds=[0, 1]) == 0
    assert {threads for _, threads in stage.started()} == {"2"}
    assert stage.ablate("--jobs", 3, "seeds=[0, 2]", rows={"plain": {"method.name": "supervised"}}) == 0
    assert stage.started()[4:] == [("plain/seed_2", "None")]  # the only one that is missing has them all


@pytest.mark.parametrize(
    ("jobs", "options", "devices", "expected"),
    [
        (1, "4", "0,1", [{}]),
        (2, "", "", [{"OMP_NUM_THREADS": "4"}] * 2),
        (3, "", "0", [{"OMP_NUM_THREADS": "2"}] * 3),
        (16, "", "", [{"OMP_NUM_THREADS": "1"}] * 16),
        (2, "3", "", [{"OMP_NUM_THREADS": "3"}] * 2),
        (2, "6,2", "", [{"OMP_NUM_THREADS": "4"}] * 2),
        (3, "1", "4,7", [{"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": gpu} for gpu in "474"]),
    ],
)
def test_each_process_has_its_share_of_the_cores_and_a_gpu(monkeypatch, jobs, options, devices, expected):
    monkeypatch.setattr(launch, "cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", options)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    assert launch.shares(jobs) == expected


def test_a_signal_lets_every_run_save_its_state(stage, capsys):
    stage.does["plain"] = "stops"
    assert stage.ablate(seeds=[0, 1]) == 143
    assert (stage.output / "plain" / "seed_0" / "saved").exists()
    assert len(stage.started()) == 1
    message = capsys.readouterr().err
    assert message.endswith("distill: stopped by SIGTERM; the state is saved, continue with the same command\n")


# ---------------------------------------------------------------------------------------------- without starting them


def test_a_dry_run_says_where_every_run_stands_and_leaves_nothing(stage, capsys):
    assert stage.ablate("--dry-run") == 0
    assert not stage.output.exists()
    message = capsys.readouterr().out
    assert f"missing   {stage.output}/plain/seed_0  method.name=supervised\n" in message
    assert message.endswith("2 of 2 runs are missing\n")
    stage.ablate()
    capsys.readouterr()
    stage.ablate("--dry-run", seeds=[0, 1])
    message = capsys.readouterr().out
    assert f"finished  {stage.output}/plain/seed_0  method.name=supervised\n" in message
    assert message.endswith("2 of 4 runs are missing\n")


def test_listed_commands_can_be_carried_out_anywhere_and_are_gathered(stage, capsys, monkeypatch, tmp_path):
    monkeypatch.undo()
    rows = {"big": {"method.name": "supervised"}, "small": {"teacher.name": "row:big"}}
    assert stage.ablate("--list", rows=rows) == 0
    message = capsys.readouterr()
    (line,) = message.out.splitlines()
    run = stage.output / "big" / "seed_0"
    words = ["-m", "distill", "train", f"{run}.yaml", "--output", str(run), "--resume", "--force"]
    assert line.split()[1:] == words
    assert yaml.safe_load((stage.output / "big" / "seed_0.yaml").read_text())["method"]["name"] == "supervised"
    assert "1 more need results of these: list again when they are finished" in message.err


def test_nothing_to_gather_is_reported(stage, refused):
    message = refused("ablate", stage.write(), "--jobs", 0, "--output", stage.output)
    assert message == f"no run under {stage.output} is finished, so there is no table; see --dry-run"


def test_without_jobs_what_was_carried_out_elsewhere_is_gathered(stage, capsys):
    stage.does["+KD"] = "fails"
    stage.ablate()
    (stage.output / "report.html").unlink()
    assert stage.ablate("--jobs", 0) == 0
    assert len(stage.started()) == 2
    assert (stage.output / "report.html").exists()
    assert "1 runs are not finished" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--jobs", "-1"], "expected a whole number from 0 on, got '-1'"),
        (["--jobs", "two"], "expected a whole number from 0 on, got 'two'"),
        (["--dry-run", "--list"], "not allowed with argument"),
    ],
)
def test_options_that_make_no_sense_are_refused(refused, stage, words, message):
    assert message in refused("ablate", stage.write(), *words)


def test_two_real_runs_make_a_table(content, tmp_path, capsys):
    tiny = json.loads(json.dumps(content))
    tiny["train"] |= {"steps": 2}
    tiny["eval"] = {"pictures": 0}
    rows = {"plain": {"method.name": "supervised"}, "FAM": {"method.lam": False}}
    preset = {"base": tiny, "rows": rows, "models": ["student", "ghost"]}
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(preset, sort_keys=False))
    ablate = ["ablate", str(tmp_path / "real.yaml"), "--output", str(tmp_path / "out")]
    assert main([*ablate, "--list"]) == 0
    for line in capsys.readouterr().out.splitlines():
        interpreter, *words = shlex.split(line)
        assert (interpreter, words[:2]) == (sys.executable, ["-m", "distill"])
        assert main(words[2:]) == 0
    capsys.readouterr()
    assert main(ablate) == 0
    message = capsys.readouterr().out
    assert "FAM: ghost" in message
    table = (tmp_path / "out" / "results.md").read_text()
    assert "## Difference to plain" in table
    again = ["train", str(tmp_path / "out/FAM/seed_0.yaml"), "--output", str(tmp_path / "out/FAM/seed_0"), "--resume"]
    assert main(again) == 0
