"""Runs on a teacher's labels on disk: alone, and beside the truth of measured images."""

import hashlib
import json
import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from run_files import SHORT, cut_back, read_json

from distill.assembly.datasets import build_data, build_training
from distill.cli import main
from distill.config import load_config
from distill.data.files.labels import Label, encode, encode_png

FINGERPRINT = "ab" * 32


def write_labels(root, images, folder, output="metric", **facts):
    """Labels of images whose depth lies beside them, as a teacher that knows it would write them."""
    folder.mkdir(parents=True)
    lines = []
    for path in images:
        depth = cv2.imread(str(root / "depth" / path.name), cv2.IMREAD_UNCHANGED) / 256
        depth[depth == 0] = np.nan if output == "metric" else 80
        values, coding = encode(depth if output == "metric" else 3 / depth + 1, output, 80.0)
        known = {"image": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        known |= {"depth": f"depth/{path.stem}.png", "height": depth.shape[0], "width": depth.shape[1]}
        known |= {"teacher": "dpt_micro", "fingerprint": FINGERPRINT, "licence": "mit", "output": output, "seconds": 1}
        label = Label(**(known | coding._asdict() | facts))
        (folder / label.depth).parent.mkdir(exist_ok=True)
        (folder / label.depth).write_bytes(encode_png(values, label))
        lines.append(label.line())
    (folder / "manifest.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def label(streets, tmp_path):
    """label(output, count=...): a folder of labels of the first training images."""

    def write(output="metric", count=8, name="labels", **facts):
        images = [streets / "image" / f"train{number}.png" for number in range(count)]
        return write_labels(streets, images, tmp_path / name, output, **facts)

    return write


@pytest.fixture(autouse=True)
def no_teacher(monkeypatch):
    """Nobody builds a teacher here: labels take its place."""
    monkeypatch.setattr("distill.assembly.networks.open_teacher", None)


def records(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "train"]


@pytest.mark.parametrize(("method", "output"), [("output", "metric"), ("fill", "relative")])
def test_labels_teach_beside_measured_depth_and_no_teacher_is_built(train, label, method, output):
    folder = train(f"method.name={method}", f"data.labels={label(output)}", "method.trim=0.1", SHORT)
    for record in records(folder):
        assert math.isfinite(record["loss"])
        assert record["trimmed_gap"] >= record["kept_gap"] >= 0
        assert record["teacher_lost"] == 0
    (student,) = read_json(folder / "results.json")
    assert student["role"] == "student"


@pytest.mark.parametrize("method", ["output", "fill", "supervised"])
def test_a_folder_of_labels_trains_as_it_is(train, label, method):
    folder = train(f"method.name={method}", f"data.root={label()}", "data.depth_scale=null", SHORT)
    assert all(record["loss"] > 0 for record in records(folder))
    (agreement,) = read_json(folder / "results.json")
    assert (agreement["role"], agreement["protocol"], agreement["images"]) == ("agreement", "agreement", 8)
    assert agreement["settings"]["ground_truth"] == "depth of dpt_micro (abababababab)"


def test_relative_labels_alone_make_a_relative_student(train, label):
    folder = train("method.name=output", f"data.root={label('relative')}", "data.depth_scale=null", SHORT)
    assert read_json(folder / "student" / "config.json")["output"] == "relative"
    (agreement,) = read_json(folder / "results.json")
    assert (agreement["role"], agreement["protocol"]) == ("agreement", "agreement_affine")


def test_run_page_and_card_say_whose_labels_they_were(train, label, capsys):
    folder = train("method.name=output", f"data.labels={label(licence='cc-by-nc-4.0')}", SHORT)
    message = " ".join(capsys.readouterr().err.split())
    assert "output, labels of dpt_micro (abababababab, cc-by-nc-4.0)" in message
    assert "under cc-by-nc-4.0: not for commercial use" in message
    assert "of the teacher: not measured, as its labels alone are here" in message
    assert "labels of dpt_micro (abababababab, cc-by-nc-4.0)" in (folder / "report.html").read_text()
    card = (folder / "student" / "README.md").read_text()
    assert "`dpt_micro`, by its labels on disk (fingerprint abababababab)" in card
    assert "the teacher's weights are under cc-by-nc-4.0" in card
    assert read_json(folder / "student" / "config.json")["metadata"]["teacher_fingerprint"] == FINGERPRINT


def test_the_label_of_every_sample_moves_with_its_depth(config_file, label):
    words = ["method.name=output", f"data.labels={label()}", "data.crop=[32, 48]", "data.rotate_deg=5"]
    training = build_data(load_config(config_file, [*words, "data.size=[40, 56]"])).train
    for index in range(8):
        sample = training[(3, index)]
        assert np.isnan(sample.label[sample.depth == 0]).all()
        known = np.isfinite(sample.label)
        np.testing.assert_allclose(sample.label[known], sample.depth[known], atol=0.01)
        assert known.mean() > 0.2


DRIVE = "2011_09_26_drive_0001_sync"


@pytest.mark.parametrize(
    ("name", "image", "depth", "units", "size"),
    [
        (
            "kitti",
            f"2011_09_26/{DRIVE}/image_02/data/0000000007.png",
            f"{DRIVE}/proj_depth/groundtruth/image_02/0000000007.png",
            256,
            (376, 1240),
        ),
        ("nyu", "study_0001/rgb_00001.png", "study_0001/sync_depth_00001.png", 1000, (480, 640)),
    ],
)
def test_frames_of_kitti_and_nyu_have_their_labels_in_every_crop(
    config_file, tmp_path, name, image, depth, units, size
):
    ramp = np.linspace(2, 9, size[1])[None] + np.linspace(0, 0.9, size[0])[:, None]
    root, maps = tmp_path / name, tmp_path / "maps"
    place = root / "gts" / depth if name == "kitti" else root / depth
    files = {root / image: np.full((*size, 3), 99, np.uint8), place: np.uint16(units * ramp)}
    for path, array in {**files, maps / "depth" / Path(image).name: np.uint16(256 * ramp)}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), array)
    (root / "list.txt").write_text(f"{image} {depth}\n")
    labels = write_labels(maps, [root / image], tmp_path / "labels")
    words = [f"data.name={name}", f"data.root={root}", "data.split=list.txt", "data.depth_scale=null"]
    words += [f"data.labels={labels}", "method.name=output", "data.crop=[320, 600]", "data.rotate_deg=2"]
    training, _ = build_training(load_config(config_file, words))
    for epoch in range(3):
        sample = training[(epoch, 0)]
        both = np.isfinite(sample.label) & sample.valid
        assert both.mean() > 0.8
        np.testing.assert_allclose(sample.label[both], sample.depth[both], atol=0.01)


