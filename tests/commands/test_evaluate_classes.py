"""`distill evaluate --data segmentation` against values by hand, on images whose red channel is what is predicted."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from distill.cli import main
from distill.commands import evaluate_classes
from distill.errors import UserError
from distill.evaluation import student_result
from distill.evaluation.segmentation import Segmentation, class_ious, class_protocol, confusion
from teachers import DepthModel

CLASSES = ("wall", "floor", "chair", "door")


class RedIsTheClass(DepthModel):
    output, classes = "classes", CLASSES

    def forward(self, image):
        number = (image[:, 0] * 255).round().long()
        return torch.nn.functional.one_hot(number, len(CLASSES)).movedim(-1, 1).float()


class WallAtTheLeft(RedIsTheClass):
    def forward(self, image):
        logits = 3 * super().forward(image)
        logits[..., : image.shape[-1] // 2] = torch.tensor([2.0, 0, 0, 0])[:, None, None]
        return logits


MODELS = {"red": RedIsTheClass, "wall": WallAtTheLeft}


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """evaluate(*words, model=): the exit code, and the JSON where there is one."""
    monkeypatch.setattr(evaluate_classes, "open_model", lambda name, classes: MODELS[name]())

    def run(*words, model="red"):
        file = tmp_path / "out.json"
        code = main(["evaluate", model, "--data", "segmentation", "--root", str(tmp_path), "--json", str(file), *words])
        return code, json.loads(file.read_text()) if file.exists() else None

    return run


@pytest.fixture
def write(tmp_path):
    """write(name, pred, values): an image of which `pred` is predicted, and its annotation as stored."""

    def run(name, pred, values, half=""):
        for folder, content in (("images", np.stack([pred] * 3, -1)), ("annotations", values)):
            path = tmp_path / folder / half / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content.astype(np.uint8)).save(path)

    return run


def quarters(*values):
    """A picture of 32x32: its quarters from the upper left, row by row."""
    return np.array(values).reshape(2, 2).repeat(16, 0).repeat(16, 1)


def test_the_figures_are_those_by_hand(evaluate, write, tmp_path, capsys):
    write("a", quarters(0, 1, 0, 2), quarters(1, 2, 1, 2), "validation")
    write("b", quarters(2, 2, 2, 2), quarters(0, 0, 3, 3), "validation")  # 0 is nothing
    write("c", quarters(0, 0, 0, 0), quarters(4, 4, 4, 4), "training")  # another half
    code, result = evaluate()
    assert code == 0
    assert result["iou"] == {"wall": 1.0, "floor": 0.5, "chair": pytest.approx(2 / 3), "door": None}
    assert result["metrics"] == {"miou": pytest.approx(13 / 18), "pixel_accuracy": pytest.approx(5 / 6)}
    assert (result["images"], result["skipped"], result["protocol"]) == (2, 0, "segmentation_ade20k")
    assert [(one["name"], one["pixels"], one["pixel_accuracy"]) for one in result["per_image"]] == [
        ("a", 1024, 0.75),
        ("b", 512, 1.0),
    ]
    text = capsys.readouterr().out
    assert "72.22" in text
    assert "83.33%" in text
    assert "1 of 4 classes occur nowhere" in text
    with pytest.raises(UserError, match="results of a segmentation"):
        student_result(tmp_path / "out.json")


def test_files_that_count_from_zero_give_the_same_with_their_option(evaluate, write):
    write("a", quarters(0, 1, 0, 2), quarters(0, 1, 0, 1))
    write("b", quarters(2, 2, 2, 2), quarters(255, 255, 2, 2))
    result = evaluate("--labels", "from-zero")[1]
    assert result["metrics"] == {"miou": pytest.approx(13 / 18), "pixel_accuracy": pytest.approx(5 / 6)}
    assert result["protocol"] == "segmentation_from-zero"


def test_the_mirrored_image_has_its_half_of_the_probabilities(evaluate, write, capsys):
    write("a", quarters(1, 2, 3, 1), quarters(2, 3, 4, 2))
    plain, flipped = (evaluate("--tta", tta, model="wall")[1] for tta in ("none", "flip"))
    assert plain["metrics"]["pixel_accuracy"] == 0.5
    assert flipped["metrics"] == {"miou": 1.0, "pixel_accuracy": 1.0}
    assert plain["fingerprint"] == evaluate(model="wall")[1]["fingerprint"] != flipped["fingerprint"]
    assert "TTA flip" in flipped["rules"]
    capsys.readouterr()
    assert evaluate("--tta", "flip-edge")[0] == 2
    assert "unknown TTA of classes 'flip-edge'" in capsys.readouterr().err


@pytest.mark.parametrize(("labels", "first", "other"), [("ade20k", 0, "from-zero"), ("from-zero", 1, "ade20k")])
def test_files_that_seem_to_count_otherwise_are_counted_and_said(evaluate, write, capsys, labels, first, other):
    number = quarters(0, 1, 2, 2)
    write("other", number, number + first)
    write("right", number, number + 1 - first)
    assert evaluate("--labels", labels)[0] == 0
    message = " ".join(capsys.readouterr().err.split())
    assert "1 of 2 images agree better if classes count from the other number" in message
    assert f"--labels {other}" in message


@pytest.mark.parametrize(("labels", "value", "other"), [("ade20k", 255, "from-zero"), ("from-zero", 4, "ade20k")])
def test_values_beyond_the_classes_are_refused_with_both_numberings(evaluate, write, capsys, labels, value, other):
    write("a", quarters(0, 0, 0, 0), quarters(1, 1, 1, value))
    assert evaluate("--labels", labels) == (2, None)
    message = " ".join(capsys.readouterr().err.split())
    assert f"holds {value} and 256 pixels beyond the 4 classes" in message
    assert f"give --labels {other}" in message


def test_what_cannot_be_scored_is_skipped_and_said(evaluate, write, tmp_path, capsys):
    write("a", quarters(0, 0, 0, 0), quarters(1, 1, 1, 1))
    write("size", quarters(0, 0, 0, 0), np.ones((32, 40)))
    write("colours", quarters(0, 0, 0, 0), np.ones((32, 32, 3)))
    write("alone", quarters(0, 0, 0, 0), quarters(1, 1, 1, 1))
    (tmp_path / "annotations" / "alone.png").unlink()
    code, result = evaluate()
    assert (code, result["images"], result["skipped"]) == (0, 1, 2)
    message = " ".join(capsys.readouterr().err.split())
    assert "left out: 1 images without an annotation, 0 annotations without image" in message
    assert "2 images skipped, the first:" in message
    (tmp_path / "annotations" / "a.png").unlink()
    assert evaluate()[0] == 2
    assert "no image of" in capsys.readouterr().err


def test_the_numbers_of_a_palette_are_the_classes(evaluate, write, tmp_path):
    write("a", quarters(0, 1, 2, 3), quarters(1, 2, 3, 4))
    picture = Image.open(tmp_path / "annotations" / "a.png")
    picture.putpalette([200, 10, 10] * 256)
    picture.convert("P").save(tmp_path / "annotations" / "a.png")
    assert evaluate()[1]["metrics"] == {"miou": 1.0, "pixel_accuracy": 1.0}


def test_what_is_for_depth_is_refused(refused, finished, tmp_path, monkeypatch):
    words = ("--data", "segmentation", "--root", tmp_path)
    assert "--split: for depth alone" in refused("evaluate", finished, *words, "--split", tmp_path)
    assert "does not have the segmentation layout" in refused("evaluate", finished, *words)
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    assert "has an annotation of its name" in refused("evaluate", finished, *words)
    for folder in ("images", "annotations"):
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / folder / "a.png")
    assert "needs a model of classes" in refused("evaluate", finished, *words)
    assert "--labels is for --data segmentation" in refused(
        "evaluate", finished, "--data", "scenes", "--labels", "ade20k"
    )


def test_the_parts_of_several_processes_add_up_to_the_whole():
    generator = np.random.default_rng(0)
    pictures = [(generator.integers(0, 4, (9, 7)), generator.integers(-1, 4, (9, 7))) for _ in range(5)]
    whole, *parts = (Segmentation(class_protocol("ade20k", CLASSES)) for _ in range(3))
    for number, (pred, truth) in enumerate(pictures):
        whole.add(str(number), pred, truth, 1)
        parts[number % 2].add(str(number), pred, truth, 1)
    parts[0].merge(parts[1])
    assert parts[0].as_dict() == whole.as_dict()


def test_a_class_that_is_nowhere_has_no_iou_and_one_that_is_only_predicted_has_0():
    matrix = confusion(np.array([[0, 1]]), np.array([[0, 0]]), 3)
    np.testing.assert_array_equal(class_ious(matrix), [0.5, 0.0, np.nan])
