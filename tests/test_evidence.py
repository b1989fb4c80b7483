"""What docs/why/ says of ablations is what their runs left, which docs/results/ keeps without the weights."""

import csv
import subprocess
from functools import partial
from pathlib import Path

import pytest

from distill.cli import main
from distill.evaluation import paired_bootstrap

ROOT = Path(__file__).parents[1]
ARCHIVES = sorted((ROOT / "docs" / "results").glob("*.tar.gz"))
PRESETS = ROOT / "configs" / "ablations"
NYU = ROOT / "configs" / "nyu" / "small.yaml"
FEW_LABELS = NYU.with_name("few_labels.yaml")
COMPONENTS, METHODS = PRESETS / "components.yaml", PRESETS / "methods.yaml"
MADE_BY = {  # words of `distill ablate`
    "backbones": [PRESETS / "backbones.yaml", "seeds=[0]", "train.steps=500", "train.validate_every=500"],
    "components": [COMPONENTS],
    "components_3000": [COMPONENTS, "data.scenes.train=3000", "--output", "runs/ablations/components_3000"],
    "components_fresh": [COMPONENTS, "--output", "runs/ablations/components_fresh"],
    "decoders": [PRESETS / "decoders.yaml", "train.steps=500", "train.validate_every=500"],
    "decoders_nyu": [
        *(PRESETS / "decoders.yaml", f"base={NYU.with_name('imagenet.yaml')}"),
        *("student.backbone=mnasnet_small", "student.checkpoint=null", "optim.lr=2e-3"),
        *("train.steps=250", "train.validate_every=250", "--output", "runs/ablations/decoders_nyu"),
    ],
    "few_labels": [METHODS, f"base={FEW_LABELS}", "--output", "runs/ablations/few_labels"],
    "few_labels_fresh": [METHODS, f"base={FEW_LABELS}", "--output", "runs/ablations/few_labels_fresh"],
    "method_choices": [ROOT / "tools" / "measure" / "method_choices.yaml"],
    "nyu": [COMPONENTS, f"base={NYU}", "--output", "runs/ablations/nyu"],
    "output_filling": [PRESETS / "output_filling.yaml"],
    "relative_teacher": [PRESETS / "relative_teacher.yaml", "train.steps=500", "train.validate_every=500"],
    "relative_teacher_nyu": [
        *(PRESETS / "relative_teacher_nyu.yaml", f"base={NYU.with_name('imagenet.yaml')}"),
        *("student.backbone=mnasnet_small", "student.checkpoint=null", "optim.lr=2e-3"),
        *("train.steps=250", "train.validate_every=250"),
    ],
    "segmentation": [PRESETS / "segmentation.yaml"],
    "warmup": [PRESETS / "warmup.yaml"],
    "weight": [PRESETS / "weight.yaml"],
}
RESULTS = ("components", "components_3000", "components_fresh", "few_labels", "few_labels_fresh", "nyu")
RESULTS += ("output_filling", "relative_teacher", "relative_teacher_nyu", "segmentation")
STUDENTS = ("backbones", "decoders", "decoders_nyu")
PAGES = {
    **dict.fromkeys(RESULTS, "results.md"),
    **dict.fromkeys(STUDENTS, "students.md"),
    **dict.fromkeys(("method_choices", "warmup", "weight"), "method-choices.md"),
}
SHOWN = ("abs_rel", "rmse", "miou", "pixel_accuracy")


def name_of(path):
    return path.name.removesuffix(".tar.gz")


@pytest.fixture(params=ARCHIVES, ids=name_of)
def gathered(request, tmp_path, monkeypatch):
    """Name of an archive, and the table that is made of what it holds."""
    name = name_of(request.param)
    subprocess.run(["tar", "xzf", str(request.param), "-C", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("distill.ablation.gather.paired_bootstrap", partial(paired_bootstrap, samples=10))
    assert main(["ablate", *map(str, MADE_BY[name]), "--jobs", "0"]) == 0
    with (tmp_path / "runs" / "ablations" / name / "results.csv").open() as file:
        return name, list(csv.DictReader(file))


def test_every_mean_on_a_page_is_that_of_the_runs(gathered):
    name, lines = gathered
    page = ROOT / "docs" / "why" / PAGES[name]
    text = page.read_text(encoding="utf-8").splitlines()
    rows = {line["row"] for line in lines}
    assert rows
    for row in rows:
        means = [f"{float(one['mean']):.3f}" for one in lines if one["row"] == row and one["metric"] in SHOWN]
        written = [line for line in text if line.startswith(f"| {row} |")]
        assert written, f"{page} has no line for {row}"
        assert any(all(mean in line for mean in means) for line in written), (row, means)
