"""Runs on several sources of images, mixed by weight."""

import numpy as np
import pytest
import torch
from forked_runs import launch_group
from run_files import SHORT, cut_back, read_json

from distill.assembly.datasets import build_data
from distill.assembly.run import images_shown
from distill.cli import main
from distill.config import dump_config, load_config
from distill.errors import UserError
from tests.runs.test_label_runs import records, write_labels


@pytest.fixture
def places(streets, own_streets, tmp_path):
    """Streets with depth, half of them with more weight, and labels of others."""
    images = sorted((own_streets / "image").glob("train*.png"))[:4]
    return {"STREETS": streets, "OWN": own_streets, "LABELS": write_labels(own_streets, images, tmp_path / "labels")}


SOURCES = "data.sources=[{name: folder, root: STREETS, depth_scale: 256}, {name: folder, root: LABELS, weight: 3}]"


@pytest.fixture
def words(places):
    """words(*overrides): these, with the places in them; without a data set, they name one."""

    def fill(*overrides):
        filled = ["data.name=null", "data.root=null", "data.depth_scale=null", *overrides]
        for name, place in places.items():
            filled = [word.replace(name, str(place)) for word in filled]
        return filled

    return fill


def test_sources_are_mixed_by_weight_and_the_first_is_validated_on(config_file, words):
    config = load_config(config_file, words(SOURCES, "method.name=output"))
    data = build_data(config)
    assert data.train.counts == (8, 4)
    assert images_shown(config.data, data.train.counts) == (3, 9)
    assert (len(data.test), config.data.name) == (2, "folder")
    samples = [data.train[(0, index)] for index in range(12)]
    assert [bool(sample.valid.any()) for sample in samples] == [True] * 8 + [False] * 4
    assert [bool(np.isfinite(sample.label).any()) for sample in samples] == [False] * 8 + [True] * 4
    assert {"training list", "source 2 labels", "test list"} <= data.prints.keys()


def test_the_outer_section_is_the_test_half_where_it_names_one(config_file, places):
    labels = f"data.sources=[{{name: folder, root: {places['LABELS']}}}]"
    data = build_data(load_config(config_file, [labels, "method.name=output", "data.crop=[32, 64]"]))
    assert data.train.counts == (4,)
    assert [sample.name for sample in data.test] == ["image/test0.png", "image/test1.png"]


def test_a_resolved_configuration_of_sources_loads_to_the_same(config_file, words, tmp_path):
    config = load_config(config_file, words(SOURCES))
    path = tmp_path / "resolved.yaml"
    path.write_text(dump_config(config))
    assert load_config(path) == config


def test_a_run_on_sources_is_carried_out_and_says_what_it_learnt_from(train, words, capsys):
    folder = train(*words(SOURCES, "method.name=fill"), SHORT)
    assert "folder (8, weight 1) + folder (4, weight 3)" in " ".join(capsys.readouterr().err.split())
    assert "labels of dpt_micro" in (folder / "report.html").read_text()
    student, agreement = read_json(folder / "results.json")
    assert (student["images"], agreement["role"], agreement["images"]) == (2, "agreement", 4)


def test_a_killed_run_on_sources_goes_on_to_the_same_weights(config_file, words, tmp_path, weights, assert_same):
    command = ["train", str(config_file), *words(SOURCES, "method.name=output", "train.checkpoint_every=2")]
    whole = tmp_path / "whole"
    assert main([*command, "--output", str(whole)]) == 0
    parts = cut_back(whole, tmp_path / "parts", 2)
    assert main([*command, "--output", str(parts), "--resume"]) == 0
    assert_same(weights(whole), weights(parts))


def test_two_processes_draw_from_sources_as_one_does(config_file, words, tmp_path, weights):
    command = ["train", str(config_file), *words(SOURCES, "method.name=output"), "train.micro_batch=1", "train.steps=2"]
    processes = launch_group([*command, "--output", str(tmp_path / "both")], tmp_path / "log", 2)
    assert main([*command, "--output", str(tmp_path / "alone")]) == 0
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0], (tmp_path / "log.0").read_text()
    both, alone = ([one["loss"] for one in records(tmp_path / name)] for name in ("both", "alone"))
    assert both == pytest.approx(alone, rel=1e-3)
    one, two = weights(tmp_path / "both"), weights(tmp_path / "alone")
    assert all(torch.allclose(one[key], two[key], rtol=1e-2, atol=1e-3) for key in one)


