"""A model of classes through `distill predict`: numbers, an overlay with a legend, and no metres."""

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from distill.cli import main
from distill.inference.network import Network, largest
from distill.report.pictures import class_overlay, palette
from teachers import DPT, DPT_CONFIGS, DPTConfig

CLASSES = ("wall", "floor", "chair", "door")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """MODEL of four classes with random weights."""
    config = DPTConfig(
        width=16, heads=2, hooks=(0, 1, 2, 3), channels=(8, 8, 8, 8), stem=None, grid=4, features=8, classes=CLASSES
    )
    monkeypatch.setitem(DPT_CONFIGS, "small", config)
    torch.manual_seed(0)
    torch.save(DPT(config).state_dict(), tmp_path / "small.pt")
    return f"small:{tmp_path / 'small.pt'}"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    assert cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (40, 72, 3), np.uint8))
    return path


def test_classes_are_written_as_numbers_from_0_beside_an_overlay_and_their_names(small, photo, tmp_path, capsys):
    output = tmp_path / "out"
    for _ in range(2):  # the second call replaces what the first one wrote
        assert main(["predict", small, str(photo), "--output", str(output), "--size", "64x96"]) == 0
    assert {path.name for path in output.iterdir()} == {"photo.png", "photo_colour.png", "predictions.json"}
    picture = Image.open(output / "photo.png")
    numbers = np.asarray(picture)
    assert (numbers.dtype, numbers.shape) == (np.uint8, (40, 72))
    assert numbers.max() < len(CLASSES)
    assert "from 0" in picture.text["Description"]
    about = json.loads((output / "predictions.json").read_text())
    assert (about["output"], tuple(about["classes"])) == ("classes", CLASSES)
    assert "NAME.png has the class of each pixel, from 0" in capsys.readouterr().err


def test_a_film_of_classes_has_every_frame(small, tmp_path):
    frames = [Image.fromarray(np.full((40, 64, 3), grey, np.uint8)) for grey in (0, 90, 250)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:], duration=100)
    assert main(["predict", small, str(tmp_path / "clip.gif"), "--output", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").glob("clip_00000?.png"))) == 3
    assert cv2.VideoCapture(str(tmp_path / "out" / "clip_colour.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) >= 3


def test_what_is_for_depth_is_refused(refused, small, photo, tmp_path):
    assert "--npy, --ply, --teacher and --truth are for depth" in refused(
        "predict", small, photo, "--npy", "--output", tmp_path / "out"
    )


def test_classes_and_depth_share_no_folder_and_classes_are_no_depth_to_evaluate(
    refused, small, finished, streets, tmp_path
):
    image, output = streets / "image" / "test0.png", tmp_path / "out"
    assert main(["predict", small, str(image), "--output", str(output)]) == 0
    assert "holds classes of an earlier call" in refused("predict", finished, image, "--output", output)
    data = ["--data", "folder", "--root", streets]
    assert "holds classes" in refused("evaluate", output, *data)
    assert "gives classes, and depth is wanted" in refused("evaluate", small, *data, "--depth-scale", 256)
    assert main(["predict", str(finished), str(image), "--output", str(tmp_path / "metres")]) == 0
    assert "holds depth in metres" in refused("predict", small, image, "--output", tmp_path / "metres")


def test_the_largest_logit_is_that_of_all_channels_resized_at_once():
    logits = torch.randn(2, 37, 8, 12, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.functional.interpolate(logits, size=(20, 31), mode="bicubic", align_corners=False)
    assert torch.equal(largest(logits, (20, 31)), whole.argmax(1))
    assert torch.equal(largest(logits, (8, 12)), logits.argmax(1))


def test_a_batch_of_images_gets_each_its_own_classes(small, monkeypatch):
    model = DPT(DPT_CONFIGS["small"]).eval()
    images = list(np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8))
    network = Network(model, None, torch.device("cpu"))
    both, each = network.images(images), [network.images([image])[0] for image in images]
    assert (np.stack(both) == np.stack(each)).mean() > 0.99


def test_colours_of_classes_differ_and_do_not_depend_on_their_number():
    colours = palette(150)
    assert len(np.unique(colours, axis=0)) == 150
    np.testing.assert_array_equal(palette(7), colours[:7])


def test_the_legend_has_one_size_for_a_size_and_its_colours_are_those_of_the_overlay():
    image = np.zeros((40, 500, 3), np.uint8)
    one = class_overlay(image, np.full((40, 500), 3), ["a", "b", "c", "d"])
    many = class_overlay(image, np.arange(20000).reshape(40, 500) % 150, [f"class {n}" for n in range(150)])
    assert one.shape == many.shape == (40 + 24, 500, 3)
    np.testing.assert_allclose(one[0, 0], palette(4)[3] / 2, atol=1)
    assert (one[40:] == palette(4)[3]).all(axis=-1).any()
    assert not (one[40:] == palette(4)[0]).all(axis=-1).any()


def test_a_small_image_is_enlarged_until_its_legend_is_no_higher():
    numbers = np.arange(64 * 224).reshape(64, 224) % 8
    picture = class_overlay(np.zeros((64, 224, 3), np.uint8), numbers, list("abcdefgh"))
    assert picture.shape[1] == 2 * 224
    assert 2 * 64 < picture.shape[0] <= 4 * 64
    strip = picture[2 * 64 :]
    assert all((strip == colour).all(axis=-1).any() for colour in palette(8))


def test_a_model_of_classes_is_no_teacher_of_depth(refused, config_file, micro_weights, tmp_path):
    words = ["teacher.name=dpt_hybrid_ade20k", f"teacher.checkpoint={micro_weights}", "--output", tmp_path / "run"]
    said = "dpt_hybrid_ade20k gives 150 classes, and the student learns depth"
    assert said in refused("train", config_file, "method.name=output", *words)
