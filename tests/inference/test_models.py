"""What a DPT's output means, by its weights, in every command alike."""

import pytest
import torch

from distill.errors import UserError
from distill.inference import models
from teachers import FrozenTeacher, create_dpt

KITTI = {"scale": 6.016e-5, "shift": 0.00579, "invert": True}
NYU = {"scale": 3.05e-4, "shift": 0.1378, "invert": True}


@pytest.fixture
def opened(monkeypatch):
    """opened(name, checkpoint, **options): the options that the network is made with, and the teacher."""
    calls = []

    def create(name, checkpoint=None, **options):
        calls.append(options)
        with torch.device("meta"):
            return FrozenTeacher(create_dpt(name, **options))

    monkeypatch.setattr(models, "create_teacher", create)

    def run(name, checkpoint=None, **options):
        teacher = models.open_teacher(name, checkpoint, **options)
        return calls.pop(), teacher

    return run


@pytest.mark.parametrize(
    ("checkpoint", "meaning", "output"),
    [
        ("weights/dpt_base_KITTI-1.pt", KITTI, "metric"),
        ("kitti/dpt_base_nyu-2ce69ec7.pt", NYU, "metric"),  # the folder says nothing
        ("dpt_base-midas-501f0c75.pt", {}, "relative"),
        ("nyu_then_kitti.pt", {}, "relative"),  # which of them, nobody knows
    ],
)
def test_the_name_of_the_weights_says_what_their_output_means(opened, capsys, checkpoint, meaning, output):
    options, teacher = opened("dpt_base", checkpoint)
    assert options == meaning
    assert teacher.output == output
    assert ("metres" if meaning else "relative inverse depth") in capsys.readouterr().err


def test_a_conversion_that_is_given_counts_more(opened):
    own = {"scale": 1.0, "shift": 0.5, "invert": True}
    assert opened("dpt_base", "dpt_base_nyu.pt", **own)[0] == own
    assert opened("dpt_base", "dpt_base_nyu.pt", invert=False)[1].output == "metric"


def test_weights_of_a_network_that_gives_metres_keep_its_conversion(opened):
    assert opened("dpt_micro", "of_kitti.safetensors")[0] == {}


@pytest.mark.parametrize("part", [{"scale": 3.05e-4, "shift": 0.1378}, {"invert": True}])
def test_half_a_conversion_is_refused(part):
    with pytest.raises(UserError, match="needs scale, shift and invert=true"):
        models.open_teacher("dpt_base", "mine.pt", **part)


@pytest.mark.parametrize("name", ["dpt_hybrid_ade20k", "dpt_large_ade20k:dpt_large-ade20k-b12dca68.pt"])
def test_a_model_of_classes_is_refused_where_depth_is_wanted_before_its_file_is_read(name):
    with pytest.raises(UserError, match="gives classes, and depth is wanted here"):
        models.open_model(name)


def test_the_name_of_weights_never_turns_classes_into_metres(opened, capsys):
    options, teacher = opened("dpt_hybrid_ade20k", "kitti/dpt_hybrid-ade20k-on-kitti.pt")
    assert (options, teacher.output) == ({}, "classes")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("option", [{"invert": False}, {"invert": True, "scale": 1.0, "shift": 0.0}])
def test_classes_take_no_conversion(option):
    with pytest.raises(UserError, match="scale, shift and invert are for depth"):
        models.open_teacher("dpt_hybrid_ade20k", "a.pt", **option)
