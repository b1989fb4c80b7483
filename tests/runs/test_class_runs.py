"""Students of classes: trained on a folder of annotated streets, evaluated, used, and what is refused."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
import torch
import yaml
from forked_runs import launch_group

import distill
from distill.cli import main
from distill.data import SURFACES, SceneDataset
from distill.deploy.rounding import Limits
from distill.engine.checkpoint import Checkpoints
from distill.inference.file_kinds import open_exported
from distill.report.pictures import palette

NAMES = SURFACES["road"]


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    """images/ and annotations/: six streets to train on, three to validate on."""
    root = tmp_path_factory.mktemp("annotated")
    for half, count, seed in (("training", 6, 1), ("validation", 3, 2)):
        scenes = SceneDataset("road", count, seed, (32, 64), classes=True)
        for index in range(count):
            sample = scenes[index]
            for folder, picture in (("images", sample.image[..., ::-1]), ("annotations", sample.depth)):
                (root / folder / half).mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(root / folder / half / f"{index}.png"), picture.astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def class_config(annotated, content, tmp_path_factory):
    """The configuration of a supervised run of classes."""
    own = {
        **content,
        "data": {"name": "folder", "root": str(annotated), "classes": list(NAMES), "workers": 0},
        "student": {"backbone": "test_efficientnet", "pretrained": False, "width": 8, "decoder": "light"},
        "method": {"name": "supervised"},
    }
    path = tmp_path_factory.mktemp("config") / "classes.yaml"
    path.write_text(yaml.safe_dump(own))
    return path


@pytest.fixture(scope="module")
def class_run(class_config, trained):
    """A finished supervised run."""
    return trained(config=class_config)


def results_of(run):
    return {one["role"]: one for one in json.loads((run / "results.json").read_text())}


def test_a_run_of_classes_keeps_the_student_of_the_highest_miou(class_run):
    records = [json.loads(line) for line in (class_run / "metrics.jsonl").read_text().splitlines()]
    best = max(record["miou"] for record in records if record["kind"] == "val")
    student = results_of(class_run)["student"]
    assert student["metrics"]["miou"] == pytest.approx(best)
    assert student["protocol"] == "segmentation_ade20k"
    assert student["iou"].keys() == set(NAMES)
    page = (class_run / "report.html").read_text()
    assert "IoU of the student by class" in page
    assert "mIoU" in page


def test_the_student_is_what_a_folder_needs_to_be_used(class_run):
    model = distill.load_model(class_run)
    assert (model.output, model.classes) == ("classes", NAMES)
    recipe = json.loads((class_run / "student" / "config.json").read_text())
    assert recipe["options"]["classes"] == list(NAMES)
    card = (class_run / "student" / "README.md").read_text()
    assert "image-segmentation" in card
    assert "roadside" in card


@pytest.mark.parametrize("named", [False, True])
def test_evaluate_gives_the_figures_of_the_run_itself(class_run, annotated, tmp_path, named):
    words = ["--data", "segmentation", "--root", str(annotated)] if named else []
    assert main(["evaluate", str(class_run), *words, "--json", str(tmp_path / "out.json")]) == 0
    result, own = json.loads((tmp_path / "out.json").read_text()), results_of(class_run)["student"]
    assert result["fingerprint"] == own["fingerprint"]
    assert result["metrics"] == pytest.approx(own["metrics"], abs=1e-3)


def test_predict_writes_the_classes_of_a_student(class_run, annotated, tmp_path):
    assert main(["predict", str(class_run), str(annotated / "images/validation"), "--output", str(tmp_path)]) == 0
    numbers = cv2.imread(str(tmp_path / "0.png"), cv2.IMREAD_UNCHANGED)
    assert numbers.shape == (32, 64)
    assert numbers.max() < len(NAMES)


@pytest.mark.parametrize(("name", "target"), [("x.onnx", "onnx"), ("x.onnx", "onnx-portable"), ("x.pt2", "pt2")])
def test_a_student_of_classes_becomes_a_file_that_is_a_model(class_run, annotated, tmp_path, capsys, name, target):
    file, images = tmp_path / name, annotated / "images/validation"
    assert main(["export", str(class_run), "--output", str(file), "--target", target, "--size", "32x64"]) == 0
    message = " ".join(capsys.readouterr().out.split())
    assert re.search(r"logits checked by .* probabilities differ by at most \S+ .*100.0000% .*mIoU .* 1.0000", message)
    model, facts = open_exported(file), open_exported(file).facts
    assert (model.output, model.classes) == ("classes", NAMES)
    assert json.loads(facts["palette"]) == palette(len(NAMES)).tolist()
    assert "RGB" in facts["colour_order"]
    assert f"(1, {len(NAMES)}, 32, 64)" in facts["output"]

    words = ["--data", "segmentation", "--root", str(annotated), "--json", str(tmp_path / "out.json")]
    assert main(["evaluate", str(file), *words]) == 0
    own = results_of(class_run)["student"]
    assert json.loads((tmp_path / "out.json").read_text())["metrics"] == pytest.approx(own["metrics"], abs=1e-3)
    assert main(["predict", str(file), str(images), "--output", str(tmp_path / "out")]) == 0
    assert cv2.imread(str(tmp_path / "out" / "0.png"), cv2.IMREAD_UNCHANGED).shape == (32, 64)
    words = ["--size", "32x64", "--runs", "1", "--json", str(tmp_path / "timed")]
    assert main(["benchmark", str(file), *words]) == 0
    assert json.loads((tmp_path / "timed").read_text())["models"][0]["ways"]


def test_in_8_bits_the_miou_before_and_after_is_measured_and_stated(class_run, tmp_path, capsys, monkeypatch):
    # So little trained, classes hang on rounding.
    monkeypatch.setattr("distill.deploy.eight_bits.LIMITS", Limits(mean=0.5, part=0.5))
    file = tmp_path / "x.onnx"
    assert main(["export", str(class_run), "--output", str(file), "--size", "32x64", "--int8"]) == 0
    message = capsys.readouterr().out
    (values,) = [line.split() for line in message.splitlines() if "miou ↑" in line]
    stated = open_exported(file).known.accuracy
    assert (stated.protocol, stated.images) == ("segmentation_ade20k", 3)
    assert stated.metrics["miou"] == pytest.approx(float(values[6]), rel=1e-3)
    words = ["--size", "32x64", "--runs", "1", "--report", str(tmp_path / "page.html")]
    assert main(["benchmark", str(file), *words]) == 0
    assert "1 - mIoU (lower is better)" in (tmp_path / "page.html").read_text()


def test_one_that_gives_classes_is_no_file_of_depth(refused, class_run, streets, tmp_path):
    file = tmp_path / "x.onnx"
    assert main(["export", str(class_run), "--output", str(file), "--size", "32x64", "--dynamic"]) == 0
    assert "gives classes, and depth is wanted" in refused("evaluate", file, "--data", "folder", "--root", streets)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--confidence"], "has no bins: leave it out"),
        (["--logits", "--target", "onnx-portable"], "does not end with bins"),
    ],
)
def test_what_a_file_of_classes_cannot_have_is_refused(refused, class_run, tmp_path, words, message):
    assert message in refused("export", class_run, "--output", tmp_path / "x.onnx", "--size", "32x64", *words)


def test_two_processes_train_and_evaluate_as_one_does(class_config, annotated, tmp_path):
    """The test half has three images, which two processes cannot share evenly."""
    words, (one, two) = ["train.micro_batch=2"], (tmp_path / "one", tmp_path / "two")
    assert main(["train", str(class_config), *words, "--output", str(one)]) == 0
    assert end(launch_group(["train", str(class_config), *words, "--output", str(two)], tmp_path / "log", 2)) == [0, 0]
    assert json.loads((two / "done.json").read_text())["processes"] == 2
    states = [Checkpoints(path / "checkpoints").load()["module"] for path in (one, two)]
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key], rtol=1e-4 if "running_" in key else 0, atol=0)
    assert results_of(two)["student"]["metrics"] == pytest.approx(results_of(one)["student"]["metrics"], abs=1e-3)

    results = [tmp_path / name for name in ("alone.json", "shared.json")]
    command = ["evaluate", str(one), "--data", "segmentation", "--root", str(annotated), "--json"]
    assert main([*command, str(results[0])]) == 0
    assert end(launch_group([*command, str(results[1])], tmp_path / "evaluation", 2)) == [0, 0]
    alone, shared = (json.loads(path.read_text()) for path in results)
    assert alone["images"] == 3
    assert shared | {"origin": None} == alone | {"origin": None}


def end(processes):
    for process in processes:
        process.join(300)
        process.kill()
    return [process.exitcode for process in processes]


def test_a_depth_teacher_distils_its_features_into_classes(class_config, tmp_path):
    words = ["method.name=disdepth", "method.warmup_steps=0", "train.steps=1", "eval.pictures=1"]
    assert main(["train", str(class_config), *words, "--output", str(tmp_path / "run")]) == 0
    assert results_of(tmp_path / "run").keys() == {"student", "ghost"}


def test_a_student_of_classes_teaches_its_like(class_config, class_run, tmp_path):
    teacher = [f"teacher.name={class_run}", "teacher.checkpoint=null"]
    words = ["method.name=output", "data.labelled=3", "train.steps=1", "eval.tta=flip", *teacher]
    assert main(["train", str(class_config), *words, "--output", str(tmp_path / "run")]) == 0
    results = results_of(tmp_path / "run")
    assert results.keys() == {"student", "teacher"}
    assert all("TTA flip" in one["rules"] for one in results.values())
    assert main(["evaluate", str(tmp_path / "run"), "--json", str(tmp_path / "out.json")]) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["fingerprint"] == results["student"]["fingerprint"]
    assert result["metrics"] == pytest.approx(results["student"]["metrics"], abs=1e-3)


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method.name=output"], r"gives depth, and the student learns 8 classes.*method.name=feature"),
        (["data.classes=[road,sky]"], r"pixels beyond the 2 classes.*data.numbering=from-zero"),
    ],
)
def test_teachers_and_annotations_of_others_are_refused(refused, class_config, tmp_path, words, message):
    assert re.search(message, refused("train", class_config, *words, "--output", tmp_path / "run"))


def test_a_teacher_of_classes_teaches_no_depth(refused, config_file, class_run, tmp_path):
    words = [f"teacher.name={class_run}", "teacher.checkpoint=null", "method.name=output"]
    message = refused("train", config_file, *words, "--output", tmp_path / "run")
    assert "gives 8 classes, and the student learns depth" in message


@pytest.mark.parametrize("verb", ["evaluate", "calibrate", "label"])
def test_what_needs_depth_refuses_a_student_of_classes(refused, class_run, streets, tmp_path, verb):
    words = {
        "evaluate": ["--data", "folder", "--root", streets],
        "calibrate": ["--data", "folder", "--root", streets, "--output", tmp_path / "out"],
        "label": [streets / "image", "--output", tmp_path / "out"],
    }
    assert "gives classes, and depth is wanted here" in refused(verb, class_run, *words[verb])


@pytest.mark.parametrize("half", ["training", "validation"])
def test_a_half_without_any_class_is_refused_in_words_of_classes(refused, class_config, annotated, tmp_path, half):
    root = shutil.copytree(annotated, tmp_path / "data")
    for path in (root / "annotations" / half).iterdir():
        assert cv2.imwrite(str(path), np.zeros((32, 64), np.uint8))
    message = refused("train", class_config, f"data.root={root}", "--output", tmp_path / "run")
    assert re.search(r"annotations looked at\): no pixel has a class, expected 8 classes from 1 on, 0 where", message)
    assert " m;" not in message


def test_an_annotation_without_its_training_half_is_refused(refused, class_config, annotated, tmp_path):
    root = shutil.copytree(annotated, tmp_path / "data")
    for folder in ("images", "annotations"):
        shutil.rmtree(root / folder / "training")
    message = refused("train", class_config, f"data.root={root}", "--output", tmp_path / "run")
    assert "nothing to train on" in message
