import json

import pytest

from distill.cli import main


@pytest.fixture
def proved(tool, tmp_path, monkeypatch):
    """proved(*words): the exit code, the records of all parts by name, and the table, of a smoke test."""

    def prove(*words):
        code = tool.main(["--smoke", "--output", str(tmp_path), *words])
        records = json.loads((tmp_path / "results.json").read_text())["parts"]
        return code, {one["part"]: one for one in records}, (tmp_path / "results.md").read_text()

    return prove


def test_parts_leave_figures_and_one_table(proved):
    code, records, text = proved("--parts", "step", "students", "tensorrt")
    assert code == 0
    assert [*records] == ["step-bf16", "step-fp32", "step-all-gpus", "students", "tensorrt"]
    assert records["step-bf16"]["figures"]["step_ms"] > 0
    assert len(records["students"]["figures"]["students"]) == 2
    assert "| step-all-gpus | 0.0 | left out: there are not two GPUs |" in text
    assert "a step costs" in text


def test_a_part_that_fails_loses_no_other_and_says_where_to_look(tool, proved, monkeypatch):
    monkeypatch.setattr(tool, "TINY", "data.scenes.size=[2,2]")
    code, records, text = proved("--parts", "step-fp32", "scenes")
    assert code == 1
    assert records["step-fp32"]["outcome"] == "exit code 2, see step-fp32.log"
    assert records["scenes"]["outcome"] == "done"
    assert "profile_step: " in text


def test_a_part_is_cut_when_its_time_is_over(tool, tmp_path, monkeypatch):
    sleeping = tool.ProofPart("slow", 1, [[tool.PYTHON, "-c", "import time; time.sleep(60)"]], tmp_path / "none")
    monkeypatch.setattr(tool, "PATIENCE", 0.05)
    record = tool.carry_out(sleeping, 0.05, tmp_path, tool.apart)
    assert (record["outcome"], record["failed"]) == ("cut: its time was over", True)


@pytest.mark.parametrize("smoke", [[], ["--smoke"]])
@pytest.mark.parametrize("name", ["kitti", "nyu"])
def test_the_ablations_are_ready_to_run(tool, tmp_path, name, smoke):
    part = tool.ablation(tool.parse(["--output", str(tmp_path), *smoke]), name)
    words = part.commands[0][len(tool.DISTILL) : -2]
    assert main([*words, "--dry-run"]) == 0


def test_without_a_gpu_it_says_so(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool.torch.cuda, "is_available", lambda: False)
    assert tool.main(["--output", str(tmp_path / "none")]) == 2
    assert "no GPU here; --smoke" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
