"""DPT with a head of classes: the published network, its files, and those of transformers."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from teachers import DPT, DPT_CONFIGS, FrozenTeacher, create_dpt, create_teacher, load_checkpoint
from teachers.class_names import ADE20K
from teachers.huggingface import describe
from teachers.key_maps import NAMINGS, from_ours, to_ours
from teachers.mismatch import identify, shapes, shapes_of
from tests.teachers.test_golden import TOLERANCE, golden

FILE = Path(__file__).parent / "reference" / "dpt_segmentation_golden.json.gz"
PUBLISHED = json.loads(gzip.decompress(FILE.read_bytes()))
CLASSES = ("wall", "floor", "chair")


@pytest.fixture(params=["hybrid", "plain"])
def kind(request):
    return request.param


@pytest.fixture
def model(tiny_dpt, kind, monkeypatch, tiny_config):
    """A small network of three classes, whose norms are not those of birth, known by the name "small"."""
    monkeypatch.setitem(DPT_CONFIGS, "small", tiny_config(kind, classes=CLASSES, non_negative=True))
    model = tiny_dpt(kind, seed=1, classes=CLASSES, non_negative=True)
    torch.manual_seed(0)
    for key, value in model.state_dict().items():
        if ".norm" in key and value.is_floating_point():
            value.add_(0.2 * torch.rand_like(value))
    return model


@pytest.mark.slow  # DPT-Hybrid for depth is compared every time, and the head of classes with that of transformers
def test_dpt_hybrid_of_ade20k_is_the_published_network():
    case = PUBLISHED["case"]
    recipe = {  # the recipe would enlarge a classifier called so, as depth wants it
        key: torch.from_numpy(golden.tensor(key.replace("scratch.output_conv", "output_conv"), shape))
        for key, shape in PUBLISHED["keys"]["hybrid"].items()
    }
    image = torch.from_numpy(golden.image(case["height"], case["width"], case["batch"])) * 0.5 + 0.5
    logits = create_teacher("dpt_hybrid_ade20k", recipe)(image)[case["item"]].numpy()
    assert golden.difference(case["output"], golden.summarise(logits[None])) <= TOLERANCE
    counts = np.bincount(logits.argmax(0).ravel(), minlength=150)
    assert np.abs(counts - case["histogram"]).max() <= case["close"]


@pytest.mark.parametrize("size", ["hybrid", "large"])
def test_every_tensor_of_the_published_files_has_its_place(size):
    held = {key: torch.empty(shape, device="meta") for key, shape in PUBLISHED["keys"][size].items()}
    translated = to_ours(held)
    assert (translated.naming, translated.unknown) == ("original", ())
    assert shapes(translated.weights) == shapes_of(DPT_CONFIGS[f"dpt_{size}_ade20k"])
    assert {key.split(".")[0] for key in translated.unused} == {"pretrained", "scratch", "auxlayer"}
    assert all("refinenet4.resConfUnit1." in key for key in translated.unused if key.startswith("scratch."))
    kept = {key: value for key, value in held.items() if key not in translated.unused}
    assert shapes(from_ours(translated.weights, "original")) == shapes(kept)
    assert identify(shapes(translated.weights)) == (f"dpt_{size}_ade20k", DPT_CONFIGS[f"dpt_{size}_ade20k"])


@pytest.mark.parametrize("size", [(64, 96), (33, 75)])
def test_the_output_is_a_logit_for_each_class_at_the_size_of_the_image(model, images, size):
    teacher = FrozenTeacher(model)
    assert teacher(images(*size)).shape == (2, 3, *size)
    assert (teacher.output, teacher.classes) == ("classes", CLASSES)
    assert create_dpt("small", resolution_scale=0.5).eval()(images(*size)).shape == (2, 3, *size)


@pytest.mark.parametrize("naming", ["ours", "original", "huggingface"])
def test_every_naming_loads_bit_for_bit_with_what_the_norms_keep(model, assert_same, naming):
    theirs = from_ours(model.state_dict(), naming)
    other = DPT(model.config)
    report = load_checkpoint(other, theirs)
    assert (report.naming, report.unused, report.new) == (naming, (), ())
    assert_same(other.state_dict(), model.state_dict())


def test_a_file_of_the_other_task_is_called_by_its_name(model, tiny_dpt, kind, tiny_config, monkeypatch):
    monkeypatch.setitem(DPT_CONFIGS, "small_depth", tiny_config(kind, non_negative=True))
    depth = DPT(DPT_CONFIGS["small_depth"]).state_dict()
    with pytest.raises(ValueError, match="this file is a small, give that name"):
        create_teacher("small_depth", model.state_dict())
    with pytest.raises(ValueError, match="this file is a small_depth, give that name"):
        create_teacher("small", depth)


def test_classes_have_no_conversion_to_metres():
    with pytest.raises(ValueError, match="classes are no depth: leave out invert"):
        create_teacher("dpt_hybrid_ade20k", invert=True)
    with pytest.raises(ValueError, match="gives logits of classes"):
        describe(DPT_CONFIGS["dpt_large_ade20k"])


def test_the_classes_are_those_of_ade20k_in_its_order():
    assert len(set(ADE20K)) == 150
    numbered = dict(enumerate(ADE20K, start=1))  # as its files have them
    known = {1: "wall", 7: "road", 8: "bed", 13: "person", 65: "coffee table", 146: "shower", 149: "clock", 150: "flag"}
    assert {number: numbered[number] for number in known} == known


def test_a_network_of_transformers_loads_with_the_same_logits(tmp_path, tiny_config, monkeypatch):
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[hf]'")
    plain = tiny_config("plain", head_hidden=32)
    facts = describe(plain) | {"use_batch_norm_in_fusion_residual": True, "num_labels": 3}
    torch.manual_seed(0)
    theirs = transformers.DPTForSemanticSegmentation(transformers.DPTConfig(**facts)).eval()
    for value in theirs.state_dict().values():
        if value.is_floating_point():
            value.add_(0.1 * torch.rand_like(value))
    theirs.save_pretrained(tmp_path / "theirs")
    monkeypatch.setitem(DPT_CONFIGS, "small", tiny_config("plain", classes=CLASSES))
    model = create_dpt("small").eval()
    report = load_checkpoint(model, tmp_path / "theirs")
    unused = {key.split(".")[0] for key in report.unused if not key.startswith("neck.fusion_stage.layers.0.")}
    assert unused <= {"dpt", "auxiliary_head"}
    assert NAMINGS[report.naming].title == "Hugging Face's names"
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        wanted, logits = theirs((image - 0.5) / 0.5).logits, model(image)
    assert (logits - wanted).abs().max() <= 1e-4 * (wanted.max() - wanted.min())