def test_images_are_found_by_their_content_where_they_have_moved(config_file, label, own_streets, streets):
    folder = label(count=8)
    text = (folder / "manifest.jsonl").read_text().replace(str(streets), "/nowhere")
    (folder / "manifest.jsonl").write_text(text)
    words = ["method.name=output", f"data.root={own_streets}", f"data.labels={folder}"]
    training = build_data(load_config(config_file, words)).train
    assert all(np.isfinite(training[(0, index)].label).any() for index in range(8))


def test_images_without_a_label_are_counted_and_learnt_from_by_their_truth(train, label, capsys):
    folder = train("method.name=output", f"data.labels={label('relative', count=3)}", "train.micro_batch=1")
    assert "5 of 8 images of" in " ".join(capsys.readouterr().err.split())
    assert all(math.isfinite(record["loss"]) for record in records(folder))


def test_images_without_truth_are_learnt_from_by_their_labels(train, label, own_streets):
    for number in range(4):
        (own_streets / "depth" / f"train{number}.png").unlink()
    listed = own_streets / "train_files_with_gt.txt"
    text = listed.read_text()
    for number in range(4):
        text = text.replace(f"depth/train{number}.png", "None")
    listed.write_text(text)
    images = f"data.root={own_streets}", f"data.labels={label()}", SHORT
    assert "8 training images" in (train("method.name=fill", *images) / "report.html").read_text()
    folder = train("method.name=supervised", *images, output=own_streets / "run")
    assert "8 training images" in (folder / "report.html").read_text()


def test_changed_labels_are_noticed_and_those_of_another_teacher_refused(train, label, config_file, tmp_path, capsys):
    labels = label()
    words = ["method.name=output", f"data.labels={labels}", SHORT]
    folder = train(*words)
    (folder / "done.json").unlink()
    path = labels / "depth" / "train0.png"
    shutil.copy(labels / "depth" / "train1.png", path)
    command = ["train", str(config_file), *words, "--output", str(folder), "--resume"]
    assert main(command) == 0
    assert "these have changed: training labels" in " ".join(capsys.readouterr().err.split())
    (folder / "done.json").unlink()
    manifest = labels / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace(FINGERPRINT, "cd" * 32))
    assert main(command) == 2
    assert f"another teacher ({FINGERPRINT}, now {'cd' * 32})" in " ".join(capsys.readouterr().err.split())


