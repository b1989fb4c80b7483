import json

import pytest

from distill.cli import main
from students import count_parameters, create_student

SMALL = ("--size", "32x64")


def test_every_backbone_stands_there_with_every_decoder_and_its_costs(tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert main(["students", "test_resnet", "test_efficientnet", *SMALL, "--json", str(path)]) == 0
    listed = {one["name"]: one for one in json.loads(path.read_text())["students"]}
    assert list(listed) == [f"test_{net} · {way}" for net in ("resnet", "efficientnet") for way in ("paper", "light")]
    light = create_student("test_resnet", decoder="light", pretrained=False)
    assert listed["test_resnet · light"]["parameters"] == count_parameters(light)
    shown = capsys.readouterr().out
    for word in (*listed, "M params", "kMAC/pixel", "file MiB"):
        assert word in shown


def test_latency_is_measured_where_ways_are_named(tmp_path, capsys):
    path = tmp_path / "figures.json"
    words = ["--decoders", "light", "--ways", "fp32", "--runs", "1", "--json", str(path)]
    assert main(["students", "test_resnet", *SMALL, *words]) == 0
    (one,) = json.loads(path.read_text())["students"]
    assert one["ways"][0]["median_ms"] > 0
    assert "fp32 ms" in capsys.readouterr().out


def test_a_picture_and_a_page_show_what_to_choose_from(tmp_path):
    plot, page = tmp_path / "plot.svg", tmp_path / "page.html"
    words = ["test_resnet", "test_efficientnet", *SMALL, "--plot", str(plot), "--report", str(page)]
    assert main(["students", *words]) == 0
    drawn = plot.read_text()
    for word in ("kMAC a pixel", "Millions of parameters", "test_resnet: ", "paper", "light"):
        assert word in drawn
    for word in ("What to choose from", "test_efficientnet · light", "distill students test_resnet"):
        assert word in page.read_text()


def test_the_accuracy_of_a_trained_student_stands_in_its_row_or_is_said_to_be_left_out(finished, capsys):
    recipe = json.loads((finished / "student" / "config.json").read_text())
    words = ["--lg-conv"] if recipe["options"]["lg_conv"] else []
    assert main(["students", recipe["student"], *SMALL, *words, "--trained", str(finished)]) == 0
    assert "abs_rel" in capsys.readouterr().out
    assert main(["students", "test_resnet", "--decoders", "light", *SMALL, "--trained", str(finished)]) == 0
    assert "not shown: the accuracy of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["efficientnet_bo"], "timm has no model named 'efficientnet_bo'"),
        (["test_convnext", "--lg-conv"], "has no convolution in its stages that lg_conv would wrap"),
        (["test_resnet", "--trained", "nowhere"], "no student in nowhere"),
    ],
)
def test_mistakes_are_one_line(words, message, capsys):
    assert main(["students", *words, *SMALL]) == 2
    assert message in capsys.readouterr().err
