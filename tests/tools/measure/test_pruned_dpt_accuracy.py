from pathlib import Path

import cv2
import pytest
import torch
import yaml

from students import create_student, save_student

PRESET = Path(__file__).parents[3] / "configs" / "ablations" / "pruned_dpt.yaml"


@pytest.fixture(scope="module")
def runs(tool, tmp_path_factory):
    """What an ablation would leave: results of the shown rows, and students that have learnt nothing."""
    runs, lines = tmp_path_factory.mktemp("runs"), ["row,metric,mean"]
    content = {"data": {"name": "scenes", "scenes": {"test": 4, "size": [32, 64]}}}
    for number, row in enumerate(tool.SHOWN.values()):
        torch.manual_seed(number)
        save_student(create_student("dpt_micro", hooks=(0, 1)), runs / row / "seed_0" / "student")
        (runs / row / "seed_0" / "config.yaml").write_text(yaml.safe_dump(content))
        quoted = f'"{row}"' if "," in row else row
        lines += [f"{quoted},silog,{10 + number}.25", f"{quoted},abs_rel,0.5"]
    (runs / "results.csv").write_text("\n".join(lines) + "\n")
    return runs


def test_the_page_gets_the_metric_by_variant_and_the_picture(tool, runs, tmp_path):
    (tmp_path / "pruned-dpt.md").write_text("<!-- begin: tools/measure/pruned_dpt_accuracy.py --><!-- end -->\n")
    tool.main([str(runs), "--output", str(tmp_path)])
    text = (tmp_path / "pruned-dpt.md").read_text()
    assert "Silog, lower is better: whole 10.25, A-full 11.25, A-quarter 13.25." in text
    assert "| attention | heads | stem | hooks 0, 1 | hooks 1, 3 | hooks 3, 5 |" in text
    assert "| standard | 1 | resnet50 | 12.25 | 14.25 | 15.25 |" in text
    assert cv2.imread(str(tmp_path / "pruned-dpt-depth.png")).shape[2] == 3


def test_the_rows_that_are_shown_are_rows_of_the_preset(tool):
    preset = yaml.safe_load(PRESET.read_text())
    named = {row for row in tool.SHOWN.values() if not tool.options(row)}
    assert named == set(preset["rows"])
    for row in set(tool.SHOWN.values()) - named:
        for key, value in tool.options(row).items():
            values = [
                "-".join(map(str, v)) if isinstance(v, list) else str(v) for v in preset["grid"][f"student.{key}"]
            ]
            assert value in values
