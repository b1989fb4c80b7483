"""The table of decoders: what each costs, takes and refuses. What holds for every student is tested beside this."""

import json

import pytest
import timm
import torch

from distill.deploy.costs import count_gflops
from students import count_parameters, create_student, load_student, save_student
from students.backbone import load_plain
from students.decoders import DECODERS

SIZE = (352, 1216)


def on_meta(backbone, **options):
    with torch.device("meta"):
        return create_student(backbone, pretrained=False, **options)


@pytest.mark.parametrize(
    ("backbone", "millions", "kmacs"), [("efficientnet_b0", 6, 20), ("mobilenetv4_conv_small", 3, 10)]
)
def test_a_light_student_costs_at_most(backbone, millions, kmacs):
    student = on_meta(backbone, decoder="light", lg_conv=True)  # without, it is smaller
    assert count_parameters(student) <= millions * 1e6
    assert count_gflops(student, SIZE) * 1e9 / 2 / (SIZE[0] * SIZE[1]) <= kmacs * 1e3


@pytest.mark.parametrize(
    ("backbone", "narrow", "wide"),
    [("mobilenetv4_conv_small", 128, 960), ("mobilenetv3_small_050", 48, 288), ("efficientnet_b0", 320, 320)],
)
def test_a_classifiers_last_convolution_belongs_to_the_papers_encoder_alone(backbone, narrow, wide):
    light, paper = (on_meta(backbone, decoder=name) for name in ("light", "paper"))
    assert light.feature_channels[:3] == paper.feature_channels[:3]
    assert (light.feature_channels[3], paper.feature_channels[3]) == (narrow, wide)
    with torch.device("meta"):
        whole = timm.create_model(backbone, pretrained=False)
    load_plain(light.encoder.net, whole.state_dict(), "a file", backbone)  # timm's weights fit it as well


@pytest.mark.parametrize("name", DECODERS)
def test_width_and_bins_follow_the_decoder_where_nothing_is_said(name):
    options = on_meta("test_resnet", decoder=name).recipe["options"]
    assert [options[key] for key in ("decoder", "width", "bins")] == [name, DECODERS[name].WIDTH, DECODERS[name].BINS]


def test_a_folder_from_before_the_choice_is_the_papers(make_student, images, tmp_path):
    student = make_student("test_resnet")
    save_student(student, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["options"].pop("decoder") == "paper"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert torch.equal(load_student(tmp_path)(images(64, 64)), student(images(64, 64)))


def test_an_unknown_decoder_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown decoder 'lite', known are paper, light"):
        create_student("test_resnet", decoder="lite", pretrained=False)


def test_a_width_that_is_too_small_for_the_bins_is_refused_with_both_ways_out():
    with pytest.raises(ValueError, match=r"65 bins need a width of 17, got 16; .*student\.bins=64"):
        create_student("test_resnet", decoder="light", width=16, bins=65, pretrained=False)


def test_a_dpt_has_no_decoder_to_choose():
    with pytest.raises(ValueError, match="dpt_micro has no option decoder, which is a CNN's"):
        create_student("dpt_micro", decoder="light")