def test_a_source_that_has_moved_is_accepted_with_force(config_file, words, tmp_path, places, capsys):
    own = SOURCES.replace("STREETS", "OWN").replace("LABELS", "OWN, depth_scale: 256")
    command = ["train", str(config_file), "method.name=supervised", SHORT]
    assert main([*command, *words(own), "--output", str(tmp_path / "run")]) == 0
    moved = [word.replace("OWN", "STREETS") for word in (own,)]
    again = [*command, *words(*moved), "--output", str(tmp_path / "run"), "--resume"]
    assert main(again) == 2
    assert "data.sources.0.root was" in capsys.readouterr().err
    assert main([*again, "--force"]) == 0


def test_scenes_and_files_are_mixed(config_file, words):
    scenes = "{name: scenes, scenes: {train: 4, test: 1, size: [32, 64]}}"
    own = "{name: folder, root: STREETS, depth_scale: 256, max_depth: 20, limit: 3}"
    config = load_config(config_file, words(f"data.sources=[{own}, {scenes}]", "method.name=supervised"))
    data = build_data(config)
    assert (data.train.counts, data.max_depth) == ((3, 4), 80)
    assert data.train[(0, 0)].depth[data.train[(0, 0)].valid].max() < 20


def test_data_check_looks_at_every_source_of_a_configuration(config_file, words, tmp_path, capsys):
    report = tmp_path / "report.json"
    command = ["data", "check", str(config_file), "--json", str(report)]
    assert main([*command, *words(SOURCES, "method.name=output")]) == 0
    halves = read_json(report)["halves"]
    assert [(name, half["usable"]) for name, half in halves.items()] == [("source 1", 8), ("source 2", 4), ("test", 2)]
    assert "source 2: 4 of 4 images have metric labels of dpt_micro" in " ".join(read_json(report)["notes"])
    capsys.readouterr()
    own = words("data.sources=[{name: folder, root: OWN, depth_scale: 256}, {name: folder, root: OWN/image}]")
    assert main([*command, *own, "method.name=output"]) == 2
    assert "2 test images are training images too" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([SOURCES.replace("LABELS", "nowhere")], "source 2: data root nowhere does not exist"),
        ([SOURCES, "method.name=disdepth"], "compares feature maps, which labels of dpt_micro"),
        (["--root", "STREETS"], "leave --root out, or override its key"),
        (["data.name=scenes"], "has scenes alone, which are drawn: there are no files to check"),
    ],
)
def test_data_check_refuses_a_configuration_that_cannot_be_trained(refused, config_file, words, overrides, message):
    assert message in refused("data", "check", config_file, *words(*overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.sources=[{name: folder}]"], "data.sources: root is needed for data.sources: name=folder"),
        (["data.sources=[{name: foldr, root: STREETS}]"], "data.sources.0.name='foldr': expected one of kitti, nyu"),
        (
            ["data.sources=[{name: folder, root: STREETS, wieght: 2}]"],
            "unknown key data.sources.0.wieght, did you mean weight",
        ),
        (
            ["data.sources=[{name: folder, root: STREETS, weight: 0}]"],
            "data.sources.0.weight=0: input should be greater",
        ),
        ([SOURCES, "data.limit=3"], "data.limit is of training images, and data.sources says which"),
        ([SOURCES, "data.crop=null", "method.name=disdepth"], "compares feature maps, which labels of dpt_micro"),
        (["data.sources=[{name: folder, root: nowhere}]"], "data root nowhere does not exist"),
        (
            ["data.sources=[{name: folder, root: STREETS, depth_scale: 256}, {name: folder, root: STREETS/image}]"],
            "2 of 2 test images are training images as well",
        ),
    ],
)
def test_sources_that_cannot_be_used_are_refused(refused, config_file, words, tmp_path, overrides, message):
    filled = words("method.name=output", *overrides)
    assert message in refused("train", config_file, *filled, "--output", tmp_path / "run")


def test_a_share_held_out_of_a_source_that_nothing_is_tested_on_is_refused(config_file, words, places):
    for listed in places["OWN"].glob("*.txt"):  # so that it has no test half
        listed.unlink()
    sources = "[{name: folder, root: STREETS, depth_scale: 256}, {name: folder, root: OWN, depth_scale: 256, %s}]"
    with pytest.raises(UserError, match=r"hold_out=0.3 takes images out of .*own_streets that nothing is tested on"):
        build_data(load_config(config_file, words("data.sources=" + sources % "hold_out: 0.3", "method.name=output")))
