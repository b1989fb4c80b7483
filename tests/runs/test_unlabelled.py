"""Runs on a person's own photographs, beside labelled images or alone."""

import json
import math

import cv2
import pytest
from run_files import SHORT, cut_back, read_json

import distill
from distill.assembly.datasets import build_data
from distill.cli import main
from distill.config import load_config

SIZES = [(40, 90), (120, 70), (32, 64), (33, 65), (20, 30)]


@pytest.fixture
def photographs(tmp_path, streets):
    """Five photographs of five sizes, in folders and of two formats: streets, stretched."""
    root = tmp_path / "photographs"
    (root / "deep").mkdir(parents=True)
    for number, (height, width) in enumerate(SIZES):
        image = cv2.imread(str(streets / "image" / f"train{number}.png"))
        path = root / ("deep" if number % 2 else "") / f"{number}.{'jpg' if number % 2 else 'png'}"
        assert cv2.imwrite(str(path), cv2.resize(image, (width, height)))
    return root


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "train"]


@pytest.mark.parametrize("method", ["output", "fill", "feature", "disdepth"])
def test_photographs_are_learnt_from_beside_labelled_images_by(method, train, photographs, weights):
    words = [f"method.name={method}", "method.warmup_steps=0", "train.steps=2"]
    folder = train(f"data.unlabelled.root={photographs}", *words)
    assert all(math.isfinite(loss) for loss in losses(folder))
    assert read_json(folder / "results.json")[1]["role"] == "student"
    assert read_json(folder / "done.json")["unreadable"] == []


def test_an_epoch_has_the_stated_share_of_photographs_in_the_size_of_the_others(config_file, photographs):
    config = load_config(config_file, [f"data.unlabelled={{root: {photographs}, share: 0.75}}"])
    training = build_data(config).train
    assert training.counts == (8, 5)
    assert {training[(0, index)].image.shape for index in range(13)} == {(32, 64, 3)}
    assert [bool(training[(0, index)].valid.any()) for index in range(13)] == [True] * 8 + [False] * 5


def test_photographs_are_cropped_as_the_others_are(config_file, photographs):
    config = load_config(config_file, [f"data.unlabelled.root={photographs}", "data.crop=[32, 48]"])
    training = build_data(config).train
    assert {training[(0, index)].image.shape for index in range(13)} == {(32, 48, 3)}


def test_a_killed_run_on_photographs_goes_on_to_the_same_weights(
    config_file, photographs, tmp_path, weights, assert_same
):
    command = ["train", str(config_file), f"data.unlabelled.root={photographs}", "train.checkpoint_every=2"]
    whole = tmp_path / "whole"
    assert main([*command, "--output", str(whole)]) == 0
    parts = cut_back(whole, tmp_path / "parts", 2)
    assert main([*command, "--output", str(parts), "--resume"]) == 0
    assert_same(weights(whole), weights(parts))


# ---------------------------------------------------------------------------------------------------------------- alone


def test_photographs_alone_are_enough_and_need_no_validation(train, photographs):
    folder = train("data.name=folder", f"data.root={photographs}", "data.size=[32, 64]", SHORT)
    (agreement,) = read_json(folder / "results.json")
    assert agreement["role"] == "agreement"
    assert distill.load_model(folder).max_depth == 80


def test_photographs_alone_can_be_validated_on_a_data_set_of_which_nothing_else_is_used(train, photographs, streets):
    unlabelled = f"data.unlabelled={{root: {photographs}, share: 1}}"
    folder = train(unlabelled, "data.crop=[32, 64]", SHORT)
    assert read_json(folder / "results.json")[1]["images"] == 2
    assert f"{len(SIZES)} training images" in (folder / "report.html").read_text()


def test_photographs_alone_are_scaled_and_not_squeezed(config_file, photographs):
    words = ["data.name=folder", f"data.root={photographs}", "data.size=[32, 64]", "data.flip=0", "data.colour=0"]
    training = build_data(load_config(config_file, words)).train
    assert {training[(0, index)].image.shape for index in range(5)} == {(32, 64, 3)}
    assert {training.unvaried(index).image.shape[:2] for index in range(5)} == {(32, 72), (110, 64), (32, 64), (43, 64)}


# ---------------------------------------------------------------------------------------------------------- wrong input


def refusal(config_file, tmp_path, capsys, *words):
    assert main(["train", str(config_file), *map(str, words), "--output", str(tmp_path / "run")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("distill: ")]
    return line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["data.unlabelled.root=PHOTOGRAPHS", "method.name=supervised"],
            "method.name=supervised learns nothing: choose output, fill, feature or disdepth, whose teacher",
        ),
        (["data.unlabelled.root=nowhere"], "data root nowhere does not exist, expected a folder of photographs"),
        (["data.unlabelled.share=0.5"], "data.unlabelled.root is missing"),
        (["data.unlabelled={root: PHOTOGRAPHS, share: 0}"], "data.unlabelled.share=0: input should be greater than 0"),
        (
            ["data.unlabelled={root: PHOTOGRAPHS, share: 1.5}"],
            "data.unlabelled.share=1.5: input should be less than or equal to 1",
        ),
        (["data.unlabelled.root=EMPTY"], "no images in"),
        (
            ["data.unlabelled={root: PHOTOGRAPHS, share: 1}", "data.root=PHOTOGRAPHS"],
            "has no depth to validate with; to train on photographs alone, without validation, name their folder as",
        ),
        (
            ["data.unlabelled={root: PHOTOGRAPHS, share: 1}"],
            "is 20x30 (height x width), expected at least 32 both ways",
        ),
        (["data.unlabelled.root=STREETS"], "2 of 2 test images are training images as well, such as image/test0.png"),
    ],
)
def test_photographs_that_cannot_be_used_are_refused(
    config_file, tmp_path, capsys, photographs, streets, words, message
):
    (tmp_path / "empty").mkdir()
    places = {"PHOTOGRAPHS": photographs, "EMPTY": tmp_path / "empty", "STREETS": streets / "image"}
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
    assert message in refusal(config_file, tmp_path, capsys, *words)


def test_a_broken_photograph_is_named_and_counted(train, photographs, capsys):
    broken = photographs / "deep" / "1.jpg"
    broken.write_bytes(broken.read_bytes()[:-99])
    folder = train(f"data.unlabelled={{root: {photographs}, share: 0.75}}", "data.max_faults=0.3")
    assert read_json(folder / "done.json")["unreadable"] == [str(broken)]
    message = " ".join(capsys.readouterr().err.split())
    assert "1 of 5 unlabelled files cannot be read and are passed over" in message
    assert "1 training images could not be read, others took their place" in message


def test_more_broken_photographs_than_allowed_end_the_run(config_file, tmp_path, photographs, capsys):
    for path in photographs.rglob("*.*"):
        path.write_bytes(path.read_bytes()[:-99])
    message = refusal(config_file, tmp_path, capsys, f"data.unlabelled.root={photographs}")
    assert "5 of 5 files cannot be read (more than data.max_faults allows)" in message
