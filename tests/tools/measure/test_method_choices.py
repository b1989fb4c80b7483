import pytest
import torch
import yaml

from distill.ablation.plan import PlannedRun
from distill.method import DisDepth
from students import create_student


@pytest.fixture(autouse=True)
def own_command(monkeypatch):
    monkeypatch.setattr(PlannedRun, "command", PlannedRun.command)  # which the tool replaces


def seeded(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_every_change_has_a_row_and_every_row_without_keys_a_change(tool):
    rows = yaml.safe_load(tool.PRESET.read_text())["rows"]
    assert rows.keys() >= tool.CHANGES.keys()
    assert {name for name, changes in rows.items() if not changes} <= {"chosen", *tool.CHANGES}
    assert rows["chosen"] == {}


def test_rows_that_change_the_code_are_never_taken_for_others(tool):
    with pytest.raises(SystemExit, match="rows that change the code"):
        tool.main(["--reuse", "runs/ablations/components"])


@pytest.mark.parametrize(("form", "mean"), [("SharedScore", 1.0), ("PlainSigmoid", None), ("Softmax", 1.0)])
def test_forms_of_attention_are_what_they_are_called(tool, form, mean):
    lam = getattr(tool, form)(8)
    with torch.no_grad():
        attention, weighted = lam(seeded(2, 8, 4, 5))
    assert attention.shape == (2, 1, 4, 5)
    assert torch.equal(weighted, attention * seeded(2, 8, 4, 5))
    assert attention.min() > 0
    if mean is None:
        assert attention.max() < 1
    else:
        assert attention.mean().item() == pytest.approx(mean)


def test_all_runs_are_planned(tool, tmp_path, capsys):
    assert tool.main(["--dry-run", "--output", str(tmp_path / "out")]) == 0
    assert "45 of 45 runs are missing" in capsys.readouterr().out


def test_a_ramp_pulls_as_much_in_sum_as_a_start_at_once(tool):
    options = {"teacher_channels": (4, 4, 4, 4), "kd_weight": 0.5, "warmup_steps": 10}
    student = create_student("mnasnet_small", pretrained=False, width=8, bins=4)
    ramp, at_once = tool.Ramp(student, **options), DisDepth(student, **options)
    pulls = [[method.pull(step) for step in range(21)] for method in (ramp, at_once)]
    assert sum(pulls[0]) == pytest.approx(sum(pulls[1]) - 0.25)
    assert pulls[0][0] == 0
    assert pulls[0][-1] == pulls[1][-1] == 0.5