def test_a_killed_run_on_labels_goes_on_to_the_same_weights(config_file, label, tmp_path, weights, assert_same):
    words = ["method.name=output", f"data.labels={label('relative')}", "train.checkpoint_every=2"]
    command = ["train", str(config_file), *words]
    whole = tmp_path / "whole"
    assert main([*command, "--output", str(whole)]) == 0
    parts = cut_back(whole, tmp_path / "parts", 2)
    assert main([*command, "--output", str(parts), "--resume"]) == 0
    assert_same(weights(whole), weights(parts))


# ---------------------------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("output", "words", "message"),
    [
        ("metric", ["method.name=disdepth"], "compares feature maps, which labels of dpt_micro do not hold: set"),
        ("relative", ["method.name=supervised"], "are relative: set method.name=output or fill, or leave the labels"),
        (
            "relative",
            ["method.name=supervised", "data.root=LABELS", "data.labels=null", "data.depth_scale=null"],
            "method.name=supervised learns metres, and labels of dpt_micro are relative",
        ),
        ("metric", ["data.labels=STREETS"], "manifest.jsonl cannot be read (No such file or directory), expected the"),
        (
            "metric",
            ["data.unlabelled.root=PHOTOGRAPHS"],
            "has neither depth nor labels, and no teacher is asked beside",
        ),
        (
            "metric",
            ["data.unlabelled.root=RELATIVE"],
            "labels of dpt_micro in one run: leave one out, or set data.mixed",
        ),
    ],
)
def test_labels_that_cannot_be_used_are_refused(refused, config_file, label, streets, tmp_path, output, words, message):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    shutil.copy(streets / "image" / "train0.png", photographs)
    places = {"LABELS": label(output), "STREETS": streets, "PHOTOGRAPHS": photographs}
    places["RELATIVE"] = label("relative", count=2, name="relative")
    words = ["method.name=output", f"data.labels={places['LABELS']}", *words]
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
    assert message in refused("train", config_file, *words, "--output", tmp_path / "run")


def test_metric_and_relative_labels_are_mixed_where_that_is_asked_for(train, label):
    relative = label("relative", count=3, name="relative")
    words = ["method.name=output", f"data.labels={label()}", f"data.unlabelled.root={relative}"]
    folder = train(*words, "data.mixed_labels=true", "train.micro_batch=1", SHORT)
    assert all(math.isfinite(record["loss"]) for record in records(folder))


def test_labels_of_other_images_are_refused(refused, config_file, label, own_streets, tmp_path):
    for path in (own_streets / "image").glob("train*.png"):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    words = ["method.name=output", f"data.labels={label()}", f"data.root={own_streets}", "--output", tmp_path / "run"]
    assert "has a label in" in refused("train", config_file, *words)


def test_labels_of_an_image_that_has_changed_are_refused(refused, config_file, own_streets, tmp_path):
    images = sorted((own_streets / "image").glob("train*.png"))
    labels = write_labels(own_streets, images, tmp_path / "labels")
    cv2.imwrite(str(images[0]), 255 - cv2.imread(str(images[0])))
    words = ["method.name=output", f"data.labels={labels}", f"data.root={own_streets}", "--output", tmp_path / "run"]
    assert "has changed since; label again" in refused("train", config_file, *words)


def test_labels_whose_images_are_gone_name_the_way_to_find_them(refused, config_file, own_streets, tmp_path):
    labels = write_labels(own_streets, sorted((own_streets / "image").glob("train*.png")), tmp_path / "labels")
    (own_streets / "image").rename(tmp_path / "moved")
    words = ["method.name=output", f"data.root={labels}", "data.depth_scale=null", "--output", tmp_path / "run"]
    assert "name their folder as data.root and" in refused("train", config_file, *words)


def test_labels_are_no_truth_to_evaluate_on(refused, finished, label):
    assert "has no depth to evaluate on" in refused("evaluate", finished, "--data", "folder", "--root", label())


def test_data_check_counts_labels(label, streets, capsys):
    words = ["data", "check", "--data", "folder", "--root", str(streets), "--depth-scale", "256"]
    assert main([*words, "--labels", str(label(count=3))]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "3 of 8 images have metric labels of dpt_micro (abababababab)" in shown
    assert "5 of 8 images of" in shown
