from pathlib import Path

import pytest

from distill.config import parse_config
from distill.errors import UserError


def test_a_tilde_in_a_path_is_ones_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    data = {"name": "kitti", "root": "~/kitti", "split": "~/train.txt"}
    config = parse_config({"data": data, "output": "~/runs/a"}, "test")
    assert (config.data.root, config.data.split.train) == (Path("/home/ann/kitti"), Path("/home/ann/train.txt"))
    assert config.output == Path("/home/ann/runs/a")


@pytest.mark.parametrize(
    ("method", "length", "waiting"),
    [
        ({"warmup_epochs": 7}, {"epochs": 25}, 7 * 37),
        ({"warmup_epochs": 7}, {"steps": 100}, 28),
        ({"warmup_epochs": 7, "warmup_steps": 5}, {"epochs": 25}, 5),
        ({"warmup_epochs": 25, "kd_weight": 0}, {"epochs": 25}, 25 * 37),
    ],
)
def test_the_warm_up_is_counted_in_epochs_or_is_a_share_of_a_run_set_by_steps(method, length, waiting):
    config = parse_config({"data": {"name": "scenes"}, "method": method, "train": length}, "test")
    assert config.warmup_steps(config.total_steps(37), 37) == waiting


@pytest.mark.parametrize(
    ("student", "expected"),
    [
        ({}, ("paper", 128, 256)),
        ({"decoder": "light"}, ("light", 64, 64)),
        ({"decoder": "light", "width": 32, "bins": None}, ("light", 32, 64)),
        ({"decoder": None, "width": None}, ("paper", 128, 256)),
    ],
)
def test_width_and_bins_follow_the_decoder(student, expected):
    config = parse_config({"data": {"name": "scenes"}, "student": student}, "test").student
    assert (config.decoder, config.width, config.bins) == expected


def test_an_unknown_decoder_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="expected one of paper, light, did you mean light"):
        parse_config({"data": {"name": "scenes"}, "student": {"decoder": "lite"}}, "test")


def test_a_warm_up_as_long_as_the_training_is_refused():
    config = parse_config({"data": {"name": "scenes"}, "method": {"warmup_epochs": 25}}, "test")
    with pytest.raises(UserError, match=r"the warm-up of 25 epochs is as long as the whole training of 25:"):
        config.warmup_steps(925, 37)


STREETS = {"name": "scenes", "classes": "road"}


def test_classes_are_known_by_the_name_of_their_list_or_one_by_one():
    own = parse_config({"data": {"name": "folder", "root": "x", "classes": ["a", "b"]}}, "test")
    assert own.data.class_names == ("a", "b")
    assert parse_config({"data": STREETS}, "test").data.class_names[0] == "sky"
    assert parse_config({"data": {"name": "scenes"}}, "test").data.class_names == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"eval": {"protocol": "nyu_eigen"}}, "eval.protocol is for depth"),
        ({"data": STREETS | {"max_depth": 10}}, "data.max_depth is for depth"),
        ({"student": {"bins": 9}}, "student.bins is for depth"),
        ({"method": {"loss": "ssi"}}, "method.loss is for depth"),
        ({"data": STREETS | {"classes": "ade2k"}}, "one of ade20k, road, room"),
        ({"data": STREETS | {"classes": []}}, "one of ade20k, road, room"),
        ({"data": STREETS | {"classes": "room"}}, "scenes of kind road are annotated with road"),
        ({"data": {"name": "kitti", "root": "x", "classes": ["a", "b"]}}, "data.classes is for scenes and folder"),
        ({"data": {"sources": [STREETS]}}, "leave data.sources out"),
    ],
)
def test_what_says_something_of_depth_or_of_other_classes_is_refused(content, message):
    with pytest.raises(UserError, match=message):
        parse_config({"data": STREETS} | content, "test")
